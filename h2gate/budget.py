"""One budget of memory for what peers can make a process hold: whoever is to hold bytes for them takes them here first.

Nobody may take all of it. A share is a part of what is left, so it shrinks as the rest does, and there is nearly always
room for one more (the rule of dynamic thresholds, as switches share their buffers).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from h2gate.errors import Busy

_PART_OF_LEFT = 8
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Budget:
    """For one event loop. Sizes in bytes."""

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self.left = n_bytes
        self._waiting: list[asyncio.Future[None]] = []

    def take(self, n_bytes: int) -> bool:
        """Reserve so much; False when it is not there."""
        if n_bytes > self.left:
            return False
        self.left -= n_bytes
        return True

    def take_more(self, n_bytes: int) -> bool:
        """As `take`: here everybody is alike."""
        return self.take(n_bytes)

    def take_little(self, n_bytes: int) -> bool:
        """As `take`."""
        return self.take(n_bytes)

    def give_back(self, n_bytes: int) -> None:
        self.left += n_bytes
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                if not each.done():
                    each.set_result(None)

    @property
    def share(self) -> int:
        """As much as one stream may have of what is left."""
        return self.left // _PART_OF_LEFT

    async def given_back(self) -> None:
        """Returns when somebody has given something back."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    @asynccontextmanager
    async def holding(self, n_bytes: int, seconds: float, what: str) -> AsyncIterator[None]:
        """Wait for room, hold it, give it back. Raises `Busy`, saying `what`, when there was none for so long."""
        try:
            async with asyncio.timeout(seconds):
                while not self.take(n_bytes):
                    await self.given_back()
        except TimeoutError:
            raise Busy(what) from None
        try:
            yield
        finally:
            self.give_back(n_bytes)


def machine_memory() -> int:
    """Bytes that this machine has, or the container if it may use fewer."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _CGROUPS:
        try:
            found = min(found, int(Path(name).read_text()))
        except (OSError, ValueError):  # there is no such file, or it says "max"
            continue
    return found
