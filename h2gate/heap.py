"""How glibc keeps memory, for programs through which many large buffers pass."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_M_ARENA_MAX, _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -8, -1, -3
_KEPT_BYTES = 16 << 20
_MAPPED_BYTES = 4 << 20


def tune() -> None:
    """To be called before there is a second thread. glibc gives threads heaps of their own, up to eight a processor,
    and each keeps what was once needed in it; here one thread runs at a time most of the time. What bodies lie in comes
    and goes with each read, so `_KEPT_BYTES` of what is free at the end are kept: to give it back and have it again,
    page by page and zeroed, took a tenth of what an upload costs. Where there is no glibc, nothing happens."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_ARENA_MAX, 1)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
            libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
