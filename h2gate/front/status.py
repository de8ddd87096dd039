"""What is known of uploads, as JSON, for who watches: a request that writes one is not disturbed.

`Prefer: wait=N` (RFC 7240) holds the answer until the upload is complete or over, so that nobody need ask again.
"""

from __future__ import annotations

import asyncio

from h2gate.fields import digest_field, preferred_wait, timestamp
from h2gate.front.interop import upload_url
from h2gate.front.request import Request, file_path, file_url
from h2gate.gateway import Gateway
from h2gate.upload import Resumable

MAX_WAIT_SECONDS = 300
_FRESH = [("cache-control", "no-store"), ("vary", "prefer")]


async def tell_all(request: Request, gateway: Gateway) -> None:
    """All uploads of who asks, the last changed first; with `?path=` those of one file that may be gone on with, or,
    where it ends in a slash, of all files below that folder, also those that are being written."""
    resumables, owner, named = gateway.resumables, request.access.principal.name, request.query.get("path")
    if named is None:
        records = await resumables.listed(owner)
    else:
        path, is_folder = file_path(named.encode())
        records = await (resumables.begun_below if is_folder else resumables.left_at)(owner, path)
    await request.answer_json(200, {"uploads": [_state(each) for each in records]}, _FRESH)


async def tell(request: Request, gateway: Gateway, upload_id: str) -> None:
    """One upload, over ones included for as long as they are remembered. Raises `NotFound`."""
    seconds = preferred_wait(request.headers.get("prefer", ""))
    if seconds is None:
        await request.answer_json(200, _state(await gateway.resumables.look(upload_id)), _FRESH)
        return
    seconds = min(seconds, MAX_WAIT_SECONDS)
    record = await _settled(request, gateway, upload_id, seconds)
    await request.answer_json(200, _state(record), [*_FRESH, ("preference-applied", f"wait={seconds}")])


async def _settled(request: Request, gateway: Gateway, upload_id: str, seconds: int) -> Resumable:
    """Nobody waits on for a peer that has left; one that only sends no more may still read how it is."""
    settled = asyncio.create_task(gateway.resumables.settled(upload_id, seconds))
    left = asyncio.create_task(request.left())
    try:
        await asyncio.wait([settled, left], return_when=asyncio.FIRST_COMPLETED)
        if not settled.done():
            return await gateway.resumables.look(upload_id)
        return settled.result()
    finally:
        settled.cancel()
        left.cancel()
        await asyncio.gather(settled, left, return_exceptions=True)


def _state(record: Resumable) -> dict[str, object]:
    return {
        "id": record.id,
        "url": upload_url(record.id),
        "tus": f"/tus/{record.id}",
        "path": file_url(record.path) if record.path else None,
        "state": record.state,
        "complete": record.state == "complete",
        "offset": record.offset,
        "length": record.length,
        "bytes_per_second": round(record.bytes_per_second),
        "created": timestamp(record.created_at),
        "changed": timestamp(record.changed_at),
        "expires": timestamp(record.expires_at),
        "repr_digest": digest_field("sha-256", record.sha256) if record.sha256 is not None else None,
        "reason": record.reason or None,
    }
