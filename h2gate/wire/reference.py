"""The reference engine: h2 through its public API, slow and plain; the oracle the default engine is tested against.

Frames reach h2 one by one, so that events before a broken frame are kept. GOAWAY never reaches it, for h2 closes at
once: the graceful leave is spoken here. Credit is counted here too: h2 forgets bytes outstanding while a window grows.

What h2 does otherwise than RFC 9113 asks, and its public API cannot mend (names as in `tests/contract/engine` and
`tests/wire/test_conformance.py`):
- content_length_mismatch_ends_connection: a stream error in section 8.1.1, GOAWAY here;
- malformed_request_ends_connection: a stream error in section 8.1.1, GOAWAY here;
- stream_over_the_limit_ends_connection: REFUSED_STREAM in section 5.1.2, GOAWAY here;
- reset_of_idle_stream_is_ignored: a connection error in section 6.4;
- late_resets_are_not_seen: RST_STREAM on a stream that is over is dropped without an event, however often it comes;
- late_frames_are_answered_each: DATA after our reset is answered by one more RST_STREAM every time;
- late_informational_ends_connection: after our reset a 1xx may be under way (section 5.4.2), GOAWAY here;
- first_frame_may_be_any: SETTINGS in section 3.4;
- settings_acknowledgement_with_payload_has_another_code: FRAME_SIZE_ERROR in section 6.5, PROTOCOL_ERROR here;
- reserved_bit_of_increment_ends_connection: ignored in section 6.9;
- missing_body_may_have_a_length: malformed in section 8.1.1, told here, where no DATA ends the stream;
- values_of_pseudo_fields_are_not_looked_at: section 8.3.1 wants a method, an absolute path and a scheme;
- host_is_compared_by_octet: section 8.3.1 compares what is named, whatever its case, with or without the usual port;
- extended_connect_is_taken: nothing was offered that section 8.5 or RFC 8441 would let it be.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import h2.events as h2_events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import NoAvailableStreamIDError, ProtocolError, TooManyStreamsError
from h2.settings import SettingCodes, Settings
from hpack import HPACKError
from hyperframe.frame import GoAwayFrame

from h2gate.wire.engine import (
    MAX_WINDOW,
    Data,
    EngineSettings,
    ErrorCode,
    Event,
    GoAway,
    Header,
    Headers,
    Informational,
    Pong,
    Reset,
    Role,
    SettingsChanged,
    StreamsExhausted,
    Trailers,
    WindowOpened,
)
from h2gate.wire.frame_limits import NO_LIMITS, REQUEST_BYTES, TINY_BYTES, UPDATE_BYTES, FrameCounts
from h2gate.wire.splitter import HEADER_BYTES, FrameTooLong, Splitter


@dataclass(slots=True)
class _Window:
    """A window we grant: what is consumed of it goes back once it is half of the whole."""

    granted: int
    consumed: int = 0
    withheld: int = 0
    """Of what will be consumed, as much is not to go back: the window is shrinking."""

    def consume(self, n_bytes: int) -> int:
        """The increment to send now, often 0."""
        kept = min(n_bytes, self.withheld)
        self.withheld -= kept
        self.consumed += n_bytes - kept
        if self.consumed < self.granted // 2:
            return 0
        increment, self.consumed = self.consumed, 0
        return increment

    def resize(self, n_bytes: int) -> int:
        """The increment to send now, 0 for a smaller window."""
        more, self.granted = n_bytes - self.granted, n_bytes
        self.withheld -= more
        if self.withheld >= 0:
            return 0
        increment, self.withheld = -self.withheld, 0
        return increment


@dataclass(slots=True)
class _Stream:
    """A stream the caller may still use, and what it has yet to send."""

    window: _Window
    answered: bool
    """Our final header section is out (a client's request is)."""
    ended: bool = False
    """The caller ended our side, though queued bytes may still have to leave."""
    sent_end: bool = False
    received_end: bool = False
    chunks: deque[memoryview] = field(default_factory=deque)
    trailers: tuple[Header, ...] = ()


class ReferenceEngine:
    """See `wire.engine.Engine`."""

    def __init__(self, role: Role, settings: EngineSettings) -> None:
        self._server = role is Role.SERVER
        self._settings = settings
        self._streams: dict[int, _Stream] = {}
        self._unconsumed: dict[int, int] = {}
        """DATA bytes handed out and not yet credited; outlives the stream."""
        self._window = _Window(MAX_WINDOW)
        self._splitter = Splitter(preface=self._server, max_frame_bytes=settings.max_frame_bytes)
        self._out = bytearray()
        self._last_stream_id = 0
        self._left = self._peer_left = self._failed = False
        self._counts = FrameCounts(settings.limits if self._server else NO_LIMITS)
        self._h2 = H2Connection(
            H2Configuration(client_side=not self._server, header_encoding=None, normalize_inbound_headers=False)
        )
        initial = {
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.MAX_CONCURRENT_STREAMS: settings.max_streams,
            SettingCodes.INITIAL_WINDOW_SIZE: settings.stream_window,
            SettingCodes.MAX_FRAME_SIZE: settings.max_frame_bytes,
            SettingCodes.MAX_HEADER_LIST_SIZE: settings.max_header_list_bytes,
        }
        self._h2.local_settings = Settings(client=not self._server, initial_values=initial)
        self._h2.max_inbound_frame_size = settings.max_frame_bytes
        self._h2.decoder.max_header_list_size = settings.max_header_list_bytes
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(MAX_WINDOW - 65535)
        self._pull()

    @property
    def done(self) -> bool:
        over = self._failed or ((self._left or self._peer_left) and not self._streams)
        return over and not self._out

    @property
    def exceeded(self) -> str | None:
        return self._counts.exceeded

    @property
    def header_open(self) -> bool:
        return self._splitter.block_open

    @property
    def unfinished(self) -> bool:
        return self._splitter.unfinished

    # Receiving

    def receive(self, data: memoryview) -> list[Event]:
        events: list[Event] = []
        if self.done or self._failed:
            return events
        self._splitter.add(data)
        self._counts.count("overhead", len(data))
        try:
            while unit := self._splitter.next():
                self._receive_unit(unit, events)
                if self._counts.exceeded is not None:
                    self._fail(ErrorCode.ENHANCE_YOUR_CALM)
                    return []
        except FrameTooLong:
            self._fail(ErrorCode.FRAME_SIZE_ERROR)
        except ProtocolError as error:
            undecodable = type(error) is ProtocolError and isinstance(error.__cause__, HPACKError)
            self._fail(ErrorCode.COMPRESSION_ERROR if undecodable else error.error_code)
        return events

    def _receive_unit(self, unit: bytes, events: list[Event]) -> None:
        if self._splitter.kind == GoAwayFrame.type and self._is_plain_goaway(unit):
            self._peer_goes(unit, events)
            return
        for event in self._h2.receive_data(unit):
            self._translate(event, events)
        self._pull()

    def _is_plain_goaway(self, unit: bytes) -> bool:
        """Whether h2 would take it, too: on stream 0, whole, not inside a header block."""
        on_connection = not int.from_bytes(unit[5:9], "big") & MAX_WINDOW
        return on_connection and len(unit) >= HEADER_BYTES + 8 and not self._splitter.block_open

    def _peer_goes(self, unit: bytes, events: list[Event]) -> None:
        last, code = struct.unpack_from("!II", unit, HEADER_BYTES)
        last &= MAX_WINDOW
        self._peer_left = True
        events.append(GoAway(last, code))
        if not self._server:
            for stream_id in [stream_id for stream_id in self._streams if stream_id > last]:
                self._forget(stream_id)
                events.append(Reset(stream_id, ErrorCode.REFUSED_STREAM, remote=False))

    def _forget(self, stream_id: int) -> None:
        """Close a stream that the peer never knew or that is none of ours: in h2, but not on the wire."""
        self._streams.pop(stream_id, None)
        self._pull()
        self._h2.reset_stream(stream_id)
        self._h2.clear_outbound_data_buffer()

    def _fail(self, code: int) -> None:
        self._failed = True
        self._streams.clear()
        self._h2.clear_outbound_data_buffer()  # h2 mostly wrote a GOAWAY of its own, but not for a broken preface
        self._out += _goaway_frame(self._last_stream_id, code)

    def _translate(self, event: h2_events.Event, events: list[Event]) -> None:
        match event:
            case h2_events.DataReceived():
                self._data(event, events)
            case h2_events.RequestReceived():
                self._request(event, events)
            case h2_events.ResponseReceived():
                events.append(Headers(event.stream_id, _plain(event.headers), event.stream_ended is not None))
            case h2_events.InformationalResponseReceived():
                events.append(Informational(event.stream_id, _plain(event.headers)))
            case h2_events.TrailersReceived():
                events.append(Trailers(event.stream_id, _plain(event.headers)))
            case h2_events.StreamEnded():
                if (stream := self._streams.get(event.stream_id)) is not None:
                    stream.received_end = True
                    self._drop_if_closed(event.stream_id)
            case h2_events.StreamReset():
                self._counts.count("resets" if event.remote_reset else "stream_errors")
                if self._streams.pop(event.stream_id, None) is not None:
                    events.append(Reset(event.stream_id, int(event.error_code), event.remote_reset))
            case h2_events.PingReceived():
                self._counts.count("pings")
            case h2_events.WindowUpdated():
                self._counts.count("window_updates")
                if not event.stream_id or event.stream_id in self._streams:
                    events.append(WindowOpened(event.stream_id))
            case h2_events.RemoteSettingsChanged():
                self._counts.count("settings")
                peer = self._h2.remote_settings
                max_streams = min(peer.max_concurrent_streams, MAX_WINDOW)
                events += (SettingsChanged(max_streams, peer.max_frame_size), WindowOpened(0))
            case h2_events.PingAckReceived():
                events.append(Pong(event.ping_data))

    def _request(self, event: h2_events.RequestReceived, events: list[Event]) -> None:
        if not self._server:
            raise ProtocolError("a server opens no streams but by PUSH_PROMISE")  # RFC 9113 section 5.1.1; h2 takes it
        if self._left:
            self._forget(event.stream_id)
            return
        self._last_stream_id = event.stream_id
        self._counts.earn("overhead", REQUEST_BYTES)
        self._streams[event.stream_id] = _Stream(_Window(self._settings.stream_window), answered=False)
        events.append(Headers(event.stream_id, _plain(event.headers), event.stream_ended is not None))

    def _data(self, event: h2_events.DataReceived, events: list[Event]) -> None:
        stream_id, size = event.stream_id, len(event.data)
        self._counts.earn("overhead", 2 * size)
        if size < TINY_BYTES and event.stream_ended is None:
            self._counts.count("tiny_data" if size else "empty_data")
        if size:
            self._unconsumed[stream_id] = self._unconsumed.get(stream_id, 0) + size
        self._consume(stream_id, event.flow_controlled_length - size)
        events.append(Data(stream_id, event.data, event.stream_ended is not None))

    # Sending

    def data_to_send(self, max_bytes: int = 1 << 18) -> bytes:
        sending = True
        while sending and len(self._out) < max_bytes:
            sending = False
            for stream_id, stream in list(self._streams.items()):
                if stream.answered and not stream.sent_end:
                    sending |= self._send_some(stream_id, stream)
        out = bytes(self._out[:max_bytes])
        del self._out[:max_bytes]
        self._counts.earn("window_updates", len(out) / UPDATE_BYTES)
        return out

    def _send_some(self, stream_id: int, stream: _Stream) -> bool:
        """One DATA frame or the trailers, if the stream has any and the windows are open."""
        if stream.chunks:
            room = min(self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size)
            if room <= 0:
                return False
            chunk = stream.chunks.popleft()
            if len(chunk) > room:
                stream.chunks.appendleft(chunk[room:])
            stream.sent_end = stream.ended and not stream.chunks and not stream.trailers
            self._h2.send_data(stream_id, bytes(chunk[:room]), end_stream=stream.sent_end)
        elif stream.ended:
            stream.sent_end = True
            if stream.trailers:
                self._h2.send_headers(stream_id, stream.trailers, end_stream=True)
            else:
                self._h2.end_stream(stream_id)
        else:
            return False
        self._pull()
        self._drop_if_closed(stream_id)
        return True

    def _drop_if_closed(self, stream_id: int) -> None:
        stream = self._streams[stream_id]
        if stream.sent_end and stream.received_end:
            del self._streams[stream_id]

    def _pull(self) -> None:
        self._out += self._h2.data_to_send()

    def request(self, headers: Iterable[Header], *, end_stream: bool) -> int:
        if self._server:
            raise ValueError("a server sends no requests")
        if self._failed or self._left or self._peer_left:
            raise StreamsExhausted
        try:
            stream_id = self._h2.get_next_available_stream_id()
            self._streams[stream_id] = _Stream(_Window(self._settings.stream_window), answered=True)
            self._send_headers(stream_id, headers, end_stream=end_stream)
        except (TooManyStreamsError, NoAvailableStreamIDError) as error:
            self._streams.pop(stream_id, None)
            raise StreamsExhausted from error
        return stream_id

    def _send_headers(self, stream_id: int, headers: Iterable[Header], *, end_stream: bool) -> None:
        self._h2.send_headers(stream_id, list(headers), end_stream=end_stream)
        self._pull()
        stream = self._streams[stream_id]
        stream.ended = stream.sent_end = end_stream
        self._drop_if_closed(stream_id)

    def respond(self, stream_id: int, headers: Iterable[Header], *, end_stream: bool) -> None:
        if (stream := self._streams.get(stream_id)) is not None:
            _demand(not stream.answered, "the final response was sent already")
            stream.answered = True
            self._send_headers(stream_id, headers, end_stream=end_stream)

    def inform(self, stream_id: int, headers: Iterable[Header]) -> None:
        if (stream := self._streams.get(stream_id)) is not None:
            _demand(not stream.answered, "a 1xx response comes before the final one")
            self._send_headers(stream_id, headers, end_stream=False)

    def send_data(self, stream_id: int, data: bytes | memoryview, *, end_stream: bool) -> None:
        if (stream := self._streams.get(stream_id)) is not None:
            _demand(stream.answered and not stream.ended, "the stream has no open body")
            if len(data):
                stream.chunks.append(memoryview(data))
            stream.ended = end_stream

    def send_trailers(self, stream_id: int, headers: Iterable[Header]) -> None:
        if (stream := self._streams.get(stream_id)) is not None:
            _demand(stream.answered and not stream.ended, "the stream has no open body")
            stream.ended, stream.trailers = True, tuple(headers)

    def queued_bytes(self, stream_id: int) -> int:
        stream = self._streams.get(stream_id)
        return sum(len(chunk) for chunk in stream.chunks) if stream else 0

    # Windows

    def credit(self, stream_id: int, n_bytes: int) -> None:
        left = self._unconsumed.get(stream_id, 0) - n_bytes
        _demand(n_bytes >= 0 and left >= 0, "credit for more than was received")
        if left:
            self._unconsumed[stream_id] = left
        else:
            self._unconsumed.pop(stream_id, None)
        self._consume(stream_id, n_bytes)

    def _consume(self, stream_id: int, n_bytes: int) -> None:
        if self._failed or not n_bytes:
            return
        if increment := self._window.consume(n_bytes):
            self._h2.increment_flow_control_window(increment)
        stream = self._streams.get(stream_id)
        if stream and not stream.received_end and (increment := stream.window.consume(n_bytes)):
            self._h2.increment_flow_control_window(increment, stream_id)
        self._pull()

    def set_window(self, stream_id: int, n_bytes: int) -> None:
        _demand(n_bytes <= MAX_WINDOW, "no window is that large")
        stream = self._streams.get(stream_id)
        if stream and not stream.received_end and (increment := stream.window.resize(n_bytes)):
            self._h2.increment_flow_control_window(increment, stream_id)
            self._pull()

    # Leaving

    def reset(self, stream_id: int, code: int) -> None:
        if self._streams.pop(stream_id, None) is not None:
            self._h2.reset_stream(stream_id, code)
            self._pull()

    def ping(self, data: bytes) -> None:
        _demand(len(data) == 8, "a PING carries 8 bytes")
        if not (self._failed or self.done):
            self._h2.ping(data)
            self._pull()

    def shutdown_notice(self) -> None:
        if self._server and not (self._failed or self.done):
            self._out += _goaway_frame(MAX_WINDOW, ErrorCode.NO_ERROR)

    def goaway(self, code: int = ErrorCode.NO_ERROR) -> None:
        if not (self._failed or self.done):
            self._left = True
            self._out += _goaway_frame(self._last_stream_id, code)


def _plain(headers: Iterable[Any]) -> tuple[Header, ...]:
    """h2 hands out subclasses of tuple."""
    return tuple((name, value) for name, value in headers)


def _goaway_frame(last_stream_id: int, code: int) -> bytes:
    return GoAwayFrame(0, last_stream_id=last_stream_id, error_code=code).serialize()


def _demand(in_order: bool, why: str) -> None:
    if not in_order:
        raise ValueError(why)
