"""A rate that is kept by waiting before the next pull: no credit goes back meanwhile, so the sender slows down."""

from __future__ import annotations

import asyncio
import time

_BURST_SECONDS = 0.25


class Pace:
    """So many bytes a second, over all that share it."""

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._due_at = 0.0
        """When what was taken so far has had its time, by the monotonic clock."""

    async def wait(self) -> None:
        """Returns when what was taken before this has had its time."""
        seconds = self._due_at - time.monotonic()
        if seconds > 0:
            await asyncio.sleep(seconds)

    def take(self, n_bytes: int) -> None:
        """So many were taken."""
        start = max(self._due_at, time.monotonic() - _BURST_SECONDS)
        self._due_at = start + n_bytes / self._bytes_per_second
