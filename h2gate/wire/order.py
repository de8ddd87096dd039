"""Frames on a stream that their sender has ended, or out of turn: errors in RFC 9113, dropped in silence by libnghttp2.

It forgets streams that are over, so it cannot tell such frames from those that cross our RST_STREAM. Here the frame
headers are looked at before it has them: only what the peer itself said counts, and of no more than `KEPT_STREAMS`
streams. What may be a slip of the peer stays with its stream, for the sake of its neighbours. DATA that goes on is
passed after one look.
"""

from __future__ import annotations

import struct

from h2gate.wire.engine import MAX_WINDOW, ErrorCode

PREFACE_BYTES = 24
HEADER_BYTES = 9
KEPT_STREAMS = 256
"""Frames on older streams are not judged."""
_HEADER = struct.Struct("!IBI")
"""Length and type in one, flags, stream."""
_END_STREAM = 0x1
_END_HEADERS = 0x4
_SENDING, _ENDED, _RESET, _TOLD = range(1, 5)
"""What the peer did last with a stream; `_TOLD`: it went on all the same, and is told so once."""
_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _CONTINUATION = 0, 1, 2, 3, 9


class Order:
    """For what a client sends, from the preface on. A peer that opens more than `max_opened` streams in one read is too
    eager, whatever becomes of them."""

    def __init__(self, max_opened: int = MAX_WINDOW) -> None:
        self._max_opened = max_opened
        self._opened = 0
        """In this read."""
        self._next = PREFACE_BYTES
        """Where the next frame begins, counted from the next read: before it, if its header was cut."""
        self._cut = b""
        """What came of a header that was cut."""
        self._streams: dict[int, int] = {}
        """The streams opened last, with their state."""
        self.late: list[int] = []
        """Streams that the peer had ended before it went on with them: for RST_STREAM(STREAM_CLOSED), if they are over.
        Whoever takes care of that empties the list."""
        self._largest = self._forgotten = 0
        self.in_block = False
        """Between a HEADERS frame and the last of its CONTINUATION frames."""

    @property
    def unfinished(self) -> bool:
        """In the midst of a header, of any other frame, or of the preface."""
        return self.in_block or self._next != 0

    def fault(self, data: memoryview) -> tuple[int, ErrorCode] | None:
        """Take what was read, cut anywhere. Where in it the first frame out of order begins (0 if earlier), and the
        code of the connection error that it is; nothing may be asked for what comes later."""
        at, size, streams = self._next, len(data), self._streams
        self._opened = 0
        if at < 0:
            self._cut += data[: HEADER_BYTES + at]
            if len(self._cut) < HEADER_BYTES:
                self._next = at - size
                return None
            word, flags, stream_id = _HEADER.unpack(self._cut)
            if code := self._judge(word & 0xFF, flags, stream_id):
                return 0, code
            at += HEADER_BYTES + (word >> 8)
        while at + HEADER_BYTES <= size:
            word, flags, stream_id = _HEADER.unpack_from(data, at)
            ordinary = not (word & 0xFF or flags & _END_STREAM) and streams.get(stream_id) == _SENDING
            if not ordinary and (code := self._judge(word & 0xFF, flags, stream_id)):
                return at, code
            at += HEADER_BYTES + (word >> 8)
        self._cut = bytes(data[at:])
        self._next = at - size
        return None

    def _judge(self, kind: int, flags: int, stream_id: int) -> ErrorCode | None:
        stream_id &= MAX_WINDOW  # the first bit is reserved
        if self.in_block:  # whatever interrupts it is found by libnghttp2
            self.in_block = kind != _CONTINUATION or not flags & _END_HEADERS
            return None
        if kind == _PRIORITY:
            return None if stream_id else ErrorCode.PROTOCOL_ERROR  # section 6.3
        if kind == _RST_STREAM and stream_id in self._streams:
            self._streams[stream_id] = max(_RESET, self._streams[stream_id])
        if kind not in (_DATA, _HEADERS) or not stream_id & 1:
            return None
        self.in_block = kind == _HEADERS and not flags & _END_HEADERS
        return self._judge_stream(kind, stream_id, ends=bool(flags & _END_STREAM))

    def _judge_stream(self, kind: int, stream_id: int, *, ends: bool) -> ErrorCode | None:
        if stream_id <= self._forgotten:
            return None
        if stream_id > self._largest:
            if kind == _HEADERS and not self._open(stream_id):
                return ErrorCode.ENHANCE_YOUR_CALM
        elif (state := self._streams.get(stream_id)) is None:  # skipped, so closed without ever being opened: 5.1.1
            return ErrorCode.PROTOCOL_ERROR if kind == _HEADERS else ErrorCode.STREAM_CLOSED
        elif state == _ENDED and kind == _HEADERS:
            return ErrorCode.STREAM_CLOSED  # a second request of that name: section 5.1
        elif state in (_ENDED, _RESET):
            self._streams[stream_id] = _TOLD
            self.late.append(stream_id)  # sections 5.1 and 6.1
        if ends and self._streams.get(stream_id) == _SENDING:
            self._streams[stream_id] = _ENDED
        return None

    def _open(self, stream_id: int) -> bool:
        """False where it is one too many."""
        self._opened += 1
        self._largest = stream_id
        self._streams[stream_id] = _SENDING
        if len(self._streams) > KEPT_STREAMS:
            self._forgotten = next(iter(self._streams))
            del self._streams[self._forgotten]
        return self._opened <= self._max_opened
