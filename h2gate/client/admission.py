"""Who may open the next stream: first come, first served, as many as the peer allows (RFC 9113 section 5.1.2)."""

from __future__ import annotations

import asyncio
from collections import deque


class Admission:
    """`enter` before a stream is opened, `leave` when it is over. Nobody enters before the first `allow`."""

    def __init__(self) -> None:
        self.closed = False
        self.most = 0
        """Streams open at once so far, at most."""
        self._allowed = 0
        self._inside = 0
        """Streams that are open, and those promised to somebody who waited and has not run since."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> bool:
        """Wait for a free stream. False when there will never be one."""
        if not self.closed and (self._waiting or self._inside >= self._allowed):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.leave()
                raise
        elif not self.closed:
            self._inside += 1
        self.most = max(self.most, self._inside)
        return not self.closed

    def leave(self) -> None:
        self._inside -= 1
        self._admit()

    def allow(self, n_streams: int) -> None:
        """The peer's limit, which may also fall below what is open."""
        self._allowed = n_streams
        self._admit()

    def close(self) -> None:
        """No further stream will be opened: everybody who waits is told."""
        self.closed = True
        self._admit()

    def _admit(self) -> None:
        while self._waiting and (self.closed or self._inside < self._allowed):
            turn = self._waiting.popleft()
            if not turn.done():
                self._inside += 1
                turn.set_result(None)
