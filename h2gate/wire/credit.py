"""How much each stream may have under way: a window that grows while the path needs it, out of one budget.

The rule is like Cloudflare's and gRPC's: if a stream got more than a quarter of its window through in one turnaround,
the window will soon be what holds it back, so it is doubled. A turnaround is the round trip, but at least what disk and
threads take.
"""

from __future__ import annotations

TURNAROUND_SECONDS = 0.002


class Budget:
    """Bytes that windows may grow by beyond their first size, shared by all connections of the process."""

    def __init__(self, n_bytes: int) -> None:
        self.left = n_bytes

    def take(self, n_bytes: int) -> bool:
        """Reserve `n_bytes`; False when they are not there."""
        if n_bytes > self.left:
            return False
        self.left -= n_bytes
        return True

    def give_back(self, n_bytes: int) -> None:
        self.left += n_bytes


class Window:
    """The window of one stream. `grown` is called with each credit and tells when to widen it."""

    __slots__ = ("_budget", "_bytes", "_first", "_max", "_since", "size")

    def __init__(self, first: int, largest: int, budget: Budget) -> None:
        self.size = first
        self._first = first
        self._max = largest
        self._budget = budget
        self._since = 0.0
        self._bytes = 0

    def grown(self, n_bytes: int, now: float, round_trip: float) -> bool:
        """Count `n_bytes` that were consumed at `now`; True if `size` was doubled. Times in seconds."""
        turnaround = max(round_trip, TURNAROUND_SECONDS)
        elapsed = now - self._since
        self._bytes += n_bytes
        pace: float = self._bytes
        """Bytes in one turnaround."""
        if elapsed > turnaround:
            pace *= turnaround / elapsed
            self._since, self._bytes = now, 0
        more = min(self.size, self._max - self.size)
        if pace * 4 <= self.size or more <= 0 or not self._budget.take(more):
            return False
        self._since, self._bytes = now, 0
        self.size += more
        return True

    def close(self) -> None:
        """Give back what it grew by. May be called twice."""
        self._budget.give_back(self.size - self._first)
        self.size = self._first
