"""The default engine: libnghttp2 through ngh2 (2.8 us per 16 KiB DATA frame where h2 takes 46.7).

It brings nghttp2's own limits with it (resets, CONTINUATION, SETTINGS, queued acknowledgements, "glitches") and the
RFC's scopes: a malformed request or a wrong content-length is a stream error, the connection lives.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Concatenate, ParamSpec

import ngh2

from h2gate.wire.authority import is_contradictory
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
from h2gate.wire.frame_limits import (
    CONNECTION_ERROR,
    FIELD_BYTES,
    FLOOD,
    NO_LIMITS,
    REQUEST_BYTES,
    REQUEST_FIELDS,
    TINY_BYTES,
    UPDATE_BYTES,
    FrameCounts,
)
from h2gate.wire.frames import goaway_frame, reset_frame
from h2gate.wire.order import Order
from h2gate.wire.shrinking import LocalWindow

P = ParamSpec("P")

_LATE = (ngh2.StreamUnavailableError, ngh2.ConnectionStateError, ngh2.ConnectionClosingError)
"""What ngh2 raises for a call about a stream or a connection that the peer has just ended."""

_EXCESS_STREAMS = 1024
"""nghttp2 ends the connection for one stream too many; RFC 9113 section 5.1.2 wants that stream refused. So it enforces
more than is promised, and the streams in between are refused here."""

_EXCESS_HEADERS = 4
"""Likewise for header lists: it keeps up to so many times what is promised, and whoever serves may answer 431."""

_UNLIMITED = (2**31, 2**31)
"""Resets are counted here."""

_AHEAD = 1 << 16
"""How many bytes of answers `receive` serialises at most."""


class Nghttp2Engine:
    """See `wire.engine.Engine`."""

    def __init__(self, role: Role, settings: EngineSettings) -> None:
        self._server = role is Role.SERVER
        self._connection = connection = ngh2.Connection(
            ngh2.Role.SERVER if self._server else ngh2.Role.CLIENT,
            ngh2.Configuration(
                auto_window_update=False,
                max_inbound_header_list_size=_EXCESS_HEADERS * settings.max_header_list_bytes,
                max_continuations=settings.max_continuations,
                stream_reset_rate_limit=_UNLIMITED,
            ),
        )
        self._stream_window = settings.stream_window
        self._live: set[int] = set()
        """The streams the caller knows and may still use."""
        self._windows: dict[int, LocalWindow] = {}
        """Of streams whose window is not the first one."""
        self._peer: dict[int, int] = {}
        """The peer's SETTINGS so far."""
        self._peer_max_streams = 100  # nghttp2 assumes so until the first ones are here
        self._last_stream_id = 0
        self._max_streams = settings.max_streams
        self._counts = FrameCounts(settings.limits if self._server else NO_LIMITS)
        self._body_bytes = 0
        """Of DATA since the last `receive`."""
        self._fault: str | None = None
        """Why nghttp2 itself ended the connection."""
        self._refused: set[int] = set()
        """Streams reset before anybody was told of them, until nghttp2 has closed them."""
        self._reset: set[int] = set()
        """Other streams that either end has reset, until then."""
        self._left = False
        self._early: list[Event] = []
        """Events found outside `receive`; it gives them out first."""
        self._ready = b""
        """Frames serialised inside `receive`; `data_to_send` gives them out first."""
        limits = settings.limits
        eager = limits.excess_streams + limits.resets if limits.excess_streams and limits.resets else 0
        self._order = Order(settings.max_streams + eager if eager else MAX_WINDOW) if self._server else None
        self._late = b""
        """RST_STREAM frames for streams that nghttp2 has forgotten; `data_to_send` puts them between two of its own."""
        self._last_words: bytes | None = None
        """The GOAWAY of a connection error that ngh2 found; empty once it was handed out."""
        excess = settings.max_streams + max(_EXCESS_STREAMS, eager)  # the limit is to be met first
        enforced = min(settings.max_streams + excess, MAX_WINDOW)
        connection.initiate_connection(
            {
                ngh2.Setting.ENABLE_PUSH: 0,
                ngh2.Setting.MAX_CONCURRENT_STREAMS: enforced,
                ngh2.Setting.INITIAL_WINDOW_SIZE: settings.stream_window,
                ngh2.Setting.MAX_FRAME_SIZE: settings.max_frame_bytes,
                ngh2.Setting.MAX_HEADER_LIST_SIZE: settings.max_header_list_bytes,
            }
        )
        connection.set_local_window_size(MAX_WINDOW)
        if self._server:
            self._ready = _promising(connection.data_to_send(), enforced, settings.max_streams)

    @property
    def done(self) -> bool:
        if self._ready:
            return False
        if self._last_words is not None:
            return not self._last_words
        return not (self._connection.want_read or self._connection.want_write)

    def receive(self, data: memoryview) -> list[Event]:
        if self._last_words is not None:
            return []
        connection = self._connection
        fault = self._order.fault(data) if self._order is not None else None
        try:
            if fault is None:
                connection.receive_data(data)
            else:
                self._order = None  # it has no say in what follows, and nobody else has
                connection.receive_data(data[: fault[0]])
                connection.terminate_connection(fault[1])
            if len(self._ready) < _AHEAD and connection.want_write:
                # ngh2 tells of a stream error only once its RST_STREAM is serialised, and the peer may stay silent.
                self._ready += connection.data_to_send(_AHEAD)
        except ngh2.ConnectionProtocolError as error:
            is_flood = isinstance(error, ngh2.DenialOfServiceError)
            code = ErrorCode.ENHANCE_YOUR_CALM if is_flood else ErrorCode.PROTOCOL_ERROR
            self._fault = FLOOD if is_flood else CONNECTION_ERROR
            self._last_words = goaway_frame(self._last_stream_id, code, str(error))
        except ngh2.ConnectionStateError:
            return []  # over already: what still comes is for nobody
        events, self._early = self._early, []
        self._collect(events)
        if fault is not None and fault[1] is ErrorCode.ENHANCE_YOUR_CALM and self._counts.exceeded is None:
            self._counts.exceeded = "excess_streams"
        if self._order is not None and self._order.late:
            self._reset_late(self._order.late)
        return events if self._are_fair(len(data)) else []

    @property
    def exceeded(self) -> str | None:
        return self._counts.exceeded or self._fault

    @property
    def header_open(self) -> bool:
        return self._order is not None and self._order.in_block

    @property
    def unfinished(self) -> bool:
        return self._order is not None and self._order.unfinished

    def _are_fair(self, n_bytes: int) -> bool:
        """Whether what came in these bytes was within the limits; if not, the connection is over."""
        body_bytes, self._body_bytes = self._body_bytes, 0
        self._counts.earn("overhead", body_bytes)
        self._counts.count("overhead", n_bytes - body_bytes)
        if self._counts.exceeded is None:
            return True
        with suppress(*_LATE):
            self._connection.terminate_connection(ErrorCode.ENHANCE_YOUR_CALM)
        return False

    def _reset_late(self, streams: list[int]) -> None:
        for stream_id in streams:
            self._counts.count("stream_errors")
            self._late += reset_frame(stream_id, ErrorCode.STREAM_CLOSED)
        streams.clear()

    def _collect(self, events: list[Event]) -> None:
        for event in self._connection.events():
            if type(event) is ngh2.DataReceived:  # nearly all of them; the rest may take its time
                size = len(event.data)
                self._body_bytes += size
                if size < TINY_BYTES and not event.end_stream:
                    self._counts.count("tiny_data" if size else "empty_data")
                if self._refused and event.stream_id in self._refused:
                    self.credit(event.stream_id, size)
                else:
                    events.append(Data(event.stream_id, event.data, event.end_stream))
            else:
                self._translate(event, events)

    def _translate(self, event: ngh2.Event, events: list[Event]) -> None:
        match event:
            case ngh2.RequestReceived(stream_id, headers, end_stream):
                self._request(Headers(stream_id, headers, end_stream), events)
            case ngh2.ResponseReceived(stream_id, headers, end_stream):
                events.append(Headers(stream_id, headers, end_stream))
            case ngh2.InformationalResponseReceived(stream_id, headers):
                events.append(Informational(stream_id, headers))
            case ngh2.TrailersReceived(stream_id, headers):
                if stream_id not in self._refused:
                    events.append(Trailers(stream_id, headers))
            case ngh2.StreamReset(stream_id, error_code):
                if self._known(stream_id):
                    self._counts.count("resets")
                    self._reset.add(stream_id)
                    events.append(Reset(stream_id, error_code, remote=True))
                else:
                    self._counts.late_reset()
            case ngh2.StreamClosed():
                self._closed(event, events)
            case ngh2.ConnectionClosed(error_code) if error_code:
                self._fault = FLOOD if error_code == ErrorCode.ENHANCE_YOUR_CALM else CONNECTION_ERROR
            case ngh2.WindowUpdated(stream_id, _):
                self._counts.count("window_updates")
                events.append(WindowOpened(stream_id))
            case ngh2.SettingsReceived(changed):
                self._counts.count("settings")
                self._peer.update(changed)  # ngh2's own record cannot be asked after a connection error
                self._peer_max_streams = min(
                    self._peer.get(ngh2.Setting.MAX_CONCURRENT_STREAMS, MAX_WINDOW), MAX_WINDOW
                )
                frame_bytes = self._peer.get(ngh2.Setting.MAX_FRAME_SIZE, 16384)
                events += (SettingsChanged(self._peer_max_streams, frame_bytes), WindowOpened(0))
            case ngh2.PingReceived():
                self._counts.count("pings")
            case ngh2.PingAcknowledged(opaque_data):
                events.append(Pong(opaque_data))
            case ngh2.GoAwayReceived(last_stream_id, error_code, _):
                events.append(GoAway(last_stream_id, error_code))

    def _request(self, request: Headers, events: list[Event]) -> None:
        self._last_stream_id = request.stream_id
        self._counts.earn("overhead", REQUEST_BYTES)
        if (more := len(request.headers) - REQUEST_FIELDS) > 0:  # they may be references of a byte each
            self._counts.count("overhead", FIELD_BYTES * more)
        if is_contradictory(request.headers):
            self._counts.count("stream_errors")
            self._refuse(request.stream_id, ErrorCode.PROTOCOL_ERROR)
        elif len(self._live) >= self._max_streams:
            self._counts.count("excess_streams")
            self._refuse(request.stream_id, ErrorCode.REFUSED_STREAM)
        else:
            self._live.add(request.stream_id)
            events.append(request)

    def _closed(self, event: ngh2.StreamClosed, events: list[Event]) -> None:
        self._close_window(event.stream_id)
        is_known, was_reset = self._known(event.stream_id), self._was_reset(event.stream_id)
        if not event.error_code and event.local_error is None:
            if is_known:
                self._counts.stream_ended()
            return
        if not was_reset:
            self._counts.count("stream_errors")  # also of requests so malformed that nobody was told of them
        if is_known:
            events.append(Reset(event.stream_id, event.error_code, remote=False))

    def _known(self, stream_id: int) -> bool:
        """Whether the caller still used it; it does not from now on."""
        is_known = stream_id in self._live
        self._live.discard(stream_id)
        return is_known

    def _was_reset(self, stream_id: int) -> bool:
        """Whether it ended by RST_STREAM of the peer or of whoever serves; asked once, at its end."""
        was_reset = stream_id in self._reset or stream_id in self._refused
        self._reset.discard(stream_id)
        self._refused.discard(stream_id)
        return was_reset

    def _refuse(self, stream_id: int, code: ErrorCode) -> None:
        """Reset a stream that nobody was told of; a refused one (REFUSED_STREAM) may be sent again."""
        self._refused.add(stream_id)
        with suppress(*_LATE):
            self._connection.reset_stream(stream_id, code)

    def data_to_send(self, max_bytes: int = 1 << 18) -> bytes:
        if self._ready:
            ready, self._ready = self._ready, b""
            return ready
        if self._last_words is not None:
            words, self._last_words = self._last_words, b""
            return words
        data = self._connection.data_to_send(max_bytes)
        self._counts.earn("window_updates", len(data) / UPDATE_BYTES)
        if self._late and len(data) < max_bytes:  # so nghttp2 has no more, and its last frame is whole
            late, self._late = self._late, b""
            return data + late if self._connection.want_read else data
        return data

    def request(self, headers: Iterable[Header], *, end_stream: bool) -> int:
        self._collect(self._early)  # streams that ended while we wrote make room
        if self._left or self._last_words is not None or len(self._live) >= self._peer_max_streams:
            raise StreamsExhausted
        try:
            stream_id = self._connection.send_request(headers, end_stream=end_stream)
        except (*_LATE, ngh2.NoAvailableStreamIDError) as error:
            raise StreamsExhausted from error
        except ngh2.ConnectionProtocolError as error:
            raise ValueError(str(error)) from error
        self._live.add(stream_id)
        return stream_id

    def _call(
        self, method: Callable[Concatenate[int, P], None], stream_id: int, *args: P.args, **named: P.kwargs
    ) -> None:
        """A call about a stream: nothing when that is over, `ValueError` when not and the call is out of order."""
        if stream_id not in self._live or self._last_words is not None:
            return
        try:
            method(stream_id, *args, **named)
        except _LATE:
            return
        except ngh2.StreamProtocolError as error:
            self._collect(self._early)  # it may have ended while we wrote
            if stream_id in self._live:
                raise ValueError(str(error)) from error

    def respond(self, stream_id: int, headers: Iterable[Header], *, end_stream: bool) -> None:
        self._call(self._connection.send_response, stream_id, headers, end_stream=end_stream)

    def inform(self, stream_id: int, headers: Iterable[Header]) -> None:
        self._call(self._connection.send_informational_response, stream_id, headers)

    def send_data(self, stream_id: int, data: bytes | memoryview, *, end_stream: bool) -> None:
        self._call(self._connection.send_data, stream_id, data, end_stream=end_stream)

    def send_trailers(self, stream_id: int, headers: Iterable[Header]) -> None:
        self._call(self._connection.send_trailers, stream_id, headers)

    def queued_bytes(self, stream_id: int) -> int:
        # ngh2 lets go of a reset stream's body only when its RST_STREAM leaves.
        return self._connection.queued_body_size(stream_id) if stream_id in self._live else 0

    def credit(self, stream_id: int, n_bytes: int) -> None:
        if n_bytes and self._last_words is None:
            with suppress(*_LATE):
                window = self._windows.get(stream_id)
                if window is None:
                    self._connection.acknowledge_received_data(n_bytes, stream_id)
                else:
                    window.consumed(n_bytes)

    def set_window(self, stream_id: int, n_bytes: int) -> None:
        if stream_id in self._live:
            window = self._windows.get(stream_id)
            if window is None:
                window = self._windows[stream_id] = LocalWindow(self._connection, stream_id, self._stream_window)
            with suppress(*_LATE):
                window.resize(n_bytes)

    def _close_window(self, stream_id: int) -> None:
        if (window := self._windows.pop(stream_id, None)) is not None:
            with suppress(*_LATE):
                window.close()

    def reset(self, stream_id: int, code: int) -> None:
        if stream_id in self._live and self._last_words is None:
            self._reset.add(stream_id)
        self._call(self._connection.reset_stream, stream_id, code)
        self._live.discard(stream_id)

    def ping(self, data: bytes) -> None:
        with suppress(*_LATE):
            self._connection.ping(data)

    def shutdown_notice(self) -> None:
        if self._server:
            with suppress(*_LATE):
                self._connection.send_shutdown_notice()

    def goaway(self, code: int = ErrorCode.NO_ERROR) -> None:
        self._left = True
        with suppress(*_LATE):
            self._connection.send_goaway(code)


def _promising(greeting: bytes, enforced: int, promised: int) -> bytes:
    """The first frames with what is promised in the place of what nghttp2 enforces."""
    entry = struct.Struct("!HI")
    setting = ngh2.Setting.MAX_CONCURRENT_STREAMS
    return greeting.replace(entry.pack(setting, enforced), entry.pack(setting, promised), 1)
