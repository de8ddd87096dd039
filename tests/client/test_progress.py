"""How a transfer is getting on, told while it runs; and the client for programs without an event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import h2gate
from h2gate.client import Client, Progress, SyncClient
from h2gate.errors import GateError
from tests.client.conftest import Tls
from tests.client.peer import Call, Peer
from tests.conftest import Serve


async def test_progress_ends_at_what_was_moved(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    (tmp_path / "tree").mkdir()
    sizes = [*range(40), 3 << 20, 5 << 20]
    for size in sizes:
        (tmp_path / f"tree/{size}").write_bytes(os.urandom(size))
    async with Client(served.url, ca=[served.ca]) as gate:
        seen: list[Progress] = []
        watched = gate.watch(gate.put(tmp_path / "tree"), every=0.01)
        async for now in watched:
            seen.append(now)
        assert len(watched.result) == len(sizes)
        last = seen[-1]
        assert (last.n_files, last.n_done, last.n_failed) == (len(sizes), len(sizes), 0)
        assert (last.n_bytes, last.total_bytes) == (sum(sizes), sum(sizes))
        assert (last.connections, last.streams, last.seconds_left) == (1, 0, 0)
        assert [now.n_bytes for now in seen] == sorted(now.n_bytes for now in seen)


async def test_total_is_unknown_while_a_size_is(tls: Tls) -> None:
    go_on = asyncio.Event()

    async def handler(call: Call) -> None:
        await call.read()
        await go_on.wait()
        call.answer(201)

    async with Peer(handler).serving(tls.server) as peer, Client(peer.url, ca=[tls.ca]) as gate:
        totals: list[int | None] = []
        async for now in gate.watch(gate.put(iter([b"four"]), "a"), every=0.01):
            totals.append(now.total_bytes)
            go_on.set()
    assert (totals[0], totals[-1]) == (None, 4)


async def test_bytes_sent_twice_count_once(tls: Tls, tmp_path: Path) -> None:
    calls = 0

    async def handler(call: Call) -> None:
        nonlocal calls
        calls += 1
        await call.read()
        call.answer(503 if calls == 1 else 201, (b"retry-after", b"0"))

    (tmp_path / "a").write_bytes(bytes(3 << 20))
    async with Peer(handler).serving(tls.server) as peer, Client(peer.url, ca=[tls.ca]) as gate:
        last = [now async for now in gate.watch(gate.put(tmp_path / "a"))][-1]
    assert (last.n_bytes, last.n_done) == (3 << 20, 1)


async def test_leaving_the_loop_ends_the_transfer(tls: Tls, tmp_path: Path) -> None:
    async def never(call: Call) -> None:
        await asyncio.Event().wait()

    (tmp_path / "a").write_bytes(bytes(20 << 20))
    async with Peer(never).serving(tls.server) as peer, Client(peer.url, ca=[tls.ca]) as gate:
        watched = aiter(gate.watch(gate.put(tmp_path / "a", "a"), every=0.01))
        await anext(watched)
        await peer.until(lambda: any(call.received for call in peer.calls))
        await watched.aclose()  # type: ignore[attr-defined]
        await peer.call("/files/a").reset


async def test_what_a_transfer_raises_the_loop_raises(serve: Serve) -> None:
    served = serve()
    async with Client(served.url, ca=[served.ca]) as gate:
        watched = gate.watch(gate.get("nothing/", "."))
        with pytest.raises(asyncio.InvalidStateError):
            _ = watched.result
        with pytest.raises(GateError):
            async for _ in watched:
                pass


def test_without_an_event_loop(serve: Serve, tmp_path: Path) -> None:
    def numbers() -> Iterator[bytes]:
        yield from (b"%d\n" % number for number in range(1000))

    served = serve()
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent/a").write_bytes(b"a" * 100_000)
    seen: list[Progress] = []
    with SyncClient(served.url, ca=[served.ca]) as gate:
        (put,) = gate.put(tmp_path / "sent", "in/", on_progress=seen.append)
        (streamed,) = gate.put(numbers(), "in/numbers")
        assert {entry.name for entry in gate.ls("in/")} == {"sent", "numbers"}
        assert [each.error for each in gate.get("in/", f"{tmp_path}/back/")] == [None, None]
        assert [each.error for each in gate.rm("in/", recursive=True)] == [None, None]
    assert (put.error, streamed.error) == (None, None)
    assert seen[-1].n_bytes == 100_000
    assert (tmp_path / "back/in/sent/a").read_bytes() == b"a" * 100_000
    assert (tmp_path / "back/in/numbers").read_bytes() == b"".join(numbers())


def test_what_the_package_offers_is_what_the_client_is() -> None:
    assert (h2gate.Client, h2gate.SyncClient) == (Client, SyncClient)
    assert h2gate.client.Transport.__name__ == "Transport"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = h2gate.Nothing
