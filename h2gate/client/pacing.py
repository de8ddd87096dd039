"""No more than so many bytes a second, over all requests together, in slices so small that nothing comes in bursts.

Slices pass in the order in which they were asked for: files share the rate evenly, whatever the HTTP version. What is
received is taken slowly, so the sender sees its windows (or TCP's) full and slows down; what it may send before that
has its time before it is asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import httpx

from h2gate.client.exchange import PIECE as ANSWER_PIECE
from h2gate.client.local import PIECE
from h2gate.client.transport import STREAM_WINDOW

EXPECTED = "h2gate.expected"
"""Request extension: bytes of the answer; None is many."""

SLICE_SECONDS = 1 / 16
MIN_SHARE = 16 << 10
"""Bytes per second of a file."""
MIN_WINDOW = 16 << 10
MIN_PIECE = 1 << 12
MAX_SLICE = 1 << 18
LATE_SECONDS = 0.05
"""What a loop that woke up late may catch up with."""
SHORT_SECONDS = 0.002
"""Shorter waits are not worth their while: the next one is longer by as much."""


class Pace:
    """`bytes_per_second` is at least 1. `now` and `sleep` are for tests."""

    def __init__(
        self,
        bytes_per_second: int,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = bytes_per_second
        self._now = now
        self._sleep = sleep
        self._free = 0.0
        """When all that was let through has had its time."""
        self._window = max(MIN_WINDOW, min(STREAM_WINDOW, self._rate // 4))
        self.slice_bytes = max(1, min(MAX_SLICE, int(bytes_per_second * SLICE_SECONDS)))
        self.piece_bytes = max(MIN_PIECE, min(PIECE, self.slice_bytes))
        """Of a file, to be read at once."""
        self.extensions = {ANSWER_PIECE: self.slice_bytes}
        """Of every request."""

    def shares(self, streams: int) -> tuple[int, int]:
        """How many files may be in flight, so that none gets on so slowly that it looks dead; and the window of each:
        what may come before anybody has slowed it down."""
        return max(1, min(streams, self._rate // MIN_SHARE)), self._window

    async def admitted(self, request: httpx.Request) -> int:
        """Wait until the answer may begin to come; how many of its bytes have had their time then."""
        if EXPECTED not in request.extensions:
            return 0
        expected = request.extensions[EXPECTED]
        paid = self._window if expected is None else max(0, min(self._window, expected))
        await self.let(paid)
        return paid

    def limited(self, stream: httpx.AsyncByteStream, paid: int = 0, length: int | None = None) -> httpx.AsyncByteStream:
        """`stream`, no faster than that. Each byte that is taken makes room for another to be sent ahead, so it is the
        last `paid` ones of `length` that have had their time."""
        return _Limited(self, stream, None if length is None else max(0, length - paid))

    async def let(self, n_bytes: int) -> None:
        """Wait until so many more bytes may pass."""
        if not n_bytes:
            return
        now = self._now()
        start = max(self._free, now - LATE_SECONDS)
        self._free = start + n_bytes / self._rate
        if start - now > SHORT_SECONDS:
            await self._sleep(start - now)


class _Limited(httpx.AsyncByteStream):
    def __init__(self, pace: Pace, stream: httpx.AsyncByteStream, owed: int | None) -> None:
        self._pace = pace
        self._owed = owed
        """Bytes that are to have their time; None is all."""
        self._stream = stream
        self.replayable = isinstance(stream, httpx.ByteStream) or bool(getattr(stream, "replayable", False))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._stream)
        step = self._pace.slice_bytes
        try:
            async for chunk in chunks:
                for start in range(0, len(chunk), step):
                    piece = chunk[start : start + step]
                    await self._pace.let(self._due(len(piece)))
                    yield piece
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    def _due(self, n_bytes: int) -> int:
        if self._owed is None:
            return n_bytes
        due = min(self._owed, n_bytes)
        self._owed -= due
        return due

    async def aclose(self) -> None:
        await self._stream.aclose()
