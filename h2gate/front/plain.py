"""Plain HTTP: PUT a file, PATCH its end, DELETE it, and the fields that describe it (docs/http.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from h2gate.codec.digest import merged
from h2gate.errors import (
    BadField,
    BadPath,
    GateError,
    NotFound,
    OffsetConflict,
    PreconditionFailed,
    UnsupportedMediaType,
)
from h2gate.fields import check_conditions, decimal, digests, entity_tags, http_date, is_token, parse_date
from h2gate.front.deeds import Deed, of_file
from h2gate.front.request import Request, file_url
from h2gate.transfer.file import File, Precondition
from h2gate.transfer.uploads import Uploads

DESCRIPTIVE = ("content-type", "content-disposition", "content-language", "last-modified")
META_PREFIX = "meta-"
MAX_DESCRIPTION_BYTES = 16384
_CONDITIONS = ("if-match", "if-none-match", "if-unmodified-since")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_APPEND_TYPES = ("application/octet-stream", "application/offset+octet-stream", "application/partial-upload")
ACCEPT_PATCH = ", ".join(_APPEND_TYPES)


async def put(request: Request, uploads: Uploads) -> None:
    """Store the body as the file named by the path."""
    path, is_folder = request.place
    if is_folder:
        raise BadPath("a file's path has a name at its end, not a slash")
    check_whole(request.headers)
    grant = request.access.grant(path)
    async with uploads.decoding.undone(request.body, request.headers) as (body, headers):
        file, replaced = await uploads.put(
            path,
            body,
            fields=description(headers),
            expected=expected_digests(headers),
            modified_ns=modified(headers),
            precondition=precondition(headers),
            is_awaited="expect" in headers,
            grant=grant,
        )
    request.did(of_file("replace" if replaced else "create", file))
    answer = facts(file)
    if not replaced:
        answer.append(("location", file_url(path)))
    await request.answer(204 if replaced else 201, answer)


def check_whole(headers: Mapping[str, str]) -> None:
    """Raises for bodies that are not a whole file as it is to be."""
    if "content-range" in headers:
        raise BadField("Content-Range: a PUT replaces the whole file (RFC 9110 section 14.5); use PATCH")


async def patch(request: Request, uploads: Uploads) -> None:
    """Write the body behind the file."""
    path, is_folder = request.place
    if is_folder:
        raise BadPath("a file's path has a name at its end, not a slash")
    check_append_type(request.headers)
    grant = request.access.grant(path)
    given = request.headers.get("upload-offset")
    offset = decimal(given, "Upload-Offset") if given is not None else None
    try:
        async with uploads.decoding.undone(request.body, request.headers) as (body, headers):
            file = await uploads.append(
                path,
                offset,
                body,
                expected=expected_digests(headers),
                announced="digest" in headers.get("trailer", "").lower(),
                precondition=precondition(headers),
                grant=grant,
            )
    except OffsetConflict as error:
        error.headers.append((b"upload-offset", str(error.members["offset"]).encode()))
        raise
    request.did(of_file("append", file))
    await request.answer(204, [*facts(file), ("upload-offset", str(file.size))])


def check_append_type(headers: Mapping[str, str]) -> None:
    """Raises `UnsupportedMediaType` for a PATCH that is not just bytes."""
    media_type = headers.get("content-type", _APPEND_TYPES[0]).partition(";")[0].strip().lower()
    if media_type not in _APPEND_TYPES:
        error = UnsupportedMediaType(f"a PATCH is of type {_APPEND_TYPES[0]}, not {media_type}")
        error.headers.append((b"accept-patch", ACCEPT_PATCH.encode()))
        raise error


async def delete(request: Request, uploads: Uploads) -> None:
    """Remove a file, or an empty folder."""
    path, is_folder = request.place
    if is_folder and await uploads.find(path) is not None:
        raise NotFound(f"/{path} is a file, not a folder")
    await uploads.remove(path, precondition(request.headers))
    request.did(Deed(event="delete", path=path))
    await request.answer(204)


def facts(file: File) -> list[tuple[str, str]]:
    """The fields that every answer about a file has."""
    found = [("etag", file.etag), ("last-modified", http_date(file.identity.modified_ns))]
    if file.repr_digest is not None:
        found.append(("repr-digest", file.repr_digest))
    return found


def expected_digests(headers: Mapping[str, str]) -> dict[str, bytes]:
    """What the sender says that the digests of the body are; it has no coding (any more). Raises `BadField`,
    `DigestMismatch`."""
    return merged(
        digests(headers.get("content-digest", ""), "Content-Digest"),
        digests(headers.get("repr-digest", ""), "Repr-Digest"),
        digests(headers.get("unencoded-digest", ""), "Unencoded-Digest"),
    )


def description(headers: Mapping[str, str]) -> dict[str, str]:
    """The fields that describe the file and come back with it. Raises `BadField` when they are too many."""
    found = {name: value for name, value in headers.items() if name in DESCRIPTIVE or name.startswith(META_PREFIX)}
    if sum(len(name) + len(value) for name, value in found.items()) > MAX_DESCRIPTION_BYTES:
        raise BadField(f"the fields that describe the file are longer than {MAX_DESCRIPTION_BYTES} bytes")
    for name, value in found.items():  # a part's header was not looked at by any HTTP parser
        if not is_token(name) or _CONTROL.search(value):
            raise BadField(f"{name[:60]!r} or its value has a character that no field has")
    return found


def modified(headers: Mapping[str, str]) -> int | None:
    """The file's own time, sent as Last-Modified. Nanoseconds since the epoch."""
    value = headers.get("last-modified")
    return parse_date(value, "Last-Modified") if value is not None else None


def conditions(headers: Mapping[str, str]) -> dict[str, str]:
    """The fields that make a writing request conditional. Raises `BadField`."""
    for name in ("if-match", "if-none-match"):
        entity_tags(headers.get(name, ""), name)
    return {name: headers[name] for name in _CONDITIONS if name in headers}


def precondition(headers: Mapping[str, str]) -> Precondition | None:
    """The conditions of a writing request, to be checked against the file that is there. Raises `BadField` at once."""
    if not conditions(headers):
        return None

    def check(file: File | None) -> None:
        etag, modified_ns = (file.etag, file.identity.modified_ns) if file is not None else (None, 0)
        try:
            check_conditions(headers, etag, modified_ns, reading=False)
        except PreconditionFailed as error:
            _tell_etag(error, etag)
            raise

    return check


def _tell_etag(error: GateError, etag: str | None) -> None:
    if etag is not None:
        error.headers.append((b"etag", etag.encode()))
