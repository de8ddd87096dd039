"""One HTTP/2 connection: reads into one reused buffer, feeds the engine, and never waits for anybody in between.

A stream's inbox is there as soon as its header is parsed, frames only append to it, and credit goes back when the
application has taken the bytes. So a stalled sink stops its own sender; PING, resets and the other streams go on.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from h2gate.server.exchange import scope_of
from h2gate.server.stream import Stream
from h2gate.wire.credit import Window
from h2gate.wire.engine import Data, Engine, ErrorCode, Event, GoAway, Header, Headers, Pong, Reset, Trailers

if TYPE_CHECKING:
    from h2gate.server.worker import Worker

log = logging.getLogger("h2gate.server")

TICK_SECONDS = 0.02
FULL_READ_BYTES = 128 << 10
BURST_BYTES = 65536
BURST_SECONDS = 0.002
PAUSE_SECONDS = 0.0005
_ROUND_TRIP_AGE = 0.05
_LEAVE_PING = b"h2gate\0\0"
_LEAVE_SECONDS = 1.0
_CLOSE_SECONDS = 5.0


class Connection(asyncio.BufferedProtocol):
    """The protocol of the transport once ALPN (or the preface, in cleartext) has chosen HTTP/2."""

    def __init__(self, worker: Worker, engine: Engine) -> None:
        self.engine = engine
        self.loop = worker.loop
        self.drain_bytes = worker.settings.drain_bytes
        self.drain_seconds = worker.settings.drain_seconds
        self.streams: dict[int, Stream] = {}
        self.senders: set[Stream] = set()
        self.ended: asyncio.Future[None] = self.loop.create_future()
        """Done when the transport is lost and no application runs on."""
        self._worker = worker
        self._buffer = worker.buffer
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.Transport
        self._receiving = False
        self._flush_planned = False
        self._tick: asyncio.TimerHandle | None = None
        self._paused = False
        self._burst = 0
        self._burst_since = 0.0
        self._leaving = False
        self._lost = False
        self._rtt = 0.0
        self._rtt_at = 0.0
        self._idle_since = 0.0
        self._watcher: asyncio.TimerHandle | None = None
        self._closing: asyncio.TimerHandle | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=256 << 10)
        self._scheme = "https" if transport.get_extra_info("ssl_object") is not None else "http"
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._socket = transport.get_extra_info("socket")
        self._worker.connections.add(self)
        self._idle_since = self.loop.time()
        self._watcher = self.loop.call_later(self._worker.settings.idle_seconds, self._watch)
        if self._worker.stopping:
            self.drain()
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received(self._buffer[:nbytes])
        if nbytes < FULL_READ_BYTES:
            self._moderate(nbytes)
        else:
            self._burst += nbytes

    def _moderate(self, nbytes: int) -> None:
        """In the midst of a bulk transfer, look at the socket less often: many small reads cost more than few large.

        Half a millisecond is what a network card waits for the same reason.
        """
        self._burst += nbytes
        if self._burst >= BURST_BYTES:
            now = self.loop.time()
            if now - self._burst_since < BURST_SECONDS and not self._transport.is_closing():
                self._transport.pause_reading()
                self.loop.call_later(PAUSE_SECONDS, self._resume_reading)
            self._burst, self._burst_since = 0, now

    def _resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def received(self, data: memoryview) -> None:
        """Take what was read; everything it causes leaves in one write."""
        self._receiving = True
        streams = self.streams
        for event in self.engine.receive(data):
            if type(event) is Data:
                stream = streams.get(event.stream_id)
                if stream is None:  # answered and forgotten, or of a kind that takes no body
                    self.engine.credit(event.stream_id, len(event.data))
                    continue
                if event.data:
                    stream.arrived(event.data)
                if event.end_stream:
                    stream.ended()
            else:
                self._handle(event)
        self._receiving = False
        self._flush()

    def _handle(self, event: Event) -> None:
        match event:
            case Headers():
                self._open(event)
            case Trailers(stream_id, headers):
                if (stream := self.streams.get(stream_id)) is not None:
                    stream.ended(headers)
            case Reset(stream_id):
                if (stream := self.streams.get(stream_id)) is not None:
                    stream.gone()
            case Pong(data) if data == _LEAVE_PING:
                self._leave()
            case GoAway():  # the peer opens no more; what it opened goes on
                self._leave()
            case _:
                pass

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._watcher, self._tick, self._closing):
            if timer is not None:
                timer.cancel()
        self._watcher = self._tick = self._closing = None
        for stream in list(self.streams.values()):
            stream.gone()
        self._lost = True
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self._lost and not self._tasks and not self.ended.done():
            self._worker.connections.discard(self)
            self.ended.set_result(None)

    # Requests

    def _open(self, request: Headers) -> None:
        settings = self._worker.settings
        stream_id = request.stream_id
        if len(self._tasks) >= 2 * settings.max_streams:  # streams reset by the peer whose work is not done yet
            self.engine.reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        if sum(len(name) + len(value) + 32 for name, value in request.headers) > self._worker.max_header_list_bytes:
            self._refuse_header(request)
            return
        pseudo = {name: value for name, value in request.headers if name.startswith(b":")}
        headers = [field for field in request.headers if not field[0].startswith(b":")]
        if b":authority" in pseudo:
            headers = [(b"host", pseudo[b":authority"]), *(field for field in headers if field[0] != b"host")]
        method = pseudo[b":method"].decode("latin1")
        window = Window(settings.stream_window, settings.max_stream_window, self._worker.budget)
        stream = Stream(self, stream_id, method, pseudo.get(b":path", b"*"), headers, window)
        self.streams[stream_id] = stream
        if request.end_stream:
            stream.ended()
        scope = scope_of(
            stream, version="2", scheme=self._scheme, headers=headers, client=self._client, server=self._server
        )
        task = self.loop.create_task(stream.run(self._worker.app, scope))
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _refuse_header(self, request: Headers) -> None:
        """RFC 6585 section 5; the stream is over, whatever it still sends."""
        head = [(b":status", b"431"), (b"content-length", b"0"), self.date_field()]
        self.engine.respond(request.stream_id, head, end_stream=True)
        if not request.end_stream:
            self.engine.reset(request.stream_id, ErrorCode.NO_ERROR)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._lost:
            self._end_if_over()

    def forget(self, stream: Stream) -> None:
        if self.streams.pop(stream.id, None) is not None and not self.streams:
            self._idle_since = self.loop.time()
            self.plan_flush()

    # Writing

    def plan_flush(self) -> None:
        if not (self._receiving or self._flush_planned):
            self._flush_planned = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        if self._transport.is_closing():
            return
        while not self._paused and (data := self.engine.data_to_send()):
            self._transport.write(data)
        for stream in self.senders:
            stream.sendable()
        if self.engine.done:
            self._close()

    def plan_tick(self) -> None:
        if self._tick is None:
            self._tick = self.loop.call_later(TICK_SECONDS, self._on_tick)

    def _on_tick(self) -> None:
        self._tick = None
        for stream in list(self.streams.values()):
            stream.tick()

    def date_field(self) -> Header:
        return self._worker.date_field()

    def round_trip(self) -> float:
        now = self.loop.time()
        if now - self._rtt_at > _ROUND_TRIP_AGE:
            self._rtt_at = now
            self._rtt = _tcp_round_trip(self._socket)
        return self._rtt

    # Leaving

    def _watch(self) -> None:
        """Every wait for the peer has a bound: here those of streams, and of a connection that has none."""
        idle_seconds = pause = self._worker.settings.idle_seconds
        if self.streams:
            for stream in list(self.streams.values()):
                stream.check_progress()
            self.plan_flush()
        elif (left := self._idle_since + idle_seconds - self.loop.time()) > 0:
            pause = left
        elif self._leaving:  # it does not take what it asked for
            self._transport.abort()
            return
        else:
            self._leave()
        self._watcher = self.loop.call_later(pause, self._watch)

    def drain(self) -> None:
        """Two phases (RFC 9113 section 6.8): announce, and when that has surely arrived, name the last stream."""
        self.engine.shutdown_notice()
        self.engine.ping(_LEAVE_PING)
        self.loop.call_later(_LEAVE_SECONDS, self._leave)
        self.plan_flush()

    def _leave(self) -> None:
        """Take no further streams; the transport closes when those that run have ended (`Engine.done`)."""
        if not self._leaving and not self._transport.is_closing():
            self._leaving = True
            self.engine.goaway()
            self.plan_flush()

    def _close(self) -> None:
        """Close once all is written and, with TLS, the peer has said goodbye as well; but only while that moves on."""
        self._transport.close()
        unsent = self._transport.get_write_buffer_size()
        self._closing = self.loop.call_later(_CLOSE_SECONDS, self._close_at_last, unsent)

    def _close_at_last(self, unsent_before: int) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent == unsent_before:
            self._transport.abort()
        else:
            self._closing = self.loop.call_later(_CLOSE_SECONDS, self._close_at_last, unsent)

    def abort(self) -> None:
        """The grace time is over."""
        self._transport.abort()

    def cancel(self) -> None:
        """Applications that have not noticed."""
        for task in self._tasks:
            task.cancel()


def _address(name: Sequence[object] | str | None) -> tuple[str, int] | None:
    if isinstance(name, (tuple, list)) and len(name) >= 2:
        return str(name[0]), int(cast(int, name[1]))
    return None


def _tcp_round_trip(sock: socket.socket | None) -> float:
    """Seconds, as the kernel measured it (tcpi_rtt of TCP_INFO, microseconds at offset 68); 0 where it does not say."""
    if sock is None or not hasattr(socket, "TCP_INFO"):
        return 0.0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 72)
    except OSError:
        return 0.0
    return float(struct.unpack_from("=I", info, 68)[0]) / 1e6 if len(info) >= 72 else 0.0
