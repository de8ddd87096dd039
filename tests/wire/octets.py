"""Frames and field blocks written octet by octet, so that a test can send what no library would (RFC 9113, RFC 7541).

Nothing here keeps state between calls: field lines never enter the peer's dynamic table unless a case says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_WINDOW = 2**31 - 1
RESERVED_BIT = 1 << 31
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20
STREAM_DEPENDENCY = bytes(4) + b"\x0f"
"""On no other stream, weight 16."""


class Kind(IntEnum):
    """Frame types (RFC 9113 section 6)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(IntEnum):
    """RFC 9113 section 6.5.2."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def data(stream_id: int, payload: bytes = b"", *, end: bool = False) -> bytes:
    return frame(Kind.DATA, END_STREAM if end else 0, stream_id, payload)


def headers(stream_id: int, block: bytes, *, end: bool = True, end_headers: bool = True) -> bytes:
    return frame(Kind.HEADERS, (END_STREAM if end else 0) | (END_HEADERS if end_headers else 0), stream_id, block)


def continuation(stream_id: int, block: bytes, *, end_headers: bool = True) -> bytes:
    return frame(Kind.CONTINUATION, END_HEADERS if end_headers else 0, stream_id, block)


def priority(stream_id: int, depends_on: int = 0, *, weight: int = 16, exclusive: bool = False) -> bytes:
    payload = (depends_on | (RESERVED_BIT if exclusive else 0)).to_bytes(4, "big") + bytes((weight - 1,))
    return frame(Kind.PRIORITY, 0, stream_id, payload)


def reset(stream_id: int, code: int = 0x8) -> bytes:
    return frame(Kind.RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def settings(values: Mapping[int, int] | tuple[tuple[int, int], ...] = ()) -> bytes:
    pairs = values.items() if isinstance(values, Mapping) else values
    return frame(Kind.SETTINGS, 0, 0, b"".join(k.to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in pairs))


def ping(opaque: bytes, *, ack: bool = False) -> bytes:
    return frame(Kind.PING, ACK if ack else 0, 0, opaque)


def window(stream_id: int, increment: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


def goaway(code: int = 0, *, stream_id: int = 0) -> bytes:
    return frame(Kind.GOAWAY, 0, stream_id, bytes(4) + code.to_bytes(4, "big"))


# RFC 7541


def integer(value: int, prefix_bits: int, first: int = 0) -> bytes:
    """Section 5.1; `first` holds the bits above the prefix."""
    top = (1 << prefix_bits) - 1
    if value < top:
        return bytes((first | value,))
    out, value = bytearray((first | top,)), value - top
    while value >= 128:
        out.append(value % 128 | 0x80)
        value //= 128
    return bytes((*out, value))


def string(text: bytes, *, huffman: bool = False) -> bytes:
    """Section 5.2; with `huffman`, `text` is coded already."""
    return integer(len(text), 7, 0x80 if huffman else 0) + text


def indexed(index: int) -> bytes:
    return integer(index, 7, 0x80)


def literal(name: bytes | int, value: bytes, *, form: int = 0x00, prefix_bits: int = 4) -> bytes:
    """A literal field line, by default without indexing; `name` is text or the index of one."""
    if isinstance(name, int):
        return integer(name, prefix_bits, form) + string(value)
    return bytes((form,)) + string(name) + string(value)


def entered(name: bytes, value: bytes) -> bytes:
    """A literal field line with incremental indexing: it enters the dynamic table."""
    return literal(name, value, form=0x40, prefix_bits=6)


def table_size(n_bytes: int) -> bytes:
    return integer(n_bytes, 5, 0x20)


def lines(*fields: tuple[bytes, bytes]) -> bytes:
    return b"".join(literal(name, value) for name, value in fields)


# Requests

METHOD, SCHEME, AUTHORITY, PATH = b":method", b":scheme", b":authority", b":path"
GET = lines((METHOD, b"GET"), (SCHEME, b"https"), (AUTHORITY, b"gate.example"), (PATH, b"/healthz"))
"""Answered at once, with three bytes."""
PUT = lines((METHOD, b"PUT"), (SCHEME, b"https"), (AUTHORITY, b"gate.example"), (PATH, b"/files/conformance"))
"""Answered when its body is whole."""


def put(stream_id: int, *fields: tuple[bytes, bytes]) -> bytes:
    """The header section of an upload whose body is to follow."""
    return headers(stream_id, PUT + lines(*fields), end=False)


def get(stream_id: int, *fields: tuple[bytes, bytes]) -> bytes:
    """A whole request."""
    return headers(stream_id, GET + lines(*fields))
