"""The log cannot be flooded: of lines that say the same a few pass in ten seconds; the next one tells how many did not.

So a peer who causes a line with each of a million frames costs an operator a handful of lines.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LINES = 5
SECONDS = 10.0
_KINDS = 1000
"""So many kinds of lines are told apart."""


class Moderation(logging.Filter):
    """Lines are the same when they come from one logger and are made from one message, whatever it was filled with."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}
        """When the count began, and how many lines there were since."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind, now = (record.name, str(record.msg)), self._clock()
        since, n_lines = self._kinds.get(kind, (now, 0))
        left_out = max(0, n_lines - LINES)
        if now - since >= SECONDS:
            since, n_lines = now, 0
            if left_out:
                record.msg = f"{record.msg!s} [{left_out} more like this were left out]"
        if len(self._kinds) >= _KINDS:
            self._kinds.clear()
        self._kinds[kind] = since, n_lines + 1
        return n_lines < LINES


def configure() -> None:
    """The log of a gateway's process: standard error, moderated."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(Moderation())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
