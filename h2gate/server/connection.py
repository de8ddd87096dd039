"""One HTTP/2 connection: reads into one reused buffer, feeds the engine, and never waits for anybody in between.

A stream's inbox is there as soon as its header is parsed, frames only append to it, and credit goes back when the
application has taken the bytes. So a stalled sink stops its own sender; PING, resets and the other streams go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from h2gate import effort
from h2gate.server.certificates import shown_by
from h2gate.server.efforts import BYTE_SECONDS, READ_BYTES, READ_SECONDS, REQUEST_SECONDS
from h2gate.server.farewell import Farewell
from h2gate.server.reading import Reading
from h2gate.server.round_trip import RoundTrip
from h2gate.server.scope import scope_of
from h2gate.server.stream import Stream, list_bytes
from h2gate.server.vigil import Vigil
from h2gate.wire.credit import Account
from h2gate.wire.engine import Data, Engine, ErrorCode, Event, GoAway, Header, Headers, Pong, Reset, Trailers
from h2gate.wire.frame_limits import setting_of

if TYPE_CHECKING:
    from h2gate.server.fairness import Share
    from h2gate.server.listener import Visit
    from h2gate.server.worker import Worker

log = logging.getLogger("h2gate.server")

TICK_SECONDS = 0.02
SLICE_BYTES = 32 << 10
"""A flood is noticed after so much of it; behind bytes that were nearly all body, after what is read at once."""
_BULK_PART = 16
"""One byte in so many of a bulk transfer may be something else."""
_MANY_STREAMS = 8
WRITE_BYTES = 64 << 10
"""Of answers, what is made into frames at a time, and what may wait for the peer to read."""
_LEAVE_PING = b"h2gate\0\0"
_LEAVE_SECONDS = 1.0


class Connection(asyncio.BufferedProtocol):
    """The protocol of the transport once ALPN (or the preface, in cleartext) has chosen HTTP/2."""

    def __init__(self, worker: Worker, engine: Engine, visit: Visit) -> None:
        self.engine = engine
        self.loop = worker.loop
        self.settings = worker.settings
        self.caller = visit.caller
        self.traffic = worker.metrics.traffic
        self.account: Account = visit.caller
        self._address = visit.caller.address
        self.streams: dict[int, Stream] = {}
        self.senders: set[Stream] = set()
        self.ended: asyncio.Future[None] = self.loop.create_future()
        """Done when the transport is lost and no application runs on."""
        self._worker = worker
        self._visit = visit
        self._buffer = worker.buffer
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.Transport
        self._receiving = False
        self._slice_bytes = SLICE_BYTES
        """How much goes to the engine at once: each piece costs as much as a frame or two, and cuts one."""
        self._flush_planned = False
        self.is_flushed = False
        self._refused: list[int] = []
        """Streams that were answered 431, and whose body nobody wants."""
        self._tick: asyncio.TimerHandle | None = None
        self.is_paused = False
        self._n_begun = 0
        """Requests, with the bytes read last."""
        self._n_written = 0
        """Bytes, since then."""
        self._tail = 0.0
        """What the next read may cost, however small, as a part of `READ_SECONDS`: the end of a frame often comes by
        itself."""
        self.is_leaving = False
        """It takes no further streams."""
        self._lost = False
        self.idle_since = 0.0

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BYTES)
        tls = transport.get_extra_info("ssl_object")
        self._scheme = "https" if tls is not None else "http"
        self._shown = shown_by(tls)
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self.round_trip = RoundTrip(transport.get_extra_info("socket"), self.loop.time).seconds
        self._reading = Reading(self._transport, self.loop, self._are_coming)
        self._farewell = Farewell(self._transport, self.loop)
        self._worker.connections.add(self)
        self.idle_since = self.loop.time()
        self._vigil = Vigil(self, self._transport, self.loop, self._worker.shortest_seconds)
        if self._worker.stopping:
            self.drain()
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        efforts, address, began = self._worker.efforts, self._address, effort.clock()
        self._n_begun, self._n_written = 0, 0
        self.received(self._buffer[:nbytes])
        usual = self._n_begun * REQUEST_SECONDS / 2 + (nbytes + self._n_written) * BYTE_SECONDS
        full = min(1.0, nbytes / READ_BYTES)
        usual += max(full, self._tail) * READ_SECONDS
        self._tail = full / 2
        efforts.at_work(address)
        efforts.spent(address, effort.clock() - began, usual)
        if seconds := efforts.pause(address):
            self._reading.rest_for(seconds)
        self._reading.read(nbytes)
        self._worker.turns.read(self._reading, nbytes)

    def received(self, data: memoryview) -> None:
        """Take what was read; everything it causes leaves in one write."""
        self._receiving = True
        at, size = 0, len(data)
        while at < size and self.engine.exceeded is None:
            piece = data[at : at + self._slice_bytes]
            at += len(piece)
            is_bulk = self._take(piece) >= len(piece) - len(piece) // _BULK_PART
            self._slice_bytes = len(self._buffer) if is_bulk else SLICE_BYTES
        self._receiving = False
        self._end_if_exceeded()
        self._flush()

    def _take(self, data: memoryview) -> int:
        """How many bytes of it were body."""
        streams, n_body = self.streams, 0
        events = self.engine.receive(data)
        self._vigil.told(something=bool(events))
        for event in events:
            if type(event) is Data:
                n_body += len(event.data)
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
        return n_body

    def _are_coming(self, n_bytes: int) -> bool:
        """Whether the peer has so many bytes to send, and may. Of many streams nobody asks: some will do."""
        return len(self.streams) > _MANY_STREAMS or any(stream.is_coming(n_bytes) for stream in self.streams.values())

    def _end_if_exceeded(self) -> None:
        """Once: the transport is closing then. Before it is flushed, since that closes it as well."""
        if self.engine.exceeded is not None and not self._transport.is_closing():
            self.limited(setting_of(self.engine.exceeded), "too much of it; the connection is ended")
            self._worker.callers.offended(self._address)
            self._flush()
            if not self._transport.is_closing():
                self._farewell.begin()

    def _handle(self, event: Event) -> None:
        match event:
            case Headers():
                self._open(event)
            case Trailers(stream_id, headers):
                if (stream := self.streams.get(stream_id)) is not None:
                    stream.trailed(headers)
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
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        self._vigil.end()
        self._farewell.end()
        for stream in list(self.streams.values()):
            stream.gone()
        self._lost = True
        self._visit.leave()
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self._lost and not self._tasks and not self.ended.done():
            self._worker.connections.discard(self)
            self.ended.set_result(None)

    # Requests

    def _open(self, request: Headers) -> None:
        if list_bytes(request.headers) > self.settings.max_header_list:
            self.limited("max_header_list", "a header list is too long")
            self._refuse_header(request)
            return
        pseudo = {name: value for name, value in request.headers if name.startswith(b":")}
        headers = [field for field in request.headers if not field[0].startswith(b":")]
        if b":authority" in pseudo:
            headers = [(b"host", pseudo[b":authority"]), *(field for field in headers if field[0] != b"host")]
        stream = Stream(self, request, headers, pseudo)
        if not self._may_open(stream):
            self.engine.reset(stream.id, ErrorCode.REFUSED_STREAM)
            return
        self.streams[stream.id] = stream
        if request.end_stream:
            stream.ended()
        scope = scope_of(
            stream,
            version="2",
            scheme=self._scheme,
            headers=headers,
            client=self._client,
            server=self._server,
            certificate=self._worker.certificate(self._shown),
        )
        self._n_begun += 1
        task = self.loop.create_task(self._worker.efforts.serve(self._address, stream, self._worker.app, scope))
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        task.add_done_callback(lambda _: stream.served())

    def _may_open(self, stream: Stream) -> bool:
        if len(self._tasks) >= 2 * self.settings.max_streams:  # reset by the peer, and their work is not done yet
            self.limited("max_streams", "requests that were reset are still being worked on")
            return False
        if not stream.admit():
            self.limited("memory", "no memory left for a request")
            return False
        return True

    def join(self, stream: Stream, urgency: int, principal: str = "") -> Share:
        address = self._address
        return self._worker.fairness.join(
            principal or address, self, urgency, stream.release, address, stream.is_worked_on
        )

    def limited(self, limit: str, what: str) -> None:
        self._worker.metrics.limit_hit(limit, self._address, what)

    def _refuse_header(self, request: Headers) -> None:
        """RFC 6585 section 5; the stream is over, whatever it still sends."""
        head = [(b":status", b"431"), (b"content-length", b"0"), self.date_field()]
        self.engine.respond(request.stream_id, head, end_stream=True)
        if not request.end_stream:
            self._refused.append(request.stream_id)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._lost:
            self._end_if_over()

    def forget(self, stream: Stream) -> None:
        if self.streams.pop(stream.id, None) is not None and not self.streams:
            self.idle_since = self.loop.time()
            self.plan_flush()

    # Writing

    def plan_flush(self) -> None:
        self.is_flushed = False
        if not (self._receiving or self._flush_planned):
            self._flush_planned = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        if self._transport.is_closing():
            return
        while not self.is_paused and (data := self.engine.data_to_send(WRITE_BYTES)):
            self._n_written += len(data)
            self._transport.write(data)
        self.is_flushed = not self.is_paused
        if self._refused and self.is_flushed:  # not before: a reset takes along what is still to be written
            self._reset_refused()
        for stream in tuple(self.senders):
            stream.sendable()
        if self.engine.done:
            self._farewell.begin()

    def _reset_refused(self) -> None:
        for stream_id in self._refused:
            self.engine.reset(stream_id, ErrorCode.NO_ERROR)
        self._refused.clear()
        self.plan_flush()

    def plan_tick(self) -> None:
        if self._tick is None:
            self._tick = self.loop.call_later(TICK_SECONDS, self._on_tick)

    def _on_tick(self) -> None:
        self._tick = None
        for stream in list(self.streams.values()):
            stream.tick()

    def date_field(self) -> Header:
        return self._worker.date_field()

    # Leaving

    def leave_idle(self) -> None:
        """End a connection that has no streams: politely, and if it does not take that either, at once."""
        if self.is_leaving:
            self._transport.abort()
        else:
            self.idle_since = self.loop.time()
            self._leave()

    def drain(self) -> None:
        """Two phases (RFC 9113 section 6.8): announce, and when that has surely arrived, name the last stream."""
        self.engine.shutdown_notice()
        self.engine.ping(_LEAVE_PING)
        self.loop.call_later(_LEAVE_SECONDS, self._leave)
        self.plan_flush()

    def _leave(self) -> None:
        """Take no further streams; the transport closes when those that run have ended (`Engine.done`)."""
        if not self.is_leaving and not self._transport.is_closing():
            self.is_leaving = True
            self.engine.goaway()
            self.plan_flush()

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
