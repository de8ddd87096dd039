"""tus 1.0.0 and all its extensions at /tus/: what each method does.

A client of tus tries again after 409, 423 and 5xx, and gives up after every other 4xx: that is what decides the status
of a body that broke off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from h2gate.codec import checksum
from h2gate.errors import (
    BadPath,
    BodyCut,
    CompletedUpload,
    Conflict,
    Forbidden,
    GateError,
    InconsistentLength,
    MethodNotAllowed,
    NotFound,
    OffsetConflict,
    PreconditionFailed,
    Refused,
)
from h2gate.fields import digests
from h2gate.front import metadata, plain, tickets, tus_fields
from h2gate.front.deeds import Deed, completed_by, of_outcome, of_upload
from h2gate.front.request import Request, file_url
from h2gate.gateway import Gateway
from h2gate.transfer.appending import Append
from h2gate.transfer.completing import Outcome
from h2gate.transfer.file import File
from h2gate.transfer.resumables import Plan, Resumables
from h2gate.upload import Resumable

Handler = Callable[[Request, Gateway], Awaitable[None]]


async def serve(request: Request, gateway: Gateway) -> None:
    """Answer a request under /tus/."""
    request.also.append(("tus-resumable", tus_fields.VERSION))
    handlers = _OF_ALL if request.raw_path in tus_fields.ROOTS else _OF_ONE
    allow = ", ".join([*handlers, "OPTIONS"])
    method = tus_fields.method(request)
    if method == "OPTIONS":
        await request.answer(204, [("allow", allow), *tus_fields.abilities(gateway.settings)])
        return
    if method == "HEAD":
        request.also.append(("cache-control", "no-store"))
    if method != "GET":  # which is no part of tus: a browser follows the URL
        tus_fields.check_version(request.headers)
    if method not in handlers:
        raise MethodNotAllowed(f"{method} is not for this", allow=allow)
    try:
        await handlers[method](request, gateway)
    except GateError as error:
        _help(error)
        raise


def _help(error: GateError) -> None:
    """Tell the client how to go on."""
    if isinstance(error, OffsetConflict):
        error.headers.append((b"upload-offset", str(error.members["offset"]).encode()))
    elif isinstance(error, BodyCut):
        error.status, error.retry_after_seconds = 503, 1


async def _post(request: Request, gateway: Gateway) -> None:
    """Create an upload, with its first bytes if there is a body; or join parts."""
    headers, resumables = request.headers, gateway.resumables
    is_part, parts = tus_fields.concatenation(headers)
    has_body = tus_fields.is_upload(headers)
    plan = _plan(request, is_part, parts)
    if (parts or not has_body) and await _has_bytes(request):
        raise Refused("a concatenation takes no bytes of its own") if parts else tus_fields.not_an_upload()
    request.errand.upload_id = plan.id
    answer: tus_fields.Lines = []
    if parts:
        outcome = await _join(plan, gateway)
    elif has_body or plan.length == 0:
        outcome = await _begin(plan, tus_fields.appended(request, 0, plan.length, plan.grant), resumables)
        answer = [("upload-offset", str(outcome.upload.offset))]
    else:
        outcome = Outcome(await resumables.create(plan))
    record = outcome.upload
    answer += tus_fields.became(outcome)
    request.did(of_outcome(outcome, begun=True))
    await request.answer(
        201, [("location", tus_fields.url(record.id) + tickets.suffix(request)), *answer, *tus_fields.expiry(record)]
    )


async def _has_bytes(request: Request) -> bool:
    """Whether there is a body that is not empty; of one whose length is not told, the first bytes are waited for."""
    if request.body.length is not None:
        return request.body.length > 0
    batch = await request.body.pull()
    return batch.n_bytes > 0 or not batch.last


def _plan(request: Request, is_part: bool, parts: Sequence[str]) -> Plan:
    """What the fields want to create. Raises `BadField`, `BadPath`, `Forbidden`."""
    headers, access = request.headers, request.access
    given = headers.get("upload-metadata", "")
    pairs = metadata.parse(given)
    plan = Plan(
        path="",
        length=None if parts else tus_fields.planned_length(headers),
        metadata=given,
        expected=digests(headers.get("repr-digest", ""), "Repr-Digest"),
        parts=parts,
        owner=access.principal.name,
    )
    if is_part:
        return replace(plan, grant=access.grant_part())
    conditions, path = plain.conditions(headers), metadata.path(pairs, plan.id)
    return replace(plan, path=path, fields=metadata.fields(pairs), conditions=conditions, grant=access.grant(path))


async def _begin(plan: Plan, body: Append, resumables: Resumables) -> Outcome:
    """Create an upload with its first bytes. Where these fail, it stays if it can be gone on with, and the error tells
    where it is."""
    try:
        return await resumables.create_with(plan, body)
    except GateError as error:
        if not (error.retry or isinstance(error, Conflict)):
            await _drop(plan.id, resumables)
        with suppress(GateError):  # it is not there
            if (await resumables.look(plan.id)).is_open:
                error.headers.append((b"location", tus_fields.url(plan.id).encode()))
        raise


async def _join(plan: Plan, gateway: Gateway) -> Outcome:
    """Join parts. Where that fails nothing is lost: the parts are still there, to be joined anew."""
    try:
        record = await gateway.resumables.join(plan)
    except GateError:
        await _drop(plan.id, gateway.resumables)
        raise
    return Outcome(record, await _file(record, gateway))


async def _drop(upload_id: str, resumables: Resumables) -> None:
    with suppress(GateError):  # there is none, or it is over by itself, or it will expire
        await resumables.cancel(upload_id)


async def _head(request: Request, gateway: Gateway) -> None:
    """Tell how far an upload is; who is writing it lets go."""
    upload_id = _id(request)
    try:
        record = await gateway.resumables.offset(upload_id, length_ends=True, grant=request.grant)
    except (PreconditionFailed, Forbidden, Conflict, BadPath):  # all of it is there, and cannot be shown now
        record = await gateway.resumables.look(upload_id)
        if record.parts:  # which tells no offset before it is made, so it may as well tell why it is not
            raise
    if completed_by(request, record):
        request.did(of_upload(record))
    length = record.length if not record.parts else await _length_of_parts(record, gateway.resumables)
    is_there = await _file(record, gateway) is not None
    await request.answer(200, tus_fields.state(record, length, is_there=is_there))


async def _file(record: Resumable, gateway: Gateway) -> File | None:
    """What the upload has become, if that is still there."""
    if record.state != "complete" or record.is_part:
        return None
    file = await gateway.uploads.find(record.path)
    return file if file is not None and file.upload is not None and file.upload.id == record.id else None


async def _length_of_parts(record: Resumable, resumables: Resumables) -> int | None:
    """Of a concatenation: known as soon as those of all parts are."""
    total = 0
    for part in record.parts if record.length is None else ():
        length = (await resumables.look(part)).length
        if length is None:
            return None
        total += length
    return total if record.length is None else record.length


async def _patch(request: Request, gateway: Gateway) -> None:
    """Append the body."""
    headers, upload_id = request.headers, _id(request)
    await _refuse_concatenation(upload_id, gateway.resumables)
    if not tus_fields.is_upload(headers):
        raise tus_fields.not_an_upload()
    body = tus_fields.appended(request, tus_fields.offset(headers), tus_fields.told_length(headers), request.grant)
    try:
        outcome = await gateway.resumables.append(upload_id, body)
    except CompletedUpload as error:
        record = await _nothing_to_do(upload_id, body, gateway.resumables, error)
        outcome = Outcome(record, await _file(record, gateway))
    else:
        request.did(of_outcome(outcome, before=body.offset or 0))
    record = outcome.upload
    answer = [("upload-offset", str(record.offset)), *tus_fields.expiry(record), *tus_fields.became(outcome)]
    await request.answer(204, answer)


async def _refuse_concatenation(upload_id: str, resumables: Resumables) -> None:
    """Whatever else is wrong with the request."""
    try:
        record = await resumables.look(upload_id)
    except NotFound:
        return
    if record.parts:
        raise Refused("a concatenation takes no bytes of its own (tus 1.0.0)")


async def _nothing_to_do(upload_id: str, append: Append, resumables: Resumables, error: CompletedUpload) -> Resumable:
    """A complete upload, for a request that wants to append nothing to it: as the end of it, sent again, may be."""
    record = await resumables.look(upload_id)
    if append.length not in (None, record.length):
        raise InconsistentLength(f"the upload has {record.length} bytes") from error
    if append.offset != record.offset:
        raise OffsetConflict(f"the upload has {record.offset} bytes, and is complete", offset=record.offset) from error
    batch = await append.body.pull()
    if batch.n_bytes or not batch.last:
        raise error
    if append.checksum is not None:
        checksum.verify(append.checksum, checksum.hasher(append.checksum.name).digest())
    return record


async def _delete(request: Request, gateway: Gateway) -> None:
    """End an upload. The file that it has become stays: it is another resource."""
    upload_id = _id(request)
    await gateway.resumables.cancel(upload_id)
    request.did(Deed(event="cancel", upload_id=upload_id))
    await request.answer(204)


async def _get(request: Request, gateway: Gateway) -> None:
    """To the file, once there is one; nobody is disturbed."""
    record = await gateway.resumables.look(_id(request))
    if await _file(record, gateway) is None:
        raise NotFound("there is no file of this upload, not yet or not any more", state=record.state)
    await request.answer(307, [("location", file_url(record.path)), ("cache-control", "no-store")])


def _id(request: Request) -> str:
    request.errand.upload_id = tus_fields.upload_id(request.raw_path.decode("latin1"))
    return request.errand.upload_id


_OF_ALL: Mapping[str, Handler] = {"POST": _post}
_OF_ONE: Mapping[str, Handler] = {"HEAD": _head, "PATCH": _patch, "DELETE": _delete, "GET": _get}
