"""How much is read in one turn of the event loop, over all connections: small requests wait for a turn and no longer.

libuv reads a socket up to 32 times in a turn while there is more, which takes 20 ms of everybody's time. Here whoever
reads when the turn is used up rests, and goes on in the order in which he came to rest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

TURN_BYTES = 2 << 20
BULK_BYTES = 16 << 10
"""Who reads less than that at a time is not made to rest."""


class Reader(Protocol):
    """A connection."""

    def rest(self) -> bool:
        """Read no more; False if it cannot."""

    def go_on(self) -> None:
        """Read again."""


class Turns:
    """One per worker."""

    def __init__(self, loop: asyncio.AbstractEventLoop, read_bytes: int) -> None:
        """`read_bytes`: what a connection reads at once, at most."""
        self._loop = loop
        self._at_once = max(1, TURN_BYTES // read_bytes)
        self._left = TURN_BYTES
        self._is_planned = False
        self._resting: deque[Reader] = deque()

    def read(self, reader: Reader, n_bytes: int) -> None:
        """`reader` has read so much."""
        self._left -= n_bytes
        if not self._is_planned:
            self._is_planned = True
            self._loop.call_soon(self._next)
        if self._left <= 0 and n_bytes >= BULK_BYTES and reader.rest():
            self._resting.append(reader)

    def _next(self) -> None:
        self._left = TURN_BYTES
        for _ in range(min(self._at_once, len(self._resting))):
            self._resting.popleft().go_on()
        self._is_planned = bool(self._resting)
        if self._is_planned:
            self._loop.call_soon(self._next)
