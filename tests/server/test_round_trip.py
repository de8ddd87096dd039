"""The kernel is asked for the round trip only of a connection that is still there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

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
