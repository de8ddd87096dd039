"""Whether a server that was asked in vain is to be asked again now: after some failures in a row it rests for a moment,
then one question finds out, and all others are told at once. So nobody waits in a queue for a server that is down.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_FAILURES = 3
"""In a row. One alone may be the fault of what was asked, and must not stop the others."""
_REST_SECONDS = 1.0


class Circuit:
    """For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._n_failures = 0
        self._rests_until = 0.0
        self._trying = False

    def may_ask(self) -> bool:
        """Whoever is told True asks, and says then whether it `worked` or `failed`, or that it was `given_up`."""
        if self._n_failures < _FAILURES:
            return True
        if self._trying or self._clock() < self._rests_until:
            return False
        self._trying = True
        return True

    def worked(self) -> None:
        """There was an answer that makes sense."""
        self._n_failures, self._trying = 0, False

    def failed(self) -> None:
        """There was none."""
        self._n_failures, self._trying = self._n_failures + 1, False
        self._rests_until = self._clock() + _REST_SECONDS

    def given_up(self) -> None:
        """It was not found out."""
        self._trying = False
