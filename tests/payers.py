"""Who pays for work, where nobody is told to wait."""

from __future__ import annotations


class Purse:
    """Counts what it paid."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def spent(self, seconds: float) -> None:
        self.seconds += seconds

    def pause(self) -> float:
        return 0.0
