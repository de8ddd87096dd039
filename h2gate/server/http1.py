"""HTTP/1.1 by Hypercorn (h11), with our `Exchange` in the place of its stream, and a bound for every wait.

So the body is pulled here too, 100-continue is sent when the application wants the body, trailers and 1xx pass, and
an early answer is read before the connection closes. `tests/server/test_hypercorn.py` watches what we rely on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

import h11
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from h2gate.server.exchange import authority_of, scope_of
from h2gate.server.http1_exchange import Http1Exchange
from h2gate.server.http1_parser import Parser, Refusal
from h2gate.server.inlet import STEP_BYTES, Inlet
from h2gate.server.pace import Pace
from h2gate.wire.engine import Header

if TYPE_CHECKING:
    from h2gate.server.callers import Caller
    from h2gate.server.worker import Worker

READ_BYTES = 128 << 10
"""Read at once for a large body."""
READER_BYTES = 3 * READ_BYTES
"""What that costs: a read that the reader keeps, one that the parser keeps, one that waits for the inbox."""
WRITE_BYTES = 64 << 10
"""Of answers, what may wait for the peer to read before their applications wait as well."""
_CLOSE_SECONDS = 5.0


class Http1Protocol(H11Protocol):
    """Hypercorn's, without upgrades (no WebSocket, no h2c: prior knowledge is seen at the door)."""

    worker: Worker
    caller: Caller
    """To whom is charged what the requests hold."""
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
                async with asyncio.timeout(_CLOSE_SECONDS):
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
        )
        self.task_group.spawn(exchange.run, self.worker.app, scope)


def _fields(request: h11.Request) -> list[Header]:
    """Its header; a target in absolute form says better than `Host` who is meant (RFC 9112 section 3.2.2)."""
    headers = list(request.headers)
    if (authority := authority_of(request.target)) is not None:
        return [(b"host", authority), *(field for field in headers if field[0] != b"host")]
    return headers


class _Phase(Enum):
    """What is waited for."""

    SILENT = "the first byte"
    IDLE = "the first byte of a further request"
    HEADER = "the end of a header"
    BUSY = "an application, or what it waits for"


