"""Finds the parts of a multipart body (RFC 2046 section 5.1) in chunks cut anywhere; no I/O.

Werkzeug's decoder, cut between the last boundary's two hyphens, takes the line end before it for content: a file would
be stored with a byte too many. Here as many bytes are held back as may belong to a boundary, and no more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from h2gate.errors import BadForm

MAX_HEADER_BYTES = 8192
MAX_PARTS = 10_000

_AFTER = re.compile(rb"--|[ \t]{0,64}\r\n")
_MAY_BE_AFTER = re.compile(rb"-|[ \t]{0,64}\r?")
_FOLD = re.compile(rb"\r\n[ \t]+")


@dataclass(frozen=True, slots=True)
class Head:
    """A part begins. Names in lower case; each character of a value is a byte, as in a request's fields."""

    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes of the part that began last."""

    data: bytes
    last: bool


class End:
    """The form is over; what follows says nothing."""


class Splitter:
    """`feed` a chunk, then take `next` until it is None."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # the first boundary need not have a line before it
        self._next = self._preamble
        self._parts = 0
        self._skip = 0
        """Bytes at the head of the buffer that are no content: the empty line, which may begin a boundary as well."""

    def feed(self, chunk: bytes) -> None:
        self._buffer += chunk

    def next(self) -> Head | Content | End | None:
        """What comes next, None if more bytes are needed for that. Raises `BadForm`."""
        return self._next()

    def _preamble(self) -> Head | Content | End | None:
        stop, end = self._boundary()
        del self._buffer[: end or stop]
        return self._next() if end else None

    def _head(self) -> Head | Content | End | None:
        end = self._buffer.find(b"\r\n\r\n")
        if max(end, len(self._buffer) - 4 if end < 0 else 0) > MAX_HEADER_BYTES:
            raise BadForm(f"a part's header has more than {MAX_HEADER_BYTES} bytes")
        if end < 0:
            return None
        lines = _FOLD.sub(b" ", bytes(self._buffer[:end])).split(b"\r\n")
        del self._buffer[: end + 2]
        self._skip = 2
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise BadForm(f"the form has more than {MAX_PARTS} parts")
        self._next = self._content
        return Head(dict(map(_field, lines)))

    def _content(self) -> Head | Content | End | None:
        stop, end = self._boundary()
        if not end and stop <= self._skip:
            return None
        data = bytes(self._buffer[self._skip : stop])
        self._skip = 0
        del self._buffer[: end or stop]
        return Content(data, bool(end))

    def _end(self) -> Head | Content | End | None:
        self._buffer.clear()
        return End()

    def _boundary(self) -> tuple[int, int]:
        """Where the next boundary begins and ends; if none is whole, where one may begin, and 0.

        Moves on to what follows a boundary that was found.
        """
        buffer, size = self._buffer, len(self._delimiter)
        start = buffer.find(self._delimiter)
        while start >= 0:
            after = start + size
            if found := _AFTER.match(buffer, after):
                self._next = self._end if found[0] == b"--" else self._head
                return start, found.end()
            if _MAY_BE_AFTER.fullmatch(buffer, after):
                return start, 0
            start = buffer.find(self._delimiter, after)
        held = buffer.find(b"\r", max(0, len(buffer) - size + 1))
        return held if held >= 0 else len(buffer), 0


def _field(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not colon:
        raise BadForm("a part's header has a line that is no field")
    return name.strip().decode("latin1").lower(), value.strip(b" \t").decode("latin1")
