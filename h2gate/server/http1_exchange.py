"""One request on an HTTP/1.1 connection: paces the sender by not reading, and is charged for all that it can hold."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import h11
from hypercorn.events import Closed
from hypercorn.protocol.events import Body, EndBody, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID

from h2gate.errors import PeerGone
from h2gate.server.exchange import App, Exchange, Message
from h2gate.server.http1_parser import head_bytes
from h2gate.server.inlet import STEP_BYTES
from h2gate.server.stream import ANSWER_BYTES, HEADER_COST, STREAM_BYTES
from h2gate.wire.engine import Header

if TYPE_CHECKING:
    from h2gate.server.http1_protocol import Http1Protocol

INBOX_BYTES = 1 << 20
"""What a body has here at most, what the application has pulled of it and not yet stored included."""
SMALL_INBOX_BYTES = 64 << 10
"""The same where there is no room for more."""
_FAIR_BYTES = 256 << 10
_YIELD_EVENTS = 256
_TICK_SECONDS = 0.02
_PULSE_SECONDS = 1.0


class Http1Exchange(Exchange):
    """See `Exchange`."""

    def __init__(self, protocol: Http1Protocol, request: h11.Request, headers: list[Header]) -> None:
        settings = protocol.worker.settings
        limited, traffic = protocol.limited, protocol.worker.metrics.traffic
        super().__init__(request.method.decode("ascii"), request.target, headers, settings, limited, traffic)
        self._protocol = protocol
        self._settings = settings
        self._account = protocol.caller
        self._knows_1xx = request.http_version != b"1.0"
        self._is_chunked = any(name == b"transfer-encoding" for name, _ in headers)
        self._charged = 0
        self._head_cost = STREAM_BYTES + HEADER_COST * head_bytes(request)
        self._inbox_limit = 0
        self._may_answer_at_once = False
        self._room = asyncio.Event()
        self._n_events = 0
        self._drained_bytes = 0
        self._tick: asyncio.TimerHandle | None = None
        self._watcher: asyncio.TimerHandle

    def admit(self) -> bool:
        """Charge what it costs; False when there is no room for it."""
        most = INBOX_BYTES if self._is_chunked else min(self.length or 0, INBOX_BYTES)
        fair = max(SMALL_INBOX_BYTES, self._account.share)
        for inbox_bytes in sorted({min(most, fair), min(most, SMALL_INBOX_BYTES)}, reverse=True):
            if self._account.take(self._head_cost + inbox_bytes):
                self._charged = self._head_cost + inbox_bytes
                step = self._protocol.read_widely() if inbox_bytes > SMALL_INBOX_BYTES else STEP_BYTES
                fits = self.length is not None and self.length <= inbox_bytes
                self._inbox_limit = inbox_bytes + 1 if fits else inbox_bytes // 2 - step  # the other half is pulled
                return True
        return False

    def _release(self) -> None:
        self._account.give_back(self._charged)
        self._charged = 0

    async def handle(self, event: StreamEvent) -> None:
        """What Hypercorn's protocol tells its stream. Returns when there is room for more: that paces the sender."""
        if isinstance(event, Body):
            self.arrived(bytes(event.data))
            await self._let_others_work()
            while (self._inbox_bytes >= self._inbox_limit or self._is_drained()) and not self.peer_gone:
                self._room.clear()
                await self._room.wait()
        elif isinstance(event, EndBody):
            self.ended(self._protocol.connection.trailers)  # type: ignore[union-attr]
            self._room.set()
        elif isinstance(event, StreamClosed) and not (self.answered and self.request_ended):
            self.gone()
            self._room.set()

    async def _let_others_work(self) -> None:
        """One read can be thousands of chunks."""
        self._n_events += 1
        if self._n_events % _YIELD_EVENTS == 0:
            await asyncio.sleep(0)

    async def run(self, app: App, scope: Message) -> None:
        try:
            await self._serve(app, scope)
        finally:
            self._release()
        if self._is_drained() and not self.request_ended:
            self._protocol.cut()  # with TLS, a close would go on reading
            await self.handle(StreamClosed(stream_id=STREAM_ID))
        elif self.peer_hung_up:
            await self._protocol.send(Closed())
        elif not self.peer_gone:
            await self._protocol.stream_send(StreamClosed(stream_id=STREAM_ID))

    async def _serve(self, app: App, scope: Message) -> None:
        self._watch()
        try:
            await super().run(app, scope)
        finally:
            self._watcher.cancel()
        if not (self.request_ended or self.peer_gone):
            await self._drain()

    def _watch(self, before: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if before:
            self.check_progress(now - before)
        seconds = min(_PULSE_SECONDS, self._protocol.worker.shortest_seconds / 4)
        self._watcher = loop.call_later(seconds, self._watch, now)

    def check_progress(self, elapsed: float) -> None:
        super().check_progress(elapsed)
        if not (self.peer_gone or self._protocol.answer_is_read(elapsed)):
            self._limited("answer_seconds", f"{self.method}: the answer is not read")
            self._break_off()

    def _is_drained(self) -> bool:
        return self.answered and self._drained_bytes > self._settings.drain_bytes

    async def _drain(self) -> None:
        """Let the sender see the answer: closing at once would reset the connection under it. When `drain_bytes` are
        dropped nothing more is read, which makes a sender look that never stopped to."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_seconds):
                while not (self.request_ended or self.peer_gone):
                    self._room.clear()
                    await self._room.wait()

    def _fair_bytes(self) -> int:
        return min(_FAIR_BYTES, self._inbox_limit)

    def _consumed(self, n_bytes: int) -> None:
        self._room.set()

    def _dropped(self, n_bytes: int) -> None:
        self._drained_bytes += n_bytes
        self._room.set()

    def _wake_later(self) -> None:
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._on_tick)

    def _on_tick(self) -> None:
        self._tick = None
        if self._inbox_bytes:
            self.wake()

    async def _inform(self, status: int, headers: list[Header]) -> None:
        if self._knows_1xx:
            await self._protocol.stream_send(Response(stream_id=STREAM_ID, headers=headers, status_code=status))

    async def _respond(self, status: int, headers: list[Header], data: bytes, *, last: bool) -> None:
        if self._protocol.context.terminated.is_set():
            headers.append((b"connection", b"close"))
        await self._protocol.stream_send(Response(stream_id=STREAM_ID, headers=headers, status_code=status))
        await self._continue(data, last=last)

    async def _continue(self, data: bytes, *, last: bool) -> None:
        piece_bytes = self._may_queue(len(data))
        for start in range(0, len(data), piece_bytes):
            if self.peer_gone:
                raise PeerGone
            await self._protocol.stream_send(Body(stream_id=STREAM_ID, data=data[start : start + piece_bytes]))
        if self.peer_gone:
            raise PeerGone
        if last:
            await self._protocol.stream_send(EndBody(stream_id=STREAM_ID))

    def _may_queue(self, n_bytes: int) -> int:
        """Bytes of the answer that may be handed over at once: few, where there is no room for more."""
        account, wants = self._account, n_bytes > STEP_BYTES and not self._may_answer_at_once
        if wants and account.share > ANSWER_BYTES and account.take(ANSWER_BYTES):
            self._may_answer_at_once = True
            self._charged += ANSWER_BYTES
        return n_bytes if n_bytes and self._may_answer_at_once else STEP_BYTES

    def _abort(self) -> None:
        self._protocol.cut()

    def _break_off(self) -> None:
        self._protocol.cut()