class Http1Server(TCPServer):
    """Hypercorn's connection, with our protocol, reads of a known size, and ends that are bounded and quiet."""

    def __init__(self, worker: Worker, inlet: Inlet, caller: Caller) -> None:
        super().__init__(
            worker.wrapped_app,
            worker.loop,
            worker.config,
            worker.context,
            worker.lifespan_state,
            inlet.reader,
            inlet.writer,
        )
        settings = worker.settings
        self.idle_since = worker.loop.time()
        self._worker = worker
        self._inlet = inlet
        self._caller = caller
        self._charged = 0
        self._protocol: Http1Protocol
        self._phase = _Phase.SILENT
        self._patience = asyncio.timeout(settings.header_seconds)
        self._is_reading = False
        self._is_leaving = False
        self._answer_pace = Pace(settings.min_body_rate, settings.answer_seconds)
        self._written_bytes = 0

    async def run(self) -> None:
        sock = self.writer.get_extra_info("socket")
        self.writer.transport.set_write_buffer_limits(high=WRITE_BYTES)
        try:
            client = parse_socket_addr(sock.family, sock.getpeername())
            server = parse_socket_addr(sock.family, sock.getsockname())
            async with TaskGroup(self.loop) as tasks:
                self.protocol = self._protocol = self._make_protocol(tasks, client, server)  # type: ignore[assignment]
                await self._read_data()
        except OSError:
            pass  # the peer left before it was here
        except asyncio.CancelledError:
            self.writer.transport.abort()  # what is unsent will stay so
            raise
        finally:
            await self._close()
            self._caller.give_back(self._charged)

    def _make_protocol(
        self, tasks: TaskGroup, client: tuple[str, int] | None, server: tuple[str, int] | None
    ) -> Http1Protocol:
        is_tls = self.writer.get_extra_info("ssl_object") is not None
        state = ConnectionState(self.state)
        send = self.protocol_send
        protocol = Http1Protocol(self.app, self.config, self.context, tasks, state, is_tls, client, server, send)
        protocol.worker = self._worker
        protocol.caller = self._caller
        protocol.connection = Parser(self._worker.settings)
        protocol.cut = self.writer.transport.abort
        protocol.read_widely = self._read_widely
        protocol.answer_is_read = self._answer_is_read
        return protocol

    # Reading

    async def _read_data(self) -> None:
        with suppress(OSError):  # a reset is an end like any other, and so is a timeout
            try:
                async with self._patience:
                    self._is_reading = True
                    if self._worker.stopping:
                        self.loop.call_soon(self.leave_idle)
                    await self._read_requests()
            finally:
                self._is_reading = False
        if self._patience.expired():
            await self._be_late()
        if self._protocol.refused:
            await self._linger()
        await self._protocol.input_ended()

    async def _read_requests(self) -> None:
        protocol = self._protocol
        while not protocol.refused and (data := await self.reader.read(self._inlet.step_bytes)):
            if self._phase is not _Phase.BUSY:
                self._enter(_Phase.HEADER)
            await protocol.handle(RawData(data))
            if self._phase is _Phase.IDLE and protocol.connection.trailing_data[0]:
                self._enter(_Phase.HEADER)  # it came behind the request before

    async def _be_late(self) -> None:
        """Nobody is answered who has not begun to ask."""
        seconds = self._worker.settings.header_seconds
        if self._phase is _Phase.HEADER:
            await self._protocol.refuse(Refusal(408, f"no whole header within {seconds:g} s", "header_seconds"))
        elif self._phase is _Phase.SILENT and not self._is_leaving:
            self._protocol.limited("header_seconds", f"silent for {seconds:g} s")

    async def _linger(self) -> None:
        """Let the peer see the answer: closing while it sends would reset the connection under it."""
        settings = self._worker.settings
        left = settings.drain_bytes
        with suppress(OSError):
            async with asyncio.timeout(settings.drain_seconds):
                if self.writer.can_write_eof():
                    self.writer.write_eof()
                while left > 0 and (data := await self.reader.read(STEP_BYTES)):
                    left -= len(data)
        if left <= 0:
            self.writer.transport.abort()

    def _read_widely(self) -> int:
        if not self._charged and self._caller.take(READER_BYTES):
            self._charged = READER_BYTES
            self._inlet.step_bytes = READ_BYTES
        return self._inlet.step_bytes

    # Waiting

    @property
    def is_idle(self) -> bool:
        """The last request is over."""
        return self._phase is _Phase.IDLE

    def _enter(self, phase: _Phase) -> None:
        settings, before = self._worker.settings, self._phase
        self._phase = phase
        match phase:
            case _Phase.BUSY:
                self._wait_for(None)
            case _Phase.HEADER if before is _Phase.IDLE:  # that of the first is counted from the accept
                self._wait_for(settings.header_seconds)
            case _Phase.IDLE:
                self.idle_since = self.loop.time()
                self._wait_for(settings.idle_seconds)

    def _wait_for(self, seconds: float | None) -> None:
        if self._is_reading and not self._patience.expired():
            self._patience.reschedule(None if seconds is None else self.loop.time() + seconds)

    def leave_idle(self) -> None:
        """Close the connection, if no request was begun on it, or none after the last."""
        if self._phase in (_Phase.SILENT, _Phase.IDLE):
            self._is_leaving = True
            self._wait_for(0)

    # Writing

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated):
            self._enter(_Phase.IDLE if event.idle else _Phase.BUSY)
            return
        if isinstance(event, RawData):
            self._written_bytes += len(event.data)
        try:
            await super().protocol_send(event)
        except OSError:
            self.writer.transport.abort()
            await self.protocol.handle(Closed())

    def _answer_is_read(self, elapsed: float) -> bool:
        unread = self.writer.transport.get_write_buffer_size()
        return self._answer_pace.keeps_up(self._written_bytes - unread, elapsed, its_turn=unread > 0)

    async def _close(self) -> None:
        # A peer that does not read what is left, or with TLS never says goodbye, would keep us here.
        late = self.loop.call_later(_CLOSE_SECONDS, self.writer.transport.abort)
        try:
            with suppress(OSError):
                await super()._close()
        finally:
            late.cancel()
