"""What has no length: file objects and iterables of both kinds are sent as they come, and gone on with when cut."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from h2gate.client import Client
from h2gate.client.failures import LocalFile
from h2gate.client.streams import StreamSource, reader_of
from h2gate.errors import ConfigError
from tests.client.conftest import Tls
from tests.client.cutting import Relay
from tests.client.peer import Call, Peer
from tests.conftest import Serve

DATA = os.urandom(3 << 20)


def pieces(data: bytes = DATA) -> Iterator[bytes]:
    """Of all sizes, some of them empty."""
    dice, start = random.Random(7), 0  # noqa: S311 - not a secret
    while start < len(data):
        size = dice.choice([0, 1, 1000, 70_000, 1 << 20])
        yield data[start : start + size]
        start += size


async def asynchronous() -> AsyncIterator[bytes]:
    for piece in pieces():
        await asyncio.sleep(0)
        yield piece


STREAMS: dict[str, Any] = {
    "file object": lambda: io.BytesIO(DATA),
    "generator": pieces,
    "buffers": lambda: iter([bytearray(DATA[:9]), memoryview(DATA)[9:]]),
    "asynchronous": asynchronous,
}


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("http", ["auto", "1.1"])
async def test_stream_of_any_kind_arrives_whole(serve: Serve, kind: str, http: Any) -> None:
    served = serve()
    async with Client(served.url, ca=[served.ca], http=http) as gate:
        (outcome,) = await gate.put(STREAMS[kind](), "live/camera 1.ts")
    assert (outcome.error, outcome.n_bytes) == (None, len(DATA))
    assert outcome.sha256 == hashlib.sha256(DATA).hexdigest()
    assert served.path("live/camera 1.ts").read_bytes() == DATA


async def test_pipe_is_read_as_it_fills_and_not_ahead(tls: Tls) -> None:
    """What is written can be seen at the other end before more is."""
    out, into = os.pipe()
    arrived: list[bytes] = []
    loop, seen = asyncio.get_running_loop(), threading.Semaphore(0)

    async def handler(call: Call) -> None:
        async for data in call.body():
            arrived.append(data)
            seen.release()
        call.answer(201)

    def write() -> None:
        for word in (b"one", b"two", b"three"):
            os.write(into, word)
            assert seen.acquire(timeout=20)
        os.close(into)

    with os.fdopen(out, "rb") as file:
        async with Peer(handler).serving(tls.server) as peer, Client(peer.url, ca=[tls.ca]) as gate:
            writing = loop.run_in_executor(None, write)
            (outcome,) = await gate.put(file, "words")
            await writing
    assert outcome.error is None
    assert arrived == [b"one", b"two", b"three"]


async def test_stream_that_is_cut_goes_on_from_what_is_kept(serve: Serve) -> None:
    served = serve(progress_seconds=0.05)
    data = os.urandom(24 << 20)
    dice = random.Random(3)  # noqa: S311 - not a secret

    async with Relay(served.port) as relay:

        async def camera() -> AsyncIterator[bytes]:
            for start in range(0, len(data), 1 << 18):
                if start in (6 << 20, 12 << 20, 18 << 20):
                    await relay.until(start - (4 << 20))
                    relay.cut(dice)
                yield data[start : start + (1 << 18)]

        async with Client(f"https://localhost:{relay.port}", ca=[served.ca]) as gate:
            (outcome,) = await gate.put(camera(), "camera")
    assert outcome.error is None
    assert relay.cuts == 3
    assert outcome.attempts > 1
    assert served.path("camera").read_bytes() == data


async def test_what_an_iterable_raises_is_raised_and_nothing_is_shown(serve: Serve) -> None:
    def broken() -> Iterator[bytes]:
        yield DATA
        raise ZeroDivisionError("the camera fell")

    served = serve()
    async with Client(served.url, ca=[served.ca]) as gate:
        with pytest.raises(ZeroDivisionError, match="camera fell"):
            await gate.put(broken(), "a")
        (outcome,) = await gate.put(iter([b"x"]), "b")
    assert outcome.error is None
    assert not served.path("a").exists()


async def test_what_yields_no_bytes_is_a_type_error(serve: Serve) -> None:
    served = serve()
    async with Client(served.url, ca=[served.ca]) as gate:
        with pytest.raises(TypeError, match="bytes, not str"):
            await gate.put(iter(["text"]), "a")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="int is neither"):
            await gate.put(7, "a")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="no name"):
            await gate.put(iter([b"x"]), "folder/")


async def test_generator_is_closed_when_the_gateway_refuses(serve: Serve) -> None:
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(1 << 16)
        finally:
            closed.set()

    served = serve(max_body=1 << 20, max_size=1 << 20)
    async with Client(served.url, ca=[served.ca]) as gate:
        (outcome,) = await gate.put(endless(), "a")
    assert outcome.error is not None
    assert outcome.error.code == "too_large"
    assert await asyncio.to_thread(closed.wait, 20)


async def test_bytes_that_were_being_read_when_it_was_cancelled_are_not_lost() -> None:
    gates = [asyncio.Event(), asyncio.Event()]

    async def slow() -> AsyncIterator[bytes]:
        for number, gate in enumerate(gates):
            await gate.wait()
            yield b"%d" % number

    reader = reader_of(slow())
    reading = asyncio.create_task(reader.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    for gate in gates:
        gate.set()
    assert [await reader.read() for _ in range(4)] == [b"0", b"1", b"", b""]
    await reader.close()


async def test_what_is_not_kept_any_more_cannot_be_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("h2gate.client.streams.KEPT_BYTES", 1 << 20)
    source = StreamSource(reader_of(io.BytesIO(DATA)), lambda n_bytes: None)
    assert b"".join([piece async for piece in source.body(0)]) == DATA
    with pytest.raises(LocalFile, match="cannot be read again from byte 0"):
        source.body(0)
    kept = 2 << 20
    assert b"".join([piece async for piece in source.body(kept)]) == DATA[kept:]
    source.durable(len(DATA))
    with pytest.raises(LocalFile):
        source.body(kept)
    await source.close()


async def test_targets_are_below_the_url_of_the_client(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    (tmp_path / "a.txt").write_bytes(b"a")
    async with Client(f"{served.url}/files/home/", ca=[served.ca]) as gate:
        await gate.put(tmp_path / "a.txt", "in/")
        await gate.put(tmp_path / "a.txt", "in/100 %.txt")
        await gate.put(str(tmp_path / "a.txt"))
        await gate.put([tmp_path / "a.txt"], f"{served.url}/files/other.txt")
        assert [entry.name for entry in await gate.ls("in/")] == ["100 %.txt", "a.txt"]
        await gate.get("in/100 %.txt", tmp_path / "back")
        for odd in ("../x", "a//b", "./a"):
            with pytest.raises(ConfigError, match="not a path below"):
                await gate.put(tmp_path / "a.txt", odd)
        assert not [each.error for each in await gate.rm("in/", recursive=True) if each.error]
    assert (tmp_path / "back").read_bytes() == b"a"
    assert served.path("home/a.txt").read_bytes() == served.path("other.txt").read_bytes() == b"a"
