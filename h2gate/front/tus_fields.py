"""The header fields of tus 1.0.0 and its extensions: what a request says in them, and what an answer tells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urljoin, urlsplit

from h2gate.codec import checksum
from h2gate.config import Settings
from h2gate.errors import BadField, BadRequest, NotFound, UnsupportedMediaType, UnsupportedVersion
from h2gate.fields import announced, decimal, digest_field, digests, http_date
from h2gate.front import plain
from h2gate.front.request import Request, file_url
from h2gate.transfer.appending import Append
from h2gate.transfer.completing import Outcome
from h2gate.transfer.grant import Grant
from h2gate.upload import Resumable

ROOT = "/tus/"
ROOTS = (b"/tus", b"/tus/")
VERSION = "1.0.0"
MEDIA_TYPE = "application/offset+octet-stream"
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "expiration",
    "checksum",
    "checksum-trailer",
    "termination",
    "concatenation",
    "concatenation-unfinished",
)
_MAX_LENGTH = 10**15 - 1
_ID = re.compile(r"[0-9a-f]{32}")

Lines = list[tuple[str, str]]


def abilities(settings: Settings) -> Lines:
    """What OPTIONS tells."""
    found = [
        ("tus-version", VERSION),
        ("tus-extension", ",".join(EXTENSIONS)),
        ("tus-checksum-algorithm", ",".join(checksum.ALGORITHMS)),
    ]
    return [*found, ("tus-max-size", str(settings.max_size))] if settings.max_size else found


def check_version(headers: Mapping[str, str]) -> None:
    """Raises `UnsupportedVersion`."""
    version = headers.get("tus-resumable")
    if version != VERSION:
        what = f"not {version[:20]!r}" if version is not None else "and Tus-Resumable says which"
        error = UnsupportedVersion(f"tus {VERSION} is spoken here, {what}")
        error.headers.append((b"tus-version", VERSION.encode()))
        raise error


def method(request: Request) -> str:
    """What is to be done: `X-HTTP-Method-Override` is for who cannot send every method."""
    return request.headers.get("x-http-method-override", request.method)


def url(upload_id: str) -> str:
    """Where an upload is: without scheme and host, which a proxy may have changed."""
    return ROOT + upload_id


def upload_id(path: str) -> str:
    """The id in a path. Raises `NotFound`."""
    found = path.removeprefix(ROOT)
    if not _ID.fullmatch(found):
        raise NotFound("there is no such upload")
    return found


def planned_length(headers: Mapping[str, str]) -> int | None:
    """Of a creation: how long the upload is to be; None is for later. Raises `BadField`."""
    deferred = headers.get("upload-defer-length")
    if deferred not in (None, "1"):
        raise BadField("Upload-Defer-Length: 1 is its only value")
    if ("upload-length" in headers) == (deferred is not None):
        raise BadField("an upload is created with Upload-Length, or with Upload-Defer-Length: 1")
    return None if deferred else told_length(headers)


def told_length(headers: Mapping[str, str]) -> int | None:
    """`Upload-Length`, if it is there. Raises `BadField`, also for what the other protocol's structured fields
    could not tell (RFC 9651 section 3.3.1)."""
    if "upload-length" not in headers:
        return None
    if (length := decimal(headers["upload-length"], "Upload-Length")) > _MAX_LENGTH:
        raise BadField(f"Upload-Length: {length} is more than {_MAX_LENGTH}")
    return length


def concatenation(headers: Mapping[str, str]) -> tuple[bool, Sequence[str]]:
    """`Upload-Concat`: whether the upload is to be a part, and the ids of its parts if it is one of these. Raises
    `BadField`."""
    value = headers.get("upload-concat")
    kind, _, urls = (value or "").partition(";")
    if value is not None and value != "partial" and (kind != "final" or not urls.strip()):
        raise BadField("Upload-Concat: partial, or final; with the URLs of the parts")
    if kind == "final" and not headers.keys().isdisjoint({"upload-length", "upload-defer-length"}):
        raise BadField("a concatenation is as long as its parts: there can be no Upload-Length")
    return value == "partial", [_part(each) for each in urls.split()]


def _part(text: str) -> str:
    """The id in the URL of a part; a proxy may have put something before our path."""
    try:
        folder, _, name = urlsplit(urljoin(ROOT, text)).path.rpartition("/")
    except ValueError:
        folder = name = ""
    if not f"{folder}/".endswith(ROOT) or not _ID.fullmatch(name):
        raise BadField(f"Upload-Concat: {text[:100]!r} is not the URL of an upload")
    return name


def is_upload(headers: Mapping[str, str]) -> bool:
    """Whether the body has the media type of bytes that are to be appended."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == MEDIA_TYPE


