"""Creating a resumable upload by PUT or POST under /files/, and what its answers share with those of the upload itself.

The upload is there, and told of in a 104, before the first byte is asked for; from then on whatever cuts the request
leaves something to go on with.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

from werkzeug.http import parse_options_header

from h2gate.codec import coding
from h2gate.codec.digest import unencoded
from h2gate.errors import (
    BadCoding,
    BadPath,
    Conflict,
    DigestMismatch,
    Forbidden,
    GateError,
    Gone,
    Locked,
    NotFound,
    OffsetConflict,
    PeerGone,
    PreconditionFailed,
    Superseded,
    TooLarge,
)
from h2gate.fields import announced, digest_field, digests, integer, wanted_digests
from h2gate.front import plain
from h2gate.front.deeds import of_outcome
from h2gate.front.interop import Interop, Lines, limit_field, whereabouts
from h2gate.front.request import Request, file_url
from h2gate.gateway import Gateway
from h2gate.transfer.appending import Append
from h2gate.transfer.completing import Outcome
from h2gate.transfer.grant import Grant
from h2gate.transfer.resumables import Plan
from h2gate.upload import Resumable, checked_path

_OF_THE_MESSAGE = ("application/partial-upload", "application/offset+octet-stream")
"""Media types that say how the bytes are sent, and nothing of the file."""
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_EXTENDED = re.compile(r"""(?:^|;)\s*filename\*\s*=\s*([^;"\s]+)""", re.IGNORECASE)


def is_creation(request: Request) -> bool:
    """Whether a request under /files/ is to create an upload that can be gone on with. A form is not: it is a form."""
    headers = request.headers
    return (
        request.method in ("PUT", "POST")
        and Interop.of(headers).complete(headers) is not None
        and not headers.get("content-type", "").lower().startswith("multipart/form-data")
    )


async def create(request: Request, gateway: Gateway) -> None:
    """Create an upload of the file named by the path, with the body as its first bytes, or all of them."""
    interop = Interop.of(request.headers)
    request.also += interop.echo
    plan = _plan(request)
    first = body_of(request, interop, 0, interop.complete(request.headers), plan.grant)
    announce = partial(interop.announce, request, gateway.settings)
    async with telling(request, gateway, interop, plan.id, created=True):
        request.errand.upload_id = plan.id
        outcome = await gateway.resumables.create_with(plan, first, announce)
    request.did(of_outcome(outcome, begun=True))
    if outcome.upload.state == "complete":
        await answer_complete(request, interop, outcome)
    else:
        answer = [*whereabouts(gateway.settings, outcome.upload), *so_far(request, interop, outcome)]
        await request.answer(201, answer)


def _plan(request: Request) -> Plan:
    headers = request.headers
    plain.check_whole(headers)
    path, is_folder = request.place
    plan = Plan(
        path=path,
        fields=_description(headers),
        expected=_whole(headers),
        conditions=plain.conditions(headers),
        modified_ns=plain.modified(headers),
        owner=request.access.principal.name,
    )
    if not is_folder:
        return replace(plan, grant=request.access.grant(path))
    if request.method == "PUT":
        raise BadPath("a file's path has a name at its end, not a slash")
    name = filename(headers.get("content-disposition", "")) or plan.id
    path = checked_path(f"{path}/{name}" if path else name)
    return replace(plan, path=path, grant=request.access.grant(path))


def _description(headers: Mapping[str, str]) -> dict[str, str]:
    found = plain.description(headers)
    if found.get("content-type", "").partition(";")[0].strip().lower() in _OF_THE_MESSAGE:
        del found["content-type"]
    if codings := coding.parse(headers.get("content-encoding", "")):
        found["content-encoding"] = ", ".join(codings)
    return found


def _whole(headers: Mapping[str, str]) -> dict[str, bytes]:
    """Digests of the whole upload, and of what it decodes to. Raises `BadField`."""
    decoded = digests(headers.get("unencoded-digest", ""), "Unencoded-Digest")
    return digests(headers.get("repr-digest", ""), "Repr-Digest") | unencoded(decoded)


def filename(disposition: str) -> str:
    """The name in a Content-Disposition, `filename*` before `filename` (RFC 6266); "" if there is none. Folders in it
    are folders, as in a form."""
    if (extended := _EXTENDED.search(_QUOTED.sub('""', disposition))) is not None:
        disposition = f"inline; filename*={extended[1]}"
    with suppress(UnicodeDecodeError):  # else it is Latin-1
        disposition = disposition.encode("latin1").decode()
    return parse_options_header(disposition)[1].get("filename", "")


def body_of(request: Request, interop: Interop, offset: int, complete: bool | None, grant: Grant) -> Append:
    """What the body of a request is to append. Raises `BadField`, `UnsupportedMediaType`."""
    headers = request.headers
    return Append(
        body=request.body,
        offset=offset,
        complete=complete,
        length=integer(headers.get("upload-length")),
        content=digests(headers.get("content-digest", ""), "Content-Digest"),
        content_follows="content-digest" in announced(headers.get("trailer")),
        whole=_whole(headers),
        codings=coding.parse(headers.get("content-encoding", "")),
        progress=partial(interop.progress, request),
        grant=grant,
    )


async def answer_complete(request: Request, interop: Interop, outcome: Outcome) -> None:
    """The answer that the creation would have had if all had come with it."""
    record, file = outcome.upload, outcome.file
    answer = [interop.told(complete=True), ("upload-offset", str(record.offset))]
    if file is None:  # a part of a concatenation
        await request.answer(204, answer)
        return
    answer += [*plain.facts(file), ("location", file_url(file.path))]
    await request.answer(204 if record.replaced else 201, answer)


def so_far(request: Request, interop: Interop, outcome: Outcome) -> Lines:
    """What answers tell of an upload that is not complete yet."""
    found = [interop.told(complete=False), ("upload-offset", str(outcome.upload.offset))]
    if outcome.sha256 is not None and "sha-256" in wanted_digests(request.headers.get("want-repr-digest")):
        found.append(("repr-digest", digest_field("sha-256", outcome.sha256)))
    return found


@asynccontextmanager
async def telling(
    request: Request, gateway: Gateway, interop: Interop, upload_id: str, *, created: bool = False
) -> AsyncIterator[None]:
    """Errors tell how the upload stands; those of its creation where it is as well, if it came to that."""
    try:
        yield
    except PeerGone:
        raise
    except GateError as error:
        record = await _known(gateway, upload_id)
        found = dict([limit_field(gateway.settings, record)] if isinstance(error, TooLarge) else [])
        if record is not None:
            found |= dict(whereabouts(gateway.settings, record) if created else [])
            found |= _standing(error, interop, record)
        request.also += found.items()
        raise


async def _known(gateway: Gateway, upload_id: str) -> Resumable | None:
    try:
        return await gateway.resumables.look(upload_id)
    except GateError:
        return None


def _standing(error: GateError, interop: Interop, record: Resumable) -> Lines:
    """`?1` says that all has come and it would not help to send more of it. No offset is told where it may be another
    one by now, or where only the storage knows it."""
    if isinstance(error, OffsetConflict):
        return [interop.told(complete=False), ("upload-offset", str(error.members["offset"]))]
    if isinstance(error, Superseded | Locked | Gone | NotFound) or error.status >= 500:
        return []
    if isinstance(error, PreconditionFailed | Forbidden | Conflict | BadPath):
        return [interop.told(complete=True)]
    if record.is_open:
        return [interop.told(complete=False), ("upload-offset", str(record.offset))]
    return [interop.told(complete=True)] if isinstance(error, DigestMismatch | BadCoding | TooLarge) else []
