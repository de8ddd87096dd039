"""The default engine: libnghttp2 through ngh2 (2.8 us per 16 KiB DATA frame where h2 takes 46.7).

It brings nghttp2's own limits with it (resets, CONTINUATION, SETTINGS, queued acknowledgements, "glitches") and the
RFC's scopes: a malformed request or a wrong content-length is a stream error, the connection lives.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress

import ngh2

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


_LATE = (ngh2.StreamUnavailableError, ngh2.StreamProtocolError, ngh2.ConnectionStateError, ngh2.ConnectionClosingError)
"""What ngh2 raises for a call about a stream or a connection that the peer has just ended."""


class Nghttp2Engine:
    """See `wire.engine.Engine`."""

    def __init__(self, role: Role, settings: EngineSettings) -> None:
        self._server = role is Role.SERVER
        self._connection = connection = ngh2.Connection(
            ngh2.Role.SERVER if self._server else ngh2.Role.CLIENT,
            ngh2.Configuration(
                auto_window_update=False,
                max_inbound_header_list_size=settings.max_header_list_bytes,
                stream_reset_rate_limit=settings.max_resets,
            ),
        )
        self._over: set[int] = set()
        """Streams reset already, by us or by the peer: their `StreamClosed` is no news."""
        self._last_words: bytes | None = None
        """The GOAWAY of a connection error that ngh2 found; empty once it was handed out."""
        self._last_stream_id = 0
        connection.initiate_connection(
            {
                ngh2.Setting.ENABLE_PUSH: 0,
                ngh2.Setting.MAX_CONCURRENT_STREAMS: settings.max_streams,
                ngh2.Setting.INITIAL_WINDOW_SIZE: settings.stream_window,
                ngh2.Setting.MAX_FRAME_SIZE: settings.max_frame_bytes,
                ngh2.Setting.MAX_HEADER_LIST_SIZE: settings.max_header_list_bytes,
            }
        )
        connection.set_local_window_size(MAX_WINDOW)

    @property
    def done(self) -> bool:
        if self._last_words is not None:
            return not self._last_words
        return not (self._connection.want_read or self._connection.want_write)

    def receive(self, data: memoryview) -> list[Event]:
        if self._last_words is not None:
            return []
        try:
            self._connection.receive_data(data)
        except ngh2.ConnectionProtocolError as error:
            calm = isinstance(error, ngh2.DenialOfServiceError)
            code = ErrorCode.ENHANCE_YOUR_CALM if calm else ErrorCode.PROTOCOL_ERROR
            self._last_words = _goaway_frame(self._last_stream_id, code, str(error))
        events: list[Event] = []
        for event in self._connection.events():
            if type(event) is ngh2.DataReceived:  # nearly all of them; the rest may take its time
                events.append(Data(event.stream_id, event.data, event.end_stream))
            else:
                self._translate(event, events)
        return events

    def _translate(self, event: ngh2.Event, events: list[Event]) -> None:
        match event:
            case ngh2.RequestReceived(stream_id, headers, end_stream):
                self._last_stream_id = stream_id
                events.append(Headers(stream_id, headers, end_stream))
            case ngh2.ResponseReceived(stream_id, headers, end_stream):
                events.append(Headers(stream_id, headers, end_stream))
            case ngh2.InformationalResponseReceived(stream_id, headers):
                events.append(Informational(stream_id, headers))
            case ngh2.TrailersReceived(stream_id, headers):
                events.append(Trailers(stream_id, headers))
            case ngh2.StreamReset(stream_id, error_code):
                if stream_id not in self._over:
                    events.append(Reset(stream_id, error_code, remote=True))
                    self._over.add(stream_id)
            case ngh2.StreamClosed(stream_id, error_code, local_error):
                if stream_id in self._over:
                    self._over.discard(stream_id)
                elif error_code or local_error is not None:
                    events.append(Reset(stream_id, error_code, remote=False))
            case ngh2.WindowUpdated(stream_id, _):
                events.append(WindowOpened(stream_id))
            case ngh2.SettingsReceived(_):
                peer = self._connection.remote_settings
                events.append(
                    SettingsChanged(
                        peer.get(ngh2.Setting.MAX_CONCURRENT_STREAMS, MAX_WINDOW),
                        peer.get(ngh2.Setting.MAX_FRAME_SIZE, 16384),
                    )
                )
                events.append(WindowOpened(0))
            case ngh2.PingAcknowledged(opaque_data):
                events.append(Pong(opaque_data))
            case ngh2.GoAwayReceived(last_stream_id, error_code, _):
                events.append(GoAway(last_stream_id, error_code))

    def data_to_send(self, max_bytes: int = 1 << 18) -> bytes:
        if self._last_words is not None:
            words, self._last_words = self._last_words, b""
            return words
        return self._connection.data_to_send(max_bytes)

    def request(self, headers: Iterable[Header], *, end_stream: bool) -> int:
        if self._last_words is not None:
            raise StreamsExhausted
        try:
            return self._connection.send_request(headers, end_stream=end_stream)
        except (ngh2.ConnectionClosingError, ngh2.NoAvailableStreamIDError, ngh2.StreamUnavailableError) as error:
            raise StreamsExhausted from error

    def respond(self, stream_id: int, headers: Iterable[Header], *, end_stream: bool) -> None:
        with suppress(*_LATE):
            self._connection.send_response(stream_id, headers, end_stream=end_stream)

    def inform(self, stream_id: int, headers: Iterable[Header]) -> None:
        with suppress(*_LATE):
            self._connection.send_informational_response(stream_id, headers)

    def send_data(self, stream_id: int, data: bytes | memoryview, *, end_stream: bool) -> None:
        with suppress(*_LATE):
            self._connection.send_data(stream_id, data, end_stream=end_stream)

    def send_trailers(self, stream_id: int, headers: Iterable[Header]) -> None:
        with suppress(*_LATE):
            self._connection.send_trailers(stream_id, headers)

    def queued_bytes(self, stream_id: int) -> int:
        return self._connection.queued_body_size(stream_id)

    def credit(self, stream_id: int, n_bytes: int) -> None:
        if n_bytes and self._last_words is None:
            self._connection.acknowledge_received_data(n_bytes, stream_id)

    def set_window(self, stream_id: int, n_bytes: int) -> None:
        with suppress(*_LATE):
            self._connection.set_local_window_size(n_bytes, stream_id=stream_id)

    def reset(self, stream_id: int, code: int) -> None:
        with suppress(*_LATE):
            self._over.add(stream_id)
            self._connection.reset_stream(stream_id, code)

    def ping(self, data: bytes) -> None:
        with suppress(*_LATE):
            self._connection.ping(data)

    def shutdown_notice(self) -> None:
        with suppress(*_LATE):
            self._connection.send_shutdown_notice()

    def goaway(self, code: int = ErrorCode.NO_ERROR) -> None:
        with suppress(*_LATE):
            self._connection.send_goaway(code)


def _goaway_frame(last_stream_id: int, code: int, why: str) -> bytes:
    """ngh2 refuses to speak after an error of its own finding; RFC 9113 section 5.4.1 wants a GOAWAY all the same."""
    payload = struct.pack("!II", last_stream_id, code) + why.encode()[:128]
    return struct.pack("!I", len(payload) << 8 | 0x7) + struct.pack("!BI", 0, 0) + payload
