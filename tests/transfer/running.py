"""Runs of a gateway to ask for resumable uploads, and what its folder has of them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from h2gate.codec.checksum import Checksum
from h2gate.config import Settings
from h2gate.gateway import Gateway
from h2gate.transfer.appending import Append
from h2gate.transfer.completing import Outcome
from h2gate.transfer.resumables import Plan
from h2gate.upload import Batch, Resumable

BODY = os.urandom(100_003)


SHA256 = hashlib.sha256(BODY).digest()


CUTS = (4096, 5000, 100_002)


class Given:
    """A body of these pieces, each a pull; an exception among them is raised, an event waited for, again if need be."""

    def __init__(self, *pieces: bytes | Exception | asyncio.Event, length: int | None = None) -> None:
        self.length = length
        self.trailers: Sequence[tuple[bytes, bytes]] = ()
        self.pulled = asyncio.Event()
        """Set when it is asked for what it does not have yet."""
        self._left: list[bytes | Exception | asyncio.Event] = list(pieces) or [b""]

    async def pull(self) -> Batch:
        if isinstance(self._left[0], asyncio.Event):
            self.pulled.set()
            await self._left[0].wait()
        piece = self._left.pop(0)
        if isinstance(piece, Exception):
            raise piece
        data = piece if isinstance(piece, bytes) else b""
        return Batch([data], len(data), not self._left)


def run(data: Path, test: Callable[[Gateway], Coroutine[Any, Any, None]], **options: Any) -> None:
    """One run of a gateway."""

    async def bounded() -> None:
        async with asyncio.timeout(60), Gateway(Settings(data=data, **options), upkeep=False) as gateway:
            await test(gateway)
        assert not asyncio.all_tasks() - {asyncio.current_task()}

    asyncio.run(bounded())


async def append(gateway: Gateway, upload: Resumable, *pieces: bytes | Exception, **options: Any) -> Outcome:
    trailers = options.pop("trailers", ())
    body = Given(*pieces, length=options.pop("body_length", None))
    body.trailers = trailers
    return await gateway.resumables.append(upload.id, Append(body=body, **options))


async def offset(gateway: Gateway, upload: Resumable, **options: Any) -> int:
    return (await gateway.resumables.offset(upload.id, **options)).offset


async def whole_part(gateway: Gateway, data: bytes) -> str:
    part = await gateway.resumables.create(Plan(path="", length=len(data)))
    await append(gateway, part, data)
    return part.id


async def state(gateway: Gateway, upload_id: str) -> str:
    return (await gateway.resumables.look(upload_id)).state


def kept(data: Path) -> dict[str, bytes]:
    found = {}
    for each in (data / "partial").iterdir():
        with suppress(FileNotFoundError):  # dropped since it was listed
            found[each.name] = each.read_bytes()
    return found


def shown(data: Path) -> dict[str, bytes]:
    root = data / "files"
    return {str(each.relative_to(root)): each.read_bytes() for each in root.rglob("*") if each.is_file()}


async def cancelled_after(task: asyncio.Task[Any], turns: int) -> None:
    """Cancel it after some turns of the loop, the later ones of which wait for threads."""
    for turn in range(turns):
        await asyncio.sleep(0.0002 if turn > 10 else 0)
    task.cancel()
    await asyncio.wait([task])


def checksum(data: bytes, name: str = "sha1") -> Checksum:
    return Checksum(name, hashlib.new(name, data).digest())


def trailer(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"Upload-Checksum", b"sha1 " + base64.b64encode(checksum(data).digest))]


async def put(gateway: Gateway, path: str, body: bytes) -> None:
    await gateway.uploads.put(path, Given(body), fields={}, expected={}, modified_ns=None)


def outdate(data: Path, *upload_ids: str) -> None:
    with closing(sqlite3.connect(data / "ledger.sqlite")) as database, database:
        for each in upload_ids:
            database.execute("UPDATE resumables SET expires_at = 1 WHERE id = ?", (each,))


async def part_of(gateway: Gateway) -> Resumable:
    return await gateway.resumables.create(Plan(path=""))
