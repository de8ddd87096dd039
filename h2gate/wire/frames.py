"""The few frames that an engine's library cannot be made to write (RFC 9113 sections 6.4 and 6.8)."""

from __future__ import annotations

import struct

_WHY_BYTES = 128
_RST_STREAM, _GOAWAY = 0x3, 0x7


def goaway_frame(last_stream_id: int, code: int, why: str) -> bytes:
    """ngh2 refuses to speak after an error of its own finding; section 5.4.1 wants a GOAWAY all the same."""
    return _frame(_GOAWAY, 0, struct.pack("!II", last_stream_id, code) + why.encode()[:_WHY_BYTES])


def reset_frame(stream_id: int, code: int) -> bytes:
    """nghttp2 resets no stream that it has forgotten."""
    return _frame(_RST_STREAM, stream_id, struct.pack("!I", code))


def _frame(kind: int, stream_id: int, payload: bytes) -> bytes:
    return struct.pack("!IBI", len(payload) << 8 | kind, 0, stream_id) + payload
