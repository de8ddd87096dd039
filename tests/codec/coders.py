"""Bodies that are coded, for tests of what decodes them."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Mapping, Sequence

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["ENCODERS", "encoded", "zstd"]

ENCODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": zstd.compress,
    "br": lambda data: brotli.compress(data, quality=4),
}


def encoded(data: bytes, codings: Sequence[str]) -> bytes:
    """In the order of `Content-Encoding`."""
    for each in codings:
        data = ENCODERS[each](data)
    return data
