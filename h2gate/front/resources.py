"""Upload resources at /uploads/ (draft-ietf-httpbis-resumable-upload): how far one is, more of it, its end.

Whatever began an upload, a tus client or a creation under /files/, it is here too, and a plain PATCH goes on with it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from h2gate.errors import BadField, CompletedUpload, InconsistentLength, MethodNotAllowed, NotFound
from h2gate.fields import digest_field, integer, wanted_digests
from h2gate.front import plain, status
from h2gate.front.deeds import Deed, completed_by, of_outcome, of_upload
from h2gate.front.interop import VERSION_FIELD, Interop, limit_field
from h2gate.front.request import Request, file_url
from h2gate.front.resumable import answer_complete, body_of, so_far, telling
from h2gate.gateway import Gateway

_ID = re.compile(rb"/uploads/([0-9a-f]{32})")
ROOTS = (b"/uploads", b"/uploads/")

Handler = Callable[[Request, Gateway, str], Awaitable[None]]


async def serve(request: Request, gateway: Gateway) -> None:
    """Answer a request for an upload, or for the list of them."""
    request.also += Interop.of(request.headers).echo
    if request.method == "HEAD":
        request.also.append(("cache-control", "no-store"))
    is_list = request.raw_path in ROOTS
    handlers = _OF_ALL if is_list else _OF_ONE
    allow = ", ".join([*handlers, "OPTIONS"])
    if request.method == "OPTIONS":
        lines = [("allow", allow), ("accept-patch", plain.ACCEPT_PATCH), limit_field(gateway.settings)]
        await request.answer(204, lines)
    elif request.method not in handlers:
        raise MethodNotAllowed(f"{request.method} is not for uploads", allow=allow)
    else:
        await handlers[request.method](request, gateway, "" if is_list else upload_id(request))


def upload_id(request: Request) -> str:
    """The id in the path. Raises `NotFound`."""
    found = _ID.fullmatch(request.raw_path)
    if found is None:
        raise NotFound("there is no such upload")
    request.errand.upload_id = found[1].decode()
    return request.errand.upload_id


async def _list(request: Request, gateway: Gateway, _: str) -> None:
    await status.tell_all(request, gateway)


async def _get(request: Request, gateway: Gateway, upload_id: str) -> None:
    """Its state as JSON; whoever names a version of the draft wants what HEAD tells."""
    if VERSION_FIELD in request.headers:
        request.also.append(("cache-control", "no-store"))
        await _head(request, gateway, upload_id)
    else:
        await status.tell(request, gateway, upload_id)


async def _head(request: Request, gateway: Gateway, upload_id: str) -> None:
    """How far it is, for who is going to go on with it: a request that writes it lets go."""
    interop = Interop.of(request.headers)
    wanted = "sha-256" in wanted_digests(request.headers.get("want-repr-digest"))
    record = await gateway.resumables.offset(upload_id, digest=wanted, grant=request.grant)
    if completed_by(request, record):
        request.did(of_upload(record))
    answer = [interop.told(complete=record.state == "complete"), limit_field(gateway.settings, record)]
    if record.has_offset:
        answer.append(("upload-offset", str(record.offset)))
    if record.length is not None:
        answer.append(("upload-length", str(record.length)))
    if record.sha256 is not None:
        answer.append(("repr-digest", digest_field("sha-256", record.sha256)))
    await request.answer(204, answer)


async def _patch(request: Request, gateway: Gateway, upload_id: str) -> None:
    """Append the body."""
    headers = request.headers
    interop = Interop.of(headers)
    if interop.names_media_type:
        plain.check_append_type(headers)
    offset = integer(headers.get("upload-offset"))
    if offset is None:
        raise BadField("Upload-Offset: it must be there, and be a non-negative integer")
    body = body_of(request, interop, offset, interop.ends(headers), request.grant)
    try:
        async with telling(request, gateway, interop, upload_id):
            outcome = await gateway.resumables.append(upload_id, body)
    except CompletedUpload as error:
        await _refuse(request, gateway, upload_id, error)
        return
    request.did(of_outcome(outcome, before=offset))
    if outcome.upload.state == "complete":
        await answer_complete(request, interop, outcome)
    else:
        lines = [*so_far(request, interop, outcome), limit_field(gateway.settings, outcome.upload)]
        await request.answer(interop.append_status, lines)


async def _refuse(request: Request, gateway: Gateway, upload_id: str, error: CompletedUpload) -> None:
    """Of a complete upload: where its file is; more bytes would make it longer than it is. Raises."""
    record = await gateway.resumables.look(upload_id)
    if record.path:
        request.also.append(("location", file_url(record.path)))
    is_empty = request.body.length == 0
    if request.body.length is None:
        batch = await request.body.pull()
        is_empty = batch.last and not batch.n_bytes
    if is_empty:
        raise error
    raise InconsistentLength(f"the upload is complete with {record.offset} bytes") from error


async def _delete(request: Request, gateway: Gateway, upload_id: str) -> None:
    """End it. The file that it has become stays: it is another resource."""
    await gateway.resumables.cancel(upload_id)
    request.did(Deed(event="cancel", upload_id=upload_id))
    await request.answer(204)


_OF_ALL: dict[str, Handler] = {"GET": _list, "HEAD": _list}
_OF_ONE: dict[str, Handler] = {"GET": _get, "HEAD": _head, "PATCH": _patch, "DELETE": _delete}
