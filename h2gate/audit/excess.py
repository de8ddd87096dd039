"""What is refused or fails can be made to happen without end, for nothing: few such lines pass, the others are counted.

Of each address ten pass in ten seconds, of all together two hundred: then one line says how many did not.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from h2gate.audit.event import Event

SECONDS = 10.0
LINES_OF_ONE = 10
LINES = 200


class Excess:
    """Which events pass."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._passed: Counter[str] = Counter()
        self._left_out: Counter[tuple[str, str]] = Counter()

    def passes(self, event: Event) -> bool:
        """Whether there is to be a line for it; if not, it is counted."""
        now = self._clock()
        if now - self._since >= SECONDS:
            self._since = now
            self._passed.clear()
        if self._passed[event.peer] < LINES_OF_ONE and self._passed.total() < LINES:
            self._passed[event.peer] += 1
            return True
        if not self._passed[event.peer]:
            del self._passed[event.peer]  # one of ever so many
        self._left_out[event.event, event.code] += 1
        return False

    @property
    def any_left_out(self) -> bool:
        """There is something that `left_out` has to tell."""
        return bool(self._left_out)

    def left_out(self) -> list[Event]:
        """A line for each kind that had none, since this was asked last."""
        found = [
            Event(event="omit", detail=event, code=code, count=count)
            for (event, code), count in sorted(self._left_out.items())
        ]
        self._left_out.clear()
        return found
