"""How long a file is worth trying: as long as it gets on, and so often without getting on."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

import httpx

from h2gate.client.asking import Asker
from h2gate.client.failures import from_httpx
from h2gate.client.listener import Item, Listener, Outcome
from h2gate.client.local import local_failure
from h2gate.errors import BadField, GateError, StorageFull
from h2gate.fields import parse_date

RETRIES = 8
FEW_RETRIES = 2
"""Of a gateway that was never there, or is full: waiting rarely helps, and somebody may be waiting for us."""
FIRST_SECONDS, LAST_SECONDS = 0.5, 30.0
"""Bounds of the pauses: the first is anything up to half a second, and each may be twice as long as the one before."""


class Move(Protocol):
    """One file that moves, over as many attempts as it takes."""

    item: Item
    on_sent: Callable[[], None] | None
    """To be called when all of a body has left and only the answer is waited for; perhaps more than once."""

    @property
    def at(self) -> int:
        """Bytes that need not move again."""

    async def attempt(self) -> Outcome:
        """Raises what failed; with `retry` another attempt makes sense."""

    async def close(self, outcome: Outcome | None) -> None:
        """It is done or given up, or (None) all is interrupted."""


class Once:
    """A move that always begins at its first byte."""

    at = 0
    on_sent: Callable[[], None] | None = None

    def __init__(self, item: Item, work: Callable[[Item], Awaitable[Outcome]]) -> None:
        self.item = item
        self._work = work

    async def attempt(self) -> Outcome:
        return await self._work(self.item)

    async def close(self, outcome: Outcome | None) -> None:
        pass


class Patience:
    """Attempts of moves, with pauses between them."""

    def __init__(self, asker: Asker, listener: Listener, retries: int = RETRIES) -> None:
        """`retries`: after so many in a row that did not get on it is given up."""
        self._asker = asker
        self._listener = listener
        self._retries = retries
        self.in_flight = 0
        """Files being moved now."""
        self.most_in_flight = 0

    async def see_through(self, move: Move) -> Outcome:
        """Attempt it until it is done or given up; what became of it."""
        start, outcome = time.monotonic(), None
        try:
            outcome = await self._attempts(move)
            return replace(outcome, seconds=time.monotonic() - start)
        finally:
            await move.close(outcome)

    async def _attempts(self, move: Move) -> Outcome:
        attempt, fruitless, at = 0, 0, move.at
        while True:
            attempt += 1
            outcome = await self._attempt(move)
            error = outcome.error
            fruitless = 0 if move.at > at else fruitless + 1
            at = max(at, move.at)
            if error is None or not error.retry or fruitless > self._limit(error):
                return replace(outcome, attempts=attempt)
            pause = pause_seconds(fruitless, error)
            self._listener.retried(move.item, error, pause)
            await asyncio.sleep(pause)

    def begin(self) -> None:
        """One more is being moved."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    async def _attempt(self, move: Move) -> Outcome:
        """The outcome of one attempt, whatever failed."""
        self.begin()
        try:
            return await move.attempt()
        except GateError as error:
            return Outcome(move.item, status=int(str(error.members.get("seen", 0))), error=error)
        except httpx.HTTPError as error:
            return Outcome(move.item, error=from_httpx(error))
        except OSError as error:
            return Outcome(move.item, error=local_failure(move.item.name, error))
        finally:
            self.in_flight -= 1

    def _limit(self, error: GateError) -> int:
        hopeless = not self._asker.was_answered or isinstance(error, StorageFull)
        return min(self._retries, FEW_RETRIES) if hopeless else self._retries


def pause_seconds(fruitless: int, error: GateError) -> float:
    """Before the next attempt: what the gateway asks for, if that is bearable, else anything up to a bound that doubles
    (full jitter), so that many who were cut off together do not come back together."""
    asked = _asked_seconds(str(error.members.get("retry_after", "")))
    if asked is not None:
        return min(asked, LAST_SECONDS)
    return random.uniform(0, min(LAST_SECONDS, FIRST_SECONDS * 2.0 ** max(0, fruitless - 1)))  # noqa: S311


def _asked_seconds(retry_after: str) -> float | None:
    """RFC 9110 section 10.2.3: seconds or a date."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        return max(0.0, parse_date(retry_after, "Retry-After") / 1e9 - time.time()) if retry_after else None
    except BadField:
        return None
