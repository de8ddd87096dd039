"""In a bulk transfer the socket is looked at less often; what waits there never waits for more than comes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import cast

from h2gate.server.reading import BURST_BYTES, MOST_BYTES, Reading

BULK = 64 << 20
PIECE = bytes(64 << 10)
PATIENCE = 20


class Sink(asyncio.BufferedProtocol):
    """Counts what comes, and lets `Reading` say when."""

    def __init__(self, *, are_coming: bool) -> None:
        self.arrived = 0
        self.waited_for: set[int] = set()
        """How many bytes the kernel was told to wait for, at each read."""
        self._are_coming = are_coming
        self._buffer = bytearray(MOST_BYTES)
        self._more = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(socket.socket, transport.get_extra_info("socket"))
        transport = cast(asyncio.Transport, transport)
        self.reading = Reading(transport, asyncio.get_running_loop(), lambda _: self._are_coming)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.arrived += nbytes
        self.reading.read(nbytes)
        self.waited_for.add(self.waits_for)
        self._more.set()

    @property
    def waits_for(self) -> int:
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)

    async def until(self, n_bytes: int) -> None:
        """So many have come."""
        async with asyncio.timeout(PATIENCE):
            while self.arrived < n_bytes:
                self._more.clear()
                await self._more.wait()


def sent(*pieces: bytes, are_coming: bool) -> Sink:
    """A sink that has got all of `pieces`, and behind them a little more."""
    return asyncio.run(_sending(pieces, are_coming=are_coming))


async def _sending(pieces: Sequence[bytes], *, are_coming: bool) -> Sink:
    loop, sink = asyncio.get_running_loop(), Sink(are_coming=are_coming)
    server = await loop.create_server(lambda: sink, "127.0.0.1")
    async with server:
        _reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        size = 0
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            size += len(piece)
        await sink.until(size)
        writer.write(b"the last words")  # far fewer than the kernel may wait for
        await sink.until(size + 14)
        writer.close()
    return sink


def test_bulk_is_waited_for_and_its_end_comes_all_the_same() -> None:
    sink = sent(*[PIECE] * (BULK // len(PIECE)), are_coming=True)
    assert max(sink.waited_for) > len(PIECE)
    assert max(sink.waited_for) <= MOST_BYTES


def test_where_no_more_is_sure_to_come_nothing_is_waited_for() -> None:
    sink = sent(*[PIECE] * (BULK // len(PIECE)), are_coming=False)
    assert sink.waited_for == {1}


def test_few_bytes_are_not_waited_for() -> None:
    sink = sent(bytes(BURST_BYTES // 2), are_coming=True)
    assert sink.waited_for == {1}
