"""Frames as bytes (RFC 9113 sections 4 and 6), right or wrong: nothing is checked, and many of them cost little."""

from __future__ import annotations

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
MAX_WINDOW = 2**31 - 1
INITIAL_WINDOW_SIZE = 0x4
CANCEL = 0x8


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack("!IBI", len(payload) << 8 | kind, flags, stream_id) + payload


def data(stream_id: int, payload: bytes = b"", *, end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream_id, payload)


def padded_data(stream_id: int, payload: bytes, n_padding: int) -> bytes:
    return frame(DATA, PADDED, stream_id, bytes([n_padding]) + payload + bytes(n_padding))


def reset(stream_id: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream_id, struct.pack("!I", code))


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack("!HI", *pair) for pair in pairs))


def settings_ack() -> bytes:
    return frame(SETTINGS, ACK, 0)


def ping(opaque: bytes = b"8 bytes!") -> bytes:
    return frame(PING, 0, 0, opaque)


def window_update(stream_id: int, n_bytes: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, struct.pack("!I", n_bytes))


def priority(stream_id: int, parent: int, *, exclusive: bool = False) -> bytes:
    return frame(PRIORITY, 0, stream_id, struct.pack("!IB", parent | exclusive << 31, 15))
