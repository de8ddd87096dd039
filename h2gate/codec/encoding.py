"""Content codings (RFC 9110 section 8.4.1) put on what is sent, piece by piece, and whether that is worth it.

What comes between two `end`s stands for itself: a gzip file may have many members (RFC 1952 section 2.2), a zstd stream
many frames (RFC 8878 section 3).
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_LEVEL = 3
GZIP_LEVEL = 6
_GZIP = 31
"""zlib's number for a gzip member with the largest window."""
SHRUNK = 0.9
"""Of its size: what does not get below that is not worth it."""


class Encoder(Protocol):
    """Blocks; for one thread at a time."""

    def encode(self, data: bytes) -> bytes:
        """What `data` makes ready; the rest comes later."""

    def flush(self) -> bytes:
        """What lets the other end decode all that was given so far."""

    def end(self) -> bytes:
        """What ends it. Whatever follows begins anew."""


class Zstd:
    """RFC 8878; the windows of its levels are within the 8 MiB of RFC 9659."""

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(ZSTD_LEVEL)

    def encode(self, data: bytes) -> bytes:
        return self._compressor.compress(data)

    def flush(self) -> bytes:
        return self._compressor.flush(zstd.ZstdCompressor.FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._compressor.flush(zstd.ZstdCompressor.FLUSH_FRAME)


class Gzip:
    """RFC 1952."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(GZIP_LEVEL, wbits=_GZIP)

    def encode(self, data: bytes) -> bytes:
        return self._compressor.compress(data)

    def flush(self) -> bytes:
        return self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        last = self._compressor.flush(zlib.Z_FINISH)
        self._compressor = zlib.compressobj(GZIP_LEVEL, wbits=_GZIP)
        return last


ENCODERS: dict[str, Callable[[], Encoder]] = {"zstd": Zstd, "gzip": Gzip}
"""By their names in Content-Encoding, the better first."""


def encoded(coding: str, data: bytes) -> bytes:
    """All of `data` at once."""
    encoder = ENCODERS[coding]()
    return encoder.encode(data) + encoder.end()


def shrinks(samples: Iterable[bytes]) -> bool:
    """Whether these get so much smaller that a coding is worth it."""
    size = small = 0
    for each in samples:
        size += len(each)
        small += len(zstd.compress(each, 1))
    return small < SHRUNK * size
