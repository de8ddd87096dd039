"""kill -9 while an upload streams, again and again: the next start knows every byte that it had acknowledged.

The sender stops feeding at a random byte and kills the gateway there, asks the next one how far it is, and goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import ssl
import statistics
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from h2gate.client.transport import Transport
from tests.conftest import Process, Spawn

SIZE = 24 << 20
CHUNK = 64 << 10
KILLS = 3
"""Per upload."""
ROUNDS = 100 if os.environ.get("H2GATE_LONG") else 8
LAST_WINDOW = 32 << 20
"""What a stream's window may grow to."""
_TYPE = {"content-type": "application/partial-upload"}


@dataclass
class Round:
    """One upload of `content`, over as many lives of the gateway as it takes."""

    content: bytes
    dice: random.Random
    url: str = ""
    acknowledged: int = 0
    sent_to: int = 0
    sent_twice: list[int] = field(default_factory=list)

    def told(self, status: int, headers: Any) -> None:
        """An interim response: an offset in it is a promise."""
        fields = {name.decode(): value.decode() for name, value in headers}
        self.url = fields.get("location", self.url)
        self.acknowledged = max(self.acknowledged, int(fields.get("upload-offset", 0)))

    async def body(self, start: int, process: Process, kill_at: int | None) -> AsyncIterator[bytes]:
        """From `start` on; the gateway is killed when `kill_at` is sent."""
        self.sent_to = start
        while self.sent_to < SIZE:
            if kill_at is not None and self.sent_to >= kill_at:
                break
            chunk = self.content[self.sent_to : self.sent_to + CHUNK]
            yield chunk
            self.sent_to += len(chunk)
        if kill_at is not None:
            process.signal(signal.SIGKILL)
            if self.sent_to < SIZE:
                await asyncio.Event().wait()  # until the connection breaks


async def _send(http: httpx.AsyncClient, each: Round, process: Process, start: int, kill_at: int | None) -> int | None:
    """The status, or None when the gateway was killed before it answered."""
    fields = {"upload-complete": "?1", "upload-draft-interop-version": "8", "content-length": str(SIZE - start)}
    extensions = {"h2gate.informational": each.told}
    method, url = ("PUT", "/files/round") if not each.url else ("PATCH", each.url)
    if method == "PATCH":
        fields |= {**_TYPE, "upload-offset": str(start)}
    body = each.body(start, process, kill_at)
    try:
        return (await http.request(method, url, headers=fields, content=body, extensions=extensions)).status_code
    except httpx.TransportError:
        return None


async def _life(process: Process, each: Round, *, may_kill: bool) -> bool:
    """What happens between one start and the next; whether the upload is complete."""
    trust = ssl.create_default_context(cafile=process.ca)
    async with httpx.AsyncClient(transport=Transport(verify=trust), base_url=process.url, timeout=30) as http:
        start = 0
        if each.url:
            found = await http.head(each.url)
            assert found.status_code == 204, found.headers
            start = int(found.headers["upload-offset"])
            assert start >= each.acknowledged, "an acknowledged byte is missing"
            assert start <= each.sent_to
            each.sent_twice.append(each.sent_to - start)
            if found.headers["upload-complete"] == "?1":
                assert start == SIZE
                return True
        status = await _send(http, each, process, start, each.dice.randint(start, SIZE) if may_kill else None)
        assert may_kill or status in (200, 201, 204)
        return not may_kill


@pytest.mark.timeout(1200)
def test_nothing_acknowledged_is_missing_and_the_digest_is_right_however_often_it_is_killed(
    spawn: Spawn, tmp_path: Path
) -> None:
    sent_twice: list[int] = []
    told: set[str] = set()
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    for number in range(ROUNDS):
        dice = random.Random(f"{seed}/{number}")  # noqa: S311 - not a secret
        each = Round(dice.randbytes(SIZE), dice)
        for life in range(KILLS + 2):
            process = spawn("--progress-seconds", "0.02", data=tmp_path / "data")
            is_over = asyncio.run(_life(process, each, may_kill=life < KILLS))
            if is_over:
                break
            process.popen.kill()
            process.wait()
        found = asyncio.run(_get(process))
        assert hashlib.sha256(found.content).digest() == hashlib.sha256(each.content).digest()
        assert found.headers["repr-digest"]
        asyncio.run(_remove(process))
        process.signal(signal.SIGTERM)
        process.wait()
        sent_twice += each.sent_twice
        told.add(each.url.rpartition("/")[2])
    print(f"{len(sent_twice)} kills; sent twice, median {statistics.median(sent_twice):,.0f}, most {max(sent_twice):,}")
    assert statistics.median(sent_twice) <= LAST_WINDOW
    # One that was begun and killed before anybody was told of it is left to expire.
    assert not told & {path.name for path in (tmp_path / "data/partial").iterdir()}


def _client(process: Process) -> httpx.AsyncClient:
    trust = ssl.create_default_context(cafile=process.ca)
    return httpx.AsyncClient(transport=Transport(verify=trust), base_url=process.url, timeout=30)


async def _get(process: Process) -> httpx.Response:
    async with _client(process) as http:
        return await http.get("/files/round")


async def _remove(process: Process) -> None:
    async with _client(process) as http:
        assert (await http.delete("/files/round")).status_code == 204
