"""One HTTP/2 stream: a request on the engine. It asks its connection to write, and never waits for another stream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from h2gate.errors import PeerGone
from h2gate.server.exchange import Exchange
from h2gate.wire.credit import Window
from h2gate.wire.engine import Engine, ErrorCode, Header

WAKE_BYTES = 1 << 20
"""The application is woken for this much at most: 4,000 wake-ups a GiB cost half of what 25,000 do."""
SEND_BUFFER = 512 << 10


class Host(Protocol):
    """What a stream needs of its connection."""

    engine: Engine
    loop: asyncio.AbstractEventLoop
    drain_bytes: int
    drain_seconds: float
    senders: set[Stream]
    """Streams that wait until more of their answer has left."""

    def plan_flush(self) -> None:
        """Write what the engine has, in this turn of the loop."""

    def plan_tick(self) -> None:
        """Call `tick` of all streams after a moment."""

    def round_trip(self) -> float:
        """Seconds."""

    def date_field(self) -> Header:
        """`date`, for the answer."""

    def forget(self, stream: Stream) -> None:
        """The stream is over."""


class Stream(Exchange):
    """See `Exchange`; ends itself (`Host.forget`) when both sides have ended."""

    def __init__(
        self, host: Host, stream_id: int, method: str, target: bytes, headers: Sequence[Header], window: Window
    ):
        super().__init__(method, target, headers)
        self.id = stream_id
        self._host = host
        self._window = window
        self._drained_bytes = 0
        self._drain_timer: asyncio.TimerHandle | None = None
        self._sender: asyncio.Future[None] | None = None
        self._unsent = 0

    # What the connection calls

    def tick(self) -> None:
        """A moment has passed: few bytes are better than none."""
        if self._inbox_bytes:
            self.wake()

    def ended(self, trailers: Sequence[Header] = ()) -> None:
        super().ended(trailers)
        if self.answered:
            self._over()

    def gone(self) -> None:
        super().gone()
        self.sendable()
        self._over()

    def check_progress(self) -> None:
        super().check_progress()
        unsent = self._host.engine.queued_bytes(self.id) if self._sender is not None else 0
        if unsent and unsent == self._unsent:  # nothing of the answer was taken since the last time
            self._host.engine.reset(self.id, ErrorCode.CANCEL)
            self.gone()
        self._unsent = unsent

    def sendable(self) -> None:
        """Bytes have left, or never will: look again."""
        if self._sender is not None and not self._sender.done():
            self._sender.set_result(None)

    # What `Exchange` asks for

    def _fair_bytes(self) -> int:
        return min(self._window.size >> 2, WAKE_BYTES)

    def _consumed(self, n_bytes: int) -> None:
        host = self._host
        host.engine.credit(self.id, n_bytes)
        if self._window.grown(n_bytes, host.loop.time(), host.round_trip()) and not self.request_ended:
            host.engine.set_window(self.id, self._window.size)
        host.plan_flush()

    def _dropped(self, n_bytes: int) -> None:
        if not n_bytes:
            return
        self._host.engine.credit(self.id, n_bytes)
        self._host.plan_flush()
        if self.answered:
            self._drained_bytes += n_bytes
            if self._drained_bytes > self._host.drain_bytes:
                self._stop_draining()

    def _wake_later(self) -> None:
        self._host.plan_tick()

    async def _inform(self, status: int, headers: list[Header]) -> None:
        self._host.engine.inform(self.id, [(b":status", b"%d" % status), *headers])
        self._host.plan_flush()

    async def _respond(self, status: int, headers: list[Header], data: bytes, *, last: bool) -> None:
        head = [(b":status", b"%d" % status), *headers, self._host.date_field()]
        self._host.engine.respond(self.id, head, end_stream=last and not data)
        if data:
            await self._continue(data, last=last)
        self._host.plan_flush()

    async def _continue(self, data: bytes, *, last: bool) -> None:
        host = self._host
        host.engine.send_data(self.id, data, end_stream=last)
        host.plan_flush()
        while not last and host.engine.queued_bytes(self.id) > SEND_BUFFER:
            self._sender = host.loop.create_future()
            host.senders.add(self)
            try:
                await self._sender
            finally:
                host.senders.discard(self)
                self._sender = None
            if self.peer_gone:
                raise PeerGone

    def _finished(self) -> None:
        super()._finished()
        if self.request_ended or self.peer_gone:
            self._over()
        elif self._drain_timer is None:
            # RFC 9113 section 8.1: the answer is whole, the rest of the request is not wanted. Many clients must send
            # a little more before they look, so the stream is not reset at once.
            self._drain_timer = self._host.loop.call_later(self._host.drain_seconds, self._stop_draining)

    def _stop_draining(self) -> None:
        if not (self.request_ended or self.peer_gone):
            self._host.engine.reset(self.id, ErrorCode.NO_ERROR)
            self._host.plan_flush()
        self._over()

    def _abort(self) -> None:
        self._host.engine.reset(self.id, ErrorCode.INTERNAL_ERROR)
        self._host.plan_flush()

    def _over(self) -> None:
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        self._window.close()
        self._host.forget(self)
