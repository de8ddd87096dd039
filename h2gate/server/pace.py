"""Whether a peer moves on: it must bring (or take) so many bytes a second, counted only while it is its turn."""

from __future__ import annotations


class Pace:
    """Looked at now and then with `keeps_up`. Times in seconds."""

    __slots__ = ("_bytes", "_rate", "_seconds", "_waited")

    def __init__(self, bytes_per_second: int, seconds: float) -> None:
        self._rate = bytes_per_second
        self._seconds = seconds
        self._waited = 0.0
        self._bytes = 0
        """The total when the waiting began to be counted."""

    def keeps_up(self, total_bytes: int, elapsed: float, *, its_turn: bool) -> bool:
        """`elapsed` after the last look `total_bytes` have moved in all. False when that is too few for too long."""
        if its_turn:
            self._waited += elapsed
        if not self._seconds or self._waited < self._seconds:
            return True
        enough = total_bytes - self._bytes >= max(1, self._rate * self._waited)
        self._waited, self._bytes = 0.0, total_bytes
        return enough
