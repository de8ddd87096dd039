"""HTTP/1.1 by Hypercorn (h11), with our `Exchange` in the place of its stream.

So the body is pulled here too, 100-continue is sent when the application wants the body, trailers and 1xx pass, and
an early answer is read before the connection closes. `tests/server/test_hypercorn.py` watches what we rely on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import h11
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Body, EndBody, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from h2gate.errors import PeerGone
from h2gate.server.exchange import App, Exchange, Message, scope_of
from h2gate.wire.engine import Header

if TYPE_CHECKING:
    from h2gate.server.callers import Caller
    from h2gate.server.worker import Worker

READ_BYTES = 256 << 10
INBOX_BYTES = 1 << 20
_FAIR_BYTES = 256 << 10
_TICK_SECONDS = 0.02
_PULSE_SECONDS = 1.0
_CLOSE_SECONDS = 5.0


class _Parser(h11.Connection):
    """Keeps the trailers, and leaves it to the application to ask for the body."""

    trailers: list[Header]

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.EndOfMessage):
            self.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
        return event

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        return False


class Http1Protocol(H11Protocol):
    """Hypercorn's, without upgrades (no WebSocket, no h2c: prior knowledge is seen at the door)."""

    worker: Worker
    cut: Callable[[], None]
    """Abort the connection."""
    caller: Caller

    def limited(self, limit: str, what: str) -> None:
        """The peer ran into a limit."""
        self.worker.metrics.limit_hit(limit, self.caller.address, what)

    async def input_ended(self) -> None:
        """The peer sends no more; one that has sent a whole request may still read the answer."""
        if isinstance(self.stream, Http1Exchange) and self.stream.request_ended:
            self.stream.hung_up()
        else:
            await self.handle(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        return

    async def _create_stream(self, request: h11.Request) -> None:
        exchange = Http1Exchange(self, request)
        self.stream = exchange  # type: ignore[assignment]
        scope = scope_of(
            exchange,
            version=request.http_version.decode(),
            scheme="https" if self.ssl else "http",
            headers=list(request.headers),
            client=self.client,
            server=self.server,
        )
        self.task_group.spawn(exchange.run, self.worker.app, scope)


class Http1Exchange(Exchange):
    """One request on an HTTP/1.1 connection."""

    def __init__(self, protocol: Http1Protocol, request: h11.Request) -> None:
        settings = protocol.worker.settings
        headers = list(request.headers)
        super().__init__(request.method.decode("ascii"), request.target, headers, settings, protocol.limited)
        self._protocol = protocol
        self._settings = settings
        self._knows_1xx = request.http_version != b"1.0"
        self._room = asyncio.Event()
        self._drained_bytes = 0
        self._tick: asyncio.TimerHandle | None = None
        self._watcher: asyncio.TimerHandle

    async def handle(self, event: StreamEvent) -> None:
        """What Hypercorn's protocol tells its stream. Returns when there is room for more: that paces the sender."""
        if isinstance(event, Body):
            self.arrived(bytes(event.data))
            while (self._inbox_bytes >= INBOX_BYTES or self._is_drained()) and not self.peer_gone:
                self._room.clear()
                await self._room.wait()
        elif isinstance(event, EndBody):
            self.ended(self._protocol.connection.trailers)  # type: ignore[union-attr]
            self._room.set()
        elif isinstance(event, StreamClosed) and not (self.answered and self.request_ended):
            self.gone()
            self._room.set()

    async def run(self, app: App, scope: Message) -> None:
        self._watch()
        try:
            await super().run(app, scope)
        finally:
            self._watcher.cancel()
        if not (self.request_ended or self.peer_gone):
            await self._drain()
        if self._is_drained() and not self.request_ended:
            self._protocol.cut()  # with TLS, a close would go on reading
            await self.handle(StreamClosed(stream_id=STREAM_ID))
        elif self.peer_hung_up:
            await self._protocol.send(Closed())
        elif not self.peer_gone:
            await self._protocol.stream_send(StreamClosed(stream_id=STREAM_ID))

    def _watch(self, before: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if before:
            self.check_progress(now - before)
        seconds = min(_PULSE_SECONDS, self._protocol.worker.shortest_seconds / 4)
        self._watcher = loop.call_later(seconds, self._watch, now)

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
        return _FAIR_BYTES

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
        if self.peer_gone:
            raise PeerGone
        if data:
            await self._protocol.stream_send(Body(stream_id=STREAM_ID, data=data))
        if last:
            await self._protocol.stream_send(EndBody(stream_id=STREAM_ID))

    def _abort(self) -> None:
        self._protocol.cut()

    def _break_off(self) -> None:
        self._protocol.cut()


class Http1Server(TCPServer):
    """Hypercorn's connection, with our protocol, a larger read, and an end that is bounded and quiet."""

    def __init__(
        self, worker: Worker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, caller: Caller
    ) -> None:
        super().__init__(
            worker.wrapped_app,
            worker.loop,
            worker.config,
            worker.context,
            worker.lifespan_state,
            reader,
            writer,
        )
        self._worker = worker
        self._caller = caller
        self._protocol: Http1Protocol

    async def run(self) -> None:
        sock = self.writer.get_extra_info("socket")
        try:
            client = parse_socket_addr(sock.family, sock.getpeername())
            server = parse_socket_addr(sock.family, sock.getsockname())
            async with TaskGroup(self.loop) as tasks:
                self._task_group = tasks
                self.protocol = self._protocol = self._make_protocol(tasks, client, server)  # type: ignore[assignment]
                await self.idle_task.restart(tasks, self._idle_timeout)
                await self._read_data()
                await self.idle_task.stop()  # or the group would wait for it
        except OSError:
            pass  # the peer left before it was here
        except asyncio.CancelledError:
            self.writer.transport.abort()  # what is unsent will stay so
            raise
        finally:
            await self._close()

    def _make_protocol(
        self, tasks: TaskGroup, client: tuple[str, int] | None, server: tuple[str, int] | None
    ) -> Http1Protocol:
        is_tls = self.writer.get_extra_info("ssl_object") is not None
        state = ConnectionState(self.state)
        send = self.protocol_send
        protocol = Http1Protocol(self.app, self.config, self.context, tasks, state, is_tls, client, server, send)
        protocol.worker = self._worker
        protocol.caller = self._caller
        protocol.connection = _Parser(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)
        protocol.cut = self.writer.transport.abort
        return protocol

    async def _read_data(self) -> None:
        with suppress(OSError):  # a reset is an end like any other
            while data := await self.reader.read(READ_BYTES):
                await self.protocol.handle(RawData(data))
        await self._protocol.input_ended()

    async def protocol_send(self, event: Event) -> None:
        try:
            async with asyncio.timeout(self._worker.settings.answer_seconds or None):
                await super().protocol_send(event)
        except OSError:  # a timeout is one: nothing of the answer was taken
            self.writer.transport.abort()
            await self.protocol.handle(Closed())

    async def _initiate_server_close(self) -> None:
        await super()._initiate_server_close()
        self.loop.call_later(_CLOSE_SECONDS, self.writer.transport.abort)

    async def _close(self) -> None:
        # A peer that does not read what is left, or with TLS never says goodbye, would keep us here.
        late = self.loop.call_later(_CLOSE_SECONDS, self.writer.transport.abort)
        try:
            with suppress(OSError):
                await super()._close()
        finally:
            late.cancel()
