"""Whether uploads can be taken now: storage, ledger and whatever else must work is asked, in bounded time.

However many ask, each part is asked once a second at most, and one that does not answer is not asked again before it
does: a disk that hangs is not made to hold more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from h2gate.errors import GateError

ANSWER_SECONDS = 2.0
FRESH_SECONDS = 1.0


class Question:
    """One part that is asked."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[object]],
        clock: Callable[[], float] = time.monotonic,
        *,
        fresh_seconds: float = FRESH_SECONDS,
    ) -> None:
        """What was answered holds for `fresh_seconds`."""
        self._ask = ask
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._task: asyncio.Task[str] | None = None
        self._asked_at = 0.0

    async def fault(self) -> str:
        """What is wrong with it; "" is nothing."""
        now = self._clock()
        if self._task is None or (self._task.done() and now - self._asked_at >= self._fresh_seconds):
            self._asked_at = now
            self._task = asyncio.create_task(self._asked())
        done, _ = await asyncio.wait([self._task], timeout=ANSWER_SECONDS)
        return self._task.result() if done else "no answer"

    async def _asked(self) -> str:
        try:
            await self._ask()
        except GateError as error:
            return str(error)
        return ""

    async def close(self) -> None:
        """Nobody asks any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=ANSWER_SECONDS)


class Readiness:
    """To be closed before what it asks."""

    def __init__(
        self, parts: Mapping[str, Callable[[], Awaitable[object]]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`parts` return when they are ready, and raise what is in the way."""
        self._parts = {name: Question(ask, clock) for name, ask in parts.items()}

    async def faults(self) -> dict[str, str]:
        """Which parts are not ready, and why."""
        found = await asyncio.gather(*(each.fault() for each in self._parts.values()))
        return {name: fault for name, fault in zip(self._parts, found, strict=True) if fault}

    async def close(self) -> None:
        """Let go."""
        await asyncio.gather(*(each.close() for each in self._parts.values()))
