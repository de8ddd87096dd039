"""A thousand half-finished uploads: the gateway is ready at once, and tells the offset of each."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path

from h2gate.config import Settings
from h2gate.gateway import Gateway
from h2gate.transfer.appending import Append
from h2gate.transfer.resumables import Plan
from h2gate.upload import Batch
from tests.conftest import Spawn
from tests.server.conftest import Connect

UPLOADS = 1000
BYTES = 5001


class Bytes:
    """A body that is there at once."""

    trailers = ()
    length: int | None = BYTES

    async def pull(self) -> Batch:
        return Batch([bytes(BYTES)], BYTES, last=True)


async def _begin_many(data: Path) -> list[str]:
    async with Gateway(Settings(data=data), upkeep=False) as gateway:

        async def begin(number: int) -> str:
            record = await gateway.resumables.create(Plan(path=f"d/{number}", length=2 * BYTES))
            await gateway.resumables.append(record.id, Append(body=Bytes(), offset=0))
            return record.id

        return await asyncio.gather(*map(begin, range(UPLOADS)))


def test_half_finished_uploads_of_a_killed_gateway_are_ready_at_once(
    spawn: Spawn, connect: Connect, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    ids = asyncio.run(_begin_many(data))
    with (data / "partial" / ids[0]).open("ab") as file:  # as a killed process leaves it: more than the ledger knows
        file.write(b"x" * 100)
        os.fsync(file.fileno())
    began = time.monotonic()
    process = spawn(data=data)
    took = time.monotonic() - began
    client = connect(process)
    seconds = []
    for number, upload_id in enumerate(ids):
        asked = time.perf_counter()
        answer = client.answer(client.open("HEAD", f"/uploads/{upload_id}", end=True))
        seconds.append(time.perf_counter() - asked)
        assert answer.headers["upload-offset"] == str(BYTES + 100 * (number == 0))
    print(f"ready in {took:.2f} s; HEAD {statistics.median(seconds) * 1000:.2f} ms at the median")
