"""h11 with the limits that HTTP/2 has, and stricter where two parsers could see two messages (RFC 9112 section 11.2).

No I/O: bytes in, events out. What is refused is a `Refusal`, after which nothing that the peer sends counts.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import h11

from h2gate.config import Settings
from h2gate.server.stream import list_bytes
from h2gate.wire.engine import Header
from h2gate.wire.frame_limits import NO_LIMITS, REQUEST_BYTES, TINY_BYTES, FrameCounts, setting_of

_CODINGS = re.compile(rb"^transfer-encoding:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


class Refusal(h11.RemoteProtocolError):
    """What the peer sent is not taken: it is answered with `status`, and the connection is closed."""

    def __init__(self, status: int, what: str, limit: str | None = None) -> None:
        """`limit` is the setting that the peer ran into."""
        super().__init__(what, status)
        self.status = status
        self.what = what
        self.limit = limit


class Parser(h11.Connection):
    """One connection's. Keeps the trailers of the message that ended last."""

    def __init__(self, settings: Settings) -> None:
        self._max_bytes = settings.max_header_list
        super().__init__(h11.SERVER, max_incomplete_event_size=self._max_bytes)
        self.trailers: list[Header] = []
        self._counts = FrameCounts(replace(NO_LIMITS, tiny_data=settings.max_tiny_data, overhead=settings.max_overhead))
        self._raw_bytes = 0
        self._body_bytes = 0
        self._chunk_bytes = 0

    def receive_data(self, data: bytes) -> None:
        """See h11. All that came before has been looked at by now, so it is known how much of it was body."""
        overhead = self._raw_bytes - 2 * self._body_bytes  # as many bytes as the body has are fair
        if overhead > 0:
            self._counts.count("overhead", overhead)
        else:
            self._counts.earn("overhead", -overhead)
        self._raw_bytes, self._body_bytes = len(data), 0
        super().receive_data(data)

    def next_event(self) -> Any:
        """See h11; raises `Refusal` alone."""
        state = self.their_state
        before = self.trailing_data[0] if state is h11.IDLE else b""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            raise self._explained(error, state, before) from None
        match event:
            case h11.Data():
                self._count(event)
            case h11.Request():
                self._counts.earn("overhead", REQUEST_BYTES)
                self._check_head(event)
            case h11.EndOfMessage():
                self.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
                if list_bytes(self.trailers) > self._max_bytes:
                    raise Refusal(431, "the trailers are too long", "max_header_list")
        if (exceeded := self._counts.exceeded) is not None:
            raise Refusal(400, "too many bytes or chunks that bring nothing", setting_of(exceeded))
        return event

    def _count(self, data: h11.Data) -> None:
        self._body_bytes += len(data.data)
        self._chunk_bytes = len(data.data) + (0 if data.chunk_start else self._chunk_bytes)
        if data.chunk_end and self._chunk_bytes < TINY_BYTES:
            self._counts.count("tiny_data")

    def _check_head(self, request: h11.Request) -> None:
        if request.http_version[:1] != b"1":
            raise Refusal(505, "not a version of HTTP/1")
        names = {name for name, _ in request.headers}
        if b"transfer-encoding" in names and (b"content-length" in names or request.http_version == b"1.0"):
            raise Refusal(400, "it can be told in two ways where the body ends")  # RFC 9112 section 6.1
        if len(request.target) > self._max_bytes:
            raise Refusal(414, "the request target is too long", "max_header_list")
        if head_bytes(request) > self._max_bytes:
            raise Refusal(431, "the header list is too long", "max_header_list")

    def _explained(self, error: h11.RemoteProtocolError, state: object, before: bytes) -> Refusal:
        status, what = error.error_status_hint, str(error)
        if status == 501:
            return Refusal(_status_of_codings(before), what)
        if status != 431:  # h11's word for all that does not end
            return Refusal(status, what)
        if state is not h11.IDLE:
            return Refusal(400, "a chunk's header or the trailers are too long", "max_header_list")
        if b"\n" not in before:
            return Refusal(414, "the request line is too long", "max_header_list")
        return Refusal(431, "the header is too long", "max_header_list")


def _status_of_codings(header: bytes) -> int:
    """Where `chunked` is not the last coding, or not once, the length is not known: 400 (RFC 9112 section 6.3), else
    a coding before it is not known: 501 (section 6.1)."""
    lines = _CODINGS.findall(header.partition(b"\r\n\r\n")[0])
    codings = [each.strip().lower() for line in lines for each in line.split(b",")]
    return 501 if codings.count(b"chunked") == 1 and codings[-1] == b"chunked" else 400


def head_bytes(request: h11.Request) -> int:
    """The size of the header list that the same request has over HTTP/2."""
    pseudo = [(b":method", request.method), (b":scheme", b"https"), (b":path", request.target)]
    return list_bytes(pseudo) + list_bytes(list(request.headers)) + len(b":authority") - len(b"host")
