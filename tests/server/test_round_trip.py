"""The kernel is asked for the round trip only of a connection that is still there."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import cast

import pytest
import uvloop

from h2gate.server.round_trip import _tcp_round_trip


class Lost(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_the_round_trip_of_a_connection_that_was_lost_is_not_known(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            where = server.getsockname()
            transport, protocol = await asyncio.get_running_loop().create_connection(Lost, *where)
            sock = transport.get_extra_info("socket")
            assert _tcp_round_trip(sock) > 0
            transport.abort()
            await protocol.lost
            await asyncio.sleep(0)
            assert _tcp_round_trip(sock) == 0

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


@pytest.mark.parametrize(
    ("smoothed", "shortest", "seconds"),
    [(40_000, 300, 0.0003), (40_000, 39_000, 0.04), (40_000, 0, 0.04), (40_000, None, 0.04), (None, None, 0.0)],
    ids=["near and busy", "far", "not measured", "an older kernel", "a very old one"],
)
def test_path_that_was_short_once_is_short_however_busy_the_peer_is(
    smoothed: int | None, shortest: int | None, seconds: float
) -> None:
    class Told:
        """A kernel's answer, in microseconds."""

        def fileno(self) -> int:
            return 3

        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
            info = bytearray(size)
            for offset, value in ((68, smoothed), (148, shortest)):
                if value is None:
                    return bytes(info[:offset])
                info[offset : offset + 4] = value.to_bytes(4, sys.byteorder)
            return bytes(info)

    assert _tcp_round_trip(cast(socket.socket, Told())) == pytest.approx(seconds)