def not_an_upload() -> UnsupportedMediaType:
    """The error for a body of any other type."""
    error = UnsupportedMediaType(f"what is appended is of type {MEDIA_TYPE}")
    error.headers.append((b"accept-patch", MEDIA_TYPE.encode()))
    return error


def appended(request: Request, offset: int, length: int | None, grant: Grant) -> Append:
    """What the body of a request is to append. Raises `BadField`, `UnsupportedMediaType`."""
    headers = request.headers
    if headers.get("content-encoding", "identity").lower() != "identity":  # tus knows of none
        raise UnsupportedMediaType("Content-Encoding: bytes are appended as they are")
    found = headers.get("upload-checksum")
    trailers = announced(headers.get("trailer"))
    return Append(
        body=request.body,
        offset=offset,
        length=length,
        checksum=checksum.parse(found) if found is not None else None,
        checksum_follows="upload-checksum" in trailers,
        content=digests(headers.get("content-digest", ""), "Content-Digest"),
        whole=digests(headers.get("repr-digest", ""), "Repr-Digest"),
        content_follows="content-digest" in trailers,
        grant=grant,
    )


def offset(headers: Mapping[str, str]) -> int:
    """Where a PATCH wants to go on. Raises `BadRequest`, `BadField`."""
    if "upload-offset" not in headers:
        raise BadRequest("Upload-Offset is missing")
    return decimal(headers["upload-offset"], "Upload-Offset")


def expiry(record: Resumable) -> Lines:
    """Until when the upload is kept; a file is kept for ever, and only a file."""
    if record.state == "complete" and not record.is_part:
        return []
    return [("upload-expires", http_date(int(record.expires_at * 1e9)))]


def whereabouts(record: Resumable) -> Lines:
    """The file that the upload has become."""
    if record.state != "complete" or record.is_part:
        return []
    return [("content-location", file_url(record.path))]


def became(outcome: Outcome) -> Lines:
    """What the answer tells of the file that the upload has become by this request."""
    if outcome.file is not None:
        return [*plain.facts(outcome.file), *whereabouts(outcome.upload)]
    record = outcome.upload
    known = record.state == "complete" and record.sha256 is not None
    return [("repr-digest", digest_field("sha-256", record.sha256 or b""))] if known else []


def state(record: Resumable, length: int | None, *, is_there: bool) -> Lines:
    """All that HEAD tells; `length` is that of the parts of a concatenation, if it is known. `is_there`: the file that
    it has become."""
    found: Lines = [("upload-length", str(length))] if length is not None else []
    if record.parts:
        found.append(("upload-concat", f"final;{' '.join(map(url, record.parts))}"))
    elif record.is_part:
        found.append(("upload-concat", "partial"))
    if not record.parts and length is None:
        found.append(("upload-defer-length", "1"))
    if not record.parts or record.state == "complete":
        found.append(("upload-offset", str(record.offset)))
    if record.metadata:
        found.append(("upload-metadata", record.metadata))
    return [*found, *expiry(record), *(whereabouts(record) if is_there else [])]
