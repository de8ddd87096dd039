"""A limited rate: never much more than it in any interval, evenly, and no cost where there is none."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from h2gate.client import Client, Item, Listener
from h2gate.client.asking import Asker
from h2gate.client.pacing import Pace
from h2gate.client.transport import HttpVersion, Transport
from tests.client.cutting import Relay
from tests.conftest import Serve


class Clock:
    """Time that passes only while somebody sleeps; the sleepers wake in the order of their times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, turn))
        await turn

    async def run(self, work: asyncio.Task[None]) -> None:
        while not work.done():
            for _ in range(20):
                await asyncio.sleep(0)
            if self._sleepers:
                self._sleepers.sort(key=lambda sleeper: sleeper[0])
                self.now, turn = self._sleepers.pop(0)
                turn.set_result(None)
        await work


class Chunks(httpx.AsyncByteStream):
    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


@pytest.mark.parametrize("rate", [1, 1000, 100_000, 50_000_000])
async def test_no_interval_has_more_than_its_share_and_streams_share_evenly(rate: int) -> None:
    clock, passed = Clock(), list[tuple[float, int, int]]()
    pace = Pace(rate, now=lambda: clock.now, sleep=clock.sleep)

    async def take(number: int, stream: httpx.AsyncByteStream) -> None:
        async for piece in pace.limited(stream):
            passed.append((clock.now, number, len(piece)))

    async def both() -> None:
        await asyncio.gather(*(take(number, Chunks(bytes(rate * 3), bytes(rate))) for number in range(2)))

    await clock.run(asyncio.create_task(both()))
    assert sum(n for _, _, n in passed) == 8 * rate
    assert clock.now == pytest.approx(8, abs=1.1)
    slice_seconds = pace.slice_bytes / rate
    assert rate == 1 or slice_seconds <= 1 / 16
    for start in range(7):
        within = [(number, n) for at, number, n in passed if start <= at < start + 1]
        assert sum(n for _, n in within) <= rate * (1 + 0.05 + 2 * slice_seconds)
        shares = [sum(n for number, n in within if number == each) for each in range(2)]
        assert abs(shares[0] - shares[1]) <= 2 * pace.slice_bytes


async def test_bytes_are_neither_changed_nor_lost() -> None:
    data = [os.urandom(n) for n in (0, 1, 999, 100_000)]
    clock = Clock()
    pace = Pace(10_000, now=lambda: clock.now, sleep=clock.sleep)
    came: list[bytes] = []

    async def take() -> None:
        came.extend([piece async for piece in pace.limited(Chunks(*data))])

    await clock.run(asyncio.create_task(take()))
    assert b"".join(came) == b"".join(data)


class Watching(Listener):
    """Looks at what has come through the relay whenever anything moves."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.seen: list[tuple[float, int, int]] = []

    def moved(self, item: Item, n_bytes: int) -> None:
        self.seen.append((time.monotonic(), self._relay.up, self._relay.down))


@pytest.mark.parametrize("http", ["2", "1.1"])
async def test_put_and_get_are_never_ahead_of_their_limit(serve: Serve, tmp_path: Path, http: HttpVersion) -> None:
    """Small files alone, large ones, and a bundle: 600 KB at 400 KB a second in all, each way. A slow machine only has
    fewer bytes at a time."""
    served, rate = serve(), 400_000
    sizes = {"large": 200_000, "other": 200_000, "small": 50_000} | {f"many/{number:02}": 7_500 for number in range(20)}
    content = {name: os.urandom(size) for name, size in sizes.items()}
    for name, data in content.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(data)
    async with Relay(served.port) as relay:
        watching, url = Watching(relay), f"https://localhost:{relay.port}/files/"
        async with Client(url, ca=[served.ca], http=http, limit_rate=rate, listener=watching) as gate:
            start, ahead = time.monotonic(), rate / 4 + 60_000  # a burst, and headers and TLS of 23 files
            put = await gate.put([tmp_path / "tree"])
            assert all(up <= rate * (at - start) + ahead for at, up, _ in watching.seen)
            assert relay.up <= rate * (time.monotonic() - start) + ahead
            watching.seen.clear()
            start, before = time.monotonic(), relay.down
            got = await gate.get([f"{url}tree/"], f"{tmp_path}/back/")
            assert relay.down - before <= rate * (time.monotonic() - start) + ahead
            if http == "2":  # else the kernels hold more than that
                assert all(down - before <= rate * (at - start) + 2 * ahead for at, _, down in watching.seen)
    assert not [each.error for each in put + got if each.error]
    assert {name: (tmp_path / "back/tree" / name).read_bytes() for name in content} == content


async def test_without_a_limit_bodies_are_handed_on_as_they_are() -> None:
    body = httpx.ByteStream(b"x")
    asker = Asker(Transport(), {})
    assert asker.request("PUT", "https://h/a", {}, stream=body).stream is body
    paced = Asker(Transport(), {}, Pace(1))
    assert getattr(paced.request("PUT", "https://h/a", {}, stream=body).stream, "replayable", False)


def test_slow_limit_has_few_files_in_flight() -> None:
    assert Pace(1000).shares(32) == (1, 16 << 10)
    assert Pace(1 << 20).shares(32) == (32, 1 << 18)
    assert Pace(1 << 30).shares(32) == (32, 1 << 22)
