"""HTTP/1.1 by Hypercorn (h11), with our `Exchange` in the place of its stream, and a bound for every wait.

So the body is pulled here too, 100-continue is sent when the application wants the body, trailers and 1xx pass, and
an early answer is read before the connection closes. `tests/server/test_hypercorn.py` watches what we rely on.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from h2gate.server.certificates import shown_by
from h2gate.server.http1_parser import Parser, Refusal
from h2gate.server.http1_protocol import Http1Protocol
from h2gate.server.inlet import STEP_BYTES, Inlet
from h2gate.server.pace import Pace

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
        self.caller = caller
        self._charged = 0
        self._protocol: Http1Protocol
        self._phase = _Phase.SILENT
        self._patience = asyncio.timeout(settings.header_seconds)
        self._is_reading = False
        self.is_leaving = False
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
            self.caller.give_back(self._charged)

    def _make_protocol(
        self, tasks: TaskGroup, client: tuple[str, int] | None, server: tuple[str, int] | None
    ) -> Http1Protocol:
        tls = self.writer.get_extra_info("ssl_object")
        is_tls = tls is not None
        state = ConnectionState(self.state)
        send = self.protocol_send
        protocol = Http1Protocol(self.app, self.config, self.context, tasks, state, is_tls, client, server, send)
        protocol.worker = self._worker
        protocol.caller = self.caller
        protocol.shown = shown_by(tls)
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
        elif self._phase is _Phase.SILENT and not self.is_leaving:
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
        if not self._charged and self.caller.take(READER_BYTES):
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
        """Close the connection, if no request was begun on it, or none after the last; called again, cut it."""
        if self._phase not in (_Phase.SILENT, _Phase.IDLE):
            return
        if self.is_leaving:
            self.writer.transport.abort()
        else:
            self.is_leaving = True
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
