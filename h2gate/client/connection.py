"""One HTTP/2 connection of the client: its reader always runs, its frames leave once a tick, its streams take turns.

Nothing is awaited between a read and the streams it concerns, so an early answer, a reset or a GOAWAY is seen while
bodies are being sent. The socket's own back pressure (`pause_writing`) stops the feeding, never the reading.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import cast

from h2gate.client.admission import Admission
from h2gate.client.failures import Broken, ReadTimedOut, Unprocessed
from h2gate.client.pulse import Pulse
from h2gate.client.stream import OnInformational, Stream
from h2gate.wire.engine import (
    Data,
    Engine,
    ErrorCode,
    Event,
    GoAway,
    Header,
    Headers,
    Informational,
    Reset,
    SettingsChanged,
    StreamsExhausted,
    Trailers,
)

READ_BUFFER = 1 << 18
BURST = 1 << 20
"""Bytes written before the loop gets its turn for reading."""


class Connection(asyncio.BufferedProtocol):
    """`open` streams on it once `settled`; `failure` says why it is of no use any more."""

    def __init__(self, engine: Engine, *, silence_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self.settled: asyncio.Future[None] = loop.create_future()
        """The peer's first SETTINGS are here: it speaks HTTP/2 and its limits are known."""
        self.closed: asyncio.Future[None] = loop.create_future()
        self.failure: Exception | None = None
        self.paused = False
        self._loop = loop
        self._engine = engine
        self._silence_seconds = silence_seconds
        self._transport: asyncio.Transport | None = None
        self._buffer = memoryview(bytearray(READ_BUFFER))
        self._streams: dict[int, Stream] = {}
        self._sending: dict[Stream, None] = {}
        self._admission = Admission()
        self._flushing: asyncio.Handle | None = None
        self._pulse = Pulse()
        self._watching: asyncio.TimerHandle | None = None

    @property
    def usable(self) -> bool:
        """False also after a GOAWAY, or `close`: what is in flight goes on, nothing new is opened."""
        return not self._admission.closed

    @property
    def most_streams(self) -> int:
        """Open at once so far, at most."""
        return self._admission.most

    @property
    def protocol(self) -> str | None:
        """What ALPN chose; None on cleartext."""
        tls = cast("ssl.SSLObject | None", self._transport and self._transport.get_extra_info("ssl_object"))
        return tls.selected_alpn_protocol() if tls is not None else None

    # -- asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.protocol in ("h2", None):
            self.flush_soon()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._pulse.heard()
        for event in self._engine.receive(self._buffer[:nbytes]):
            self._handle(event)
        self.flush_soon()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.flush_soon()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        why = f"the connection broke ({exc})" if exc else "the gateway closed the connection"
        self._fail(Broken(why))
        if not self.closed.done():
            self.closed.set_result(None)

    # -- streams

    async def open(
        self, headers: Iterable[Header], *, end_stream: bool, on_informational: OnInformational | None = None
    ) -> Stream:
        """A new stream with its request's header section, waiting while the peer allows no further one.

        Raises `Unprocessed` when the connection takes no new streams.
        """
        stream = Stream(self, on_informational)
        if not await self._admission.enter():
            raise Unprocessed("the gateway takes no new requests on this connection")
        try:
            stream.id = self._engine.request(headers, end_stream=end_stream)
        except StreamsExhausted:
            self._admission.close()
            raise Unprocessed("the gateway takes no new requests on this connection") from None
        if not self._streams:
            self._pulse.heard()
        self._streams[stream.id] = stream
        stream.sent = end_stream
        if not end_stream:
            self._sending[stream] = None
        if self._watching is None:
            self._watch()
        self.flush_soon()
        return stream

    def abandon(self, stream: Stream) -> None:
        """Nobody waits for this stream any more: reset it unless both sides have ended, and forget it."""
        if stream.id not in self._streams:
            return
        over = stream.peer_ended and self._is_sent(stream)
        if not over and self.failure is None:
            self._engine.reset(stream.id, ErrorCode.NO_ERROR if stream.peer_ended else ErrorCode.CANCEL)
        self._forget(stream)

    def _is_sent(self, stream: Stream) -> bool:
        if not stream.sent and not self._engine.queued_bytes(stream.id):
            stream.check_sent()
        return stream.sent

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.id]
        self._sending.pop(stream, None)
        self._admission.leave()
        self.flush_soon()
        if not self.usable and not self._streams:
            self._hang_up()

    def credit(self, stream_id: int, n_bytes: int) -> None:
        if self.failure is None:
            self._engine.credit(stream_id, n_bytes)
            self.flush_soon()

    def queued_bytes(self, stream_id: int) -> int:
        return self._engine.queued_bytes(stream_id)

    # -- events

    def _handle(self, event: Event) -> None:
        match event:
            case Data(stream_id, data, end_stream):
                stream = self._streams.get(stream_id)
                if stream is None:
                    self._engine.credit(stream_id, len(data))
                    return
                stream.on_data(event)
                if end_stream:
                    self._end(stream)
            case Headers(stream_id, _, end_stream):
                if stream := self._streams.get(stream_id):
                    stream.on_headers(event)
                    if end_stream:
                        self._end(stream)
            case Informational(stream_id):
                if stream := self._streams.get(stream_id):
                    stream.on_informational(event)
            case Trailers(stream_id, headers):
                if stream := self._streams.get(stream_id):
                    stream.trailers.extend(headers)
                    self._end(stream)
            case Reset(stream_id):
                if stream := self._streams.get(stream_id):
                    stream.on_reset(event)
                    self._forget(stream)
            case SettingsChanged(max_streams):
                self._admission.allow(max_streams)
                if not self.settled.done():
                    self.settled.set_result(None)
            case GoAway():
                self._leave(event)

    def _end(self, stream: Stream) -> None:
        self._is_sent(stream)
        stream.on_end()
        self.abandon(stream)

    def _leave(self, event: GoAway) -> None:
        self._admission.close()
        for stream in [each for each in self._streams.values() if each.id > event.last_stream_id]:
            stream.fail(Unprocessed("the gateway is going down and has not looked at this request"))
            self._forget(stream)
        if not self._streams:
            self._hang_up()

    # -- writing

    def flush_soon(self) -> None:
        """Once a tick, so that the frames of many streams leave in one write."""
        if self._flushing is None and self._transport is not None and not self.paused:
            self._flushing = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = None
        transport, written = self._transport, 0
        if transport is None or transport.is_closing():
            return
        while not self.paused:
            if written >= BURST:
                self.flush_soon()
                return
            data = self._engine.data_to_send()
            if data:
                transport.write(data)
                written += len(data)
                self._pulse.wrote(len(data))
            elif not self._feed():
                break
        if self._engine.done:
            self._hang_up()

    def _feed(self) -> bool:
        """One quantum of every stream that has bytes and whose last quantum the peer's window let out."""
        fed = False
        for stream in list(self._sending):
            fed = stream.feed(self._engine) or fed
            if stream.sent:
                del self._sending[stream]
        return fed

    # -- the end

    def _watch(self) -> None:
        """While streams are open: a PING into the silence, and the end of the connection when it stays unanswered."""
        self._watching = None
        if self._transport is None or not self._streams or self.failure is not None:
            return
        silence = self._pulse.silence(self._transport)
        if silence >= self._silence_seconds:
            self._fail(ReadTimedOut(f"the gateway has been silent for {silence:.0f} s, PING unanswered"))
            return
        if silence >= self._silence_seconds / 2:
            self._engine.ping(b"h2gate??")
            self.flush_soon()
        self._watching = self._loop.call_later(self._silence_seconds / 4, self._watch)

    def _fail(self, failure: Exception) -> None:
        if self.failure is not None:
            return
        self.failure = failure
        self._admission.close()
        if not self.settled.done():
            self.settled.set_exception(failure)
            self.settled.exception()
        for stream in list(self._streams.values()):
            stream.fail(failure)
        self._streams.clear()
        self._sending.clear()
        if self._watching is not None:
            self._watching.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _hang_up(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    def drop(self, *, politely: bool) -> None:
        """Without a GOAWAY: the peer does not speak HTTP/2 (`politely` waits for its close_notify), or not at all."""
        if politely:
            self._hang_up()
        else:
            self._fail(Broken("the connection was given up"))

    async def close(self, seconds: float = 2.0) -> None:
        """GOAWAY, what is queued, then the socket; `seconds` at most. Open streams get `Broken`."""
        for stream in list(self._streams.values()):
            stream.fail(Broken("the client was closed"))
            self.abandon(stream)
        self._admission.close()
        if self.failure is None:
            self._engine.goaway()
            self._flush()
            self._hang_up()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self.closed)
        except TimeoutError:
            self._fail(Broken("the client was closed"))
