"""The seam for HTTP/2: bytes in, events out, calls in, bytes out; either role; no I/O, no waiting (RFC 9113).

Everything above speaks this module's words only, so that the default engine (`nghttp2.py`) and the reference engine
(`reference.py`) can stand in for one another and be tested against one another (`tests/contract/engine`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol, TypeAlias

from h2gate.wire.frame_limits import FrameLimits

Header: TypeAlias = tuple[bytes, bytes]
"""A field line: lower-case name and value. Pseudo-header fields come first (RFC 9113 section 8.3)."""

MAX_WINDOW = 2**31 - 1
"""The largest flow-control window (RFC 9113 section 6.9.1); what we grant a whole connection."""


class Role(IntEnum):
    CLIENT = 0
    SERVER = 1


class ErrorCode(IntEnum):
    """RFC 9113 section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What this end promises and enforces. Sizes in bytes."""

    max_streams: int = 128
    """Streams the peer may have open at once; one more is refused (REFUSED_STREAM) and not told of."""
    stream_window: int = 1 << 20
    max_frame_bytes: int = 16384
    max_header_list_bytes: int = 32768
    """Promised to the peer (RFC 9113 section 6.5.2). A somewhat longer list is still told, to be answered with 431; a
    much longer one is a connection error."""
    max_continuations: int = 8
    """CONTINUATION frames of one header; more are a connection error."""
    limits: FrameLimits = field(default_factory=FrameLimits)
    """Of a server; a client trusts the server that it chose."""


# The events are plain slotted classes, not frozen ones: one is made per DATA frame, and freezing costs 0.5 us each.


@dataclass(slots=True)
class Headers:
    """A request (on the server) or a final response (on the client)."""

    stream_id: int
    headers: tuple[Header, ...]
    end_stream: bool


@dataclass(slots=True)
class Informational:
    """A 1xx response (client only)."""

    stream_id: int
    headers: tuple[Header, ...]


@dataclass(slots=True)
class Data:
    """One DATA frame without its padding; its bytes stay charged to the windows until `credit`.

    An empty `data` with `end_stream` ends the stream. Padding is credited by the engine itself.
    """

    stream_id: int
    data: bytes
    end_stream: bool


@dataclass(slots=True)
class Trailers:
    """The field section after the body. It ends the stream."""

    stream_id: int
    headers: tuple[Header, ...]


@dataclass(slots=True)
class Reset:
    """The stream is over before both sides ended it: by the peer's RST_STREAM, or because the engine found a stream
    error and reset it itself (`remote` is False then), or, on the client, because the peer's GOAWAY leaves it out
    (REFUSED_STREAM, `remote` False). Comes at most once a stream, never for our own `reset`."""

    stream_id: int
    code: int
    remote: bool


@dataclass(slots=True)
class WindowOpened:
    """The peer gave credit: queued bytes of this stream may have become sendable (0: of any stream)."""

    stream_id: int


@dataclass(slots=True)
class SettingsChanged:
    """The peer's SETTINGS were taken over (and are acknowledged)."""

    max_streams: int
    max_frame_bytes: int


@dataclass(slots=True)
class Pong:
    """The answer to our `ping`."""

    data: bytes


@dataclass(slots=True)
class GoAway:
    """The peer takes no new streams; those up to `last_stream_id` go on (RFC 9113 section 6.8)."""

    last_stream_id: int
    code: int


Event: TypeAlias = Headers | Informational | Data | Trailers | Reset | WindowOpened | SettingsChanged | Pong | GoAway


class Engine(Protocol):
    """One HTTP/2 connection. Not for more than one thread.

    Calls about a stream that is already closed do nothing: the peer may have reset it a moment ago. `ValueError` means
    the caller broke the protocol's order (a second END_STREAM, say).
    """

    def __init__(self, role: Role, settings: EngineSettings) -> None:
        """Queue the preface (client), our SETTINGS, and a connection window of `MAX_WINDOW`."""

    @property
    def done(self) -> bool:
        """Nothing more will be read or written, whether all ended well (after `goaway`) or by a connection error
        (RFC 9113 section 5.4.1): write what `data_to_send` still gives (the GOAWAY), then close the transport."""

    @property
    def exceeded(self) -> str | None:
        """The limit that ended the connection (a name of `FrameLimits`, "flood" or "connection_errors"), if one did."""

    @property
    def header_open(self) -> bool:
        """Server: a header has begun and needs CONTINUATION; nothing else can come before its end."""

    @property
    def unfinished(self) -> bool:
        """Server: the preface, a header or any frame has begun and not ended."""

    def receive(self, data: memoryview) -> list[Event]:
        """Take in what the transport read, cut anywhere; `data` may be reused afterwards.

        Never raises for what the peer sent: a stream error becomes a `Reset` with `remote` False, a connection error
        queues a GOAWAY and makes `done` true once `data_to_send` gave it out.
        """

    def data_to_send(self, max_bytes: int = 1 << 18) -> bytes:
        """The next frames to write, about `max_bytes` of them; empty when there is nothing (or windows are shut)."""

    def request(self, headers: Iterable[Header], *, end_stream: bool) -> int:
        """Client: open a stream; its id. Raises `StreamsExhausted` when the peer lets no further one be opened now."""

    def respond(self, stream_id: int, headers: Iterable[Header], *, end_stream: bool) -> None:
        """Server: the final response's header section."""

    def inform(self, stream_id: int, headers: Iterable[Header]) -> None:
        """Server: a 1xx response, any number of them before `respond`."""

    def send_data(self, stream_id: int, data: bytes | memoryview, *, end_stream: bool) -> None:
        """Queue body bytes; they leave as the peer's windows allow. The engine keeps a copy or a reference: `data`
        must not be changed afterwards."""

    def send_trailers(self, stream_id: int, headers: Iterable[Header]) -> None:
        """Queue a trailer section behind the body; it ends our side."""

    def queued_bytes(self, stream_id: int) -> int:
        """Body bytes taken by `send_data` and not yet handed out by `data_to_send`; 0 for an unknown stream."""

    def credit(self, stream_id: int, n_bytes: int) -> None:
        """`n_bytes` of received DATA are consumed. WINDOW_UPDATE leaves when about half the window is, so call it as
        often as you like. Also for streams already closed: the connection window must get its bytes back."""

    def set_window(self, stream_id: int, n_bytes: int) -> None:
        """Make the window we grant this stream `n_bytes` in all. A smaller one is reached by credit that is withheld:
        what was granted stays."""

    def reset(self, stream_id: int, code: int) -> None:
        """RST_STREAM; queued bytes of the stream are dropped."""

    def ping(self, data: bytes) -> None:
        """A PING with 8 bytes of ours; `Pong` tells the answer."""

    def shutdown_notice(self) -> None:
        """First phase of leaving: GOAWAY with the highest stream id; streams may still be opened (section 6.8)."""

    def goaway(self, code: int = ErrorCode.NO_ERROR) -> None:
        """Second phase: GOAWAY with the last stream id we took; later streams are ignored, earlier ones finish."""


class StreamsExhausted(Exception):
    """The peer's SETTINGS_MAX_CONCURRENT_STREAMS is reached, or it sent GOAWAY."""
