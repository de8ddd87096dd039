"""Requests of an HTTP/1.1 connection by Hypercorn, with our `Exchange` in the place of its stream and no upgrades.

What is not taken is answered, if an answer can still be begun, and then nothing counts that the peer sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import h11
from hypercorn.events import Closed, Updated
from hypercorn.protocol.events import Body, EndBody
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol

from h2gate.server.certificates import Shown
from h2gate.server.http1_exchange import Http1Exchange
from h2gate.server.http1_parser import Refusal
from h2gate.server.scope import authority_of, scope_of
from h2gate.wire.engine import Header

if TYPE_CHECKING:
    from h2gate.server.callers import Caller
    from h2gate.server.worker import Worker

_ANSWER_SECONDS = 5.0
"""For a refusal to be written."""


class Http1Protocol(H11Protocol):
    """Hypercorn's, without upgrades (no WebSocket, no h2c: prior knowledge is seen at the door)."""

    worker: Worker
    caller: Caller
    """To whom is charged what the requests hold."""
    shown: Shown | None
    """The client's."""
    cut: Callable[[], None]
    """Abort the connection."""
    read_widely: Callable[[], int]
    """Read more at once, if there is room for that; how much."""
    answer_is_read: Callable[[float], bool]
    """Whether the peer takes what it is sent, so many seconds after the last look."""
    refused = False
    """What the peer sends does not count any more."""

    def limited(self, limit: str, what: str) -> None:
        """The peer ran into a limit."""
        self.worker.metrics.limit_hit(limit, self.caller.address, what)

    async def input_ended(self) -> None:
        """The peer sends no more; one that has sent a whole request may still read the answer."""
        if isinstance(self.stream, Http1Exchange) and self.stream.request_ended:
            self.stream.hung_up()
        else:
            await self.handle(Closed())

    async def refuse(self, refusal: Refusal, headers: Sequence[Header] = ()) -> None:
        """Answer, if an answer can still be begun; an application that waits for more of the request learns that its
        peer is gone."""
        self.refused = True
        if refusal.limit is not None:
            self.limited(refusal.limit, refusal.what)
        await self.handle(Closed())
        if self.connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            fields = [(b"content-length", b"0"), (b"connection", b"close"), self.worker.date_field(), *headers]
            with suppress(TimeoutError):
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._send_h11_event(h11.Response(status_code=refusal.status, headers=fields))
                    await self._send_h11_event(h11.EndOfMessage())

    async def _handle_events(self) -> None:
        while not self.refused:
            try:
                event = self.connection.next_event()
            except Refusal as refusal:
                await self.refuse(refusal)
                return
            match event:
                case h11.Request():
                    await self.send(Updated(idle=False))
                    await self._create_stream(event)
                case h11.PAUSED:
                    await self.can_read.clear()
                    await self.can_read.wait()
                case h11.Data() if self.stream is not None:
                    await self.stream.handle(Body(stream_id=STREAM_ID, data=event.data))
                case h11.EndOfMessage() if self.stream is not None:
                    await self.stream.handle(EndBody(stream_id=STREAM_ID))
                case _:
                    return

    async def _create_stream(self, request: h11.Request) -> None:
        headers = _fields(request)
        exchange = Http1Exchange(self, request, headers)
        if not exchange.admit():
            await self.refuse(Refusal(503, "no memory left for a request", "memory"), [(b"retry-after", b"1")])
            return
        self.stream = exchange  # type: ignore[assignment]
        scope = scope_of(
            exchange,
            version=request.http_version.decode(),
            scheme="https" if self.ssl else "http",
            headers=headers,
            client=self.client,
            server=self.server,
            certificate=self.worker.certificate(self.shown),
        )
        self.worker.efforts.at_work(self.caller.address)
        self.task_group.spawn(self.worker.efforts.serve, self.caller.address, exchange, self.worker.app, scope)


def _fields(request: h11.Request) -> list[Header]:
    """Its header; a target in absolute form says better than `Host` who is meant (RFC 9112 section 3.2.2)."""
    headers = list(request.headers)
    if (authority := authority_of(request.target)) is not None:
        return [(b"host", authority), *(field for field in headers if field[0] != b"host")]
    return headers
