"""Uploads that nobody goes on with expire; what has ended is remembered for as long again, and then forgotten.

A concatenation that waits for its parts, and all of these, live for as long as one of them is being fed: whoever sends
them one after the other would else lose the first.
"""

from __future__ import annotations

import logging
import time

from h2gate.errors import CompletedUpload, Conflict, Gone, Locked, NotFound, StorageFailed
from h2gate.ledger.base import Ledger
from h2gate.storage.base import Storage
from h2gate.transfer.completing import Completion
from h2gate.transfer.joining import Holding
from h2gate.transfer.lease import Leases
from h2gate.transfer.register import Register
from h2gate.upload import Resumable

log = logging.getLogger("h2gate.transfer")

_LEAP_SECONDS = 30.0


class Steady:
    """The time of day without the leaps that the clock makes forward while this runs: what seems to be over because
    somebody set the clock is not. It stays so much behind; a clock that is set back makes all live longer anyway."""

    def __init__(self) -> None:
        self._leapt_seconds = 0.0
        self._drift = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch."""
        now = time.time()
        before, self._drift = self._drift, now - time.monotonic()
        if self._drift - before > _LEAP_SECONDS:
            log.warning("the clock has leapt %.0f s forward; nothing expires for that", self._drift - before)
            self._leapt_seconds += self._drift - before
        return now - self._leapt_seconds


class Expiry:
    def __init__(
        self,
        storage: Storage,
        ledger: Ledger,
        register: Register,
        leases: Leases,
        completion: Completion,
        holding: Holding,
    ) -> None:
        self._storage = storage
        self._ledger = ledger
        self._register = register
        self._leases = leases
        self._completion = completion
        self._holding = holding
        self._steady = Steady()

    async def expire(self, limit: int) -> int:
        """End uploads whose time is over and forget those that ended long ago; how many. To be called until that is 0;
        safe to interrupt."""
        return sum([await self._expire(each) for each in await self._ledger.outdated(self._steady.now(), limit=limit)])

    async def _expire(self, record: Resumable) -> bool:
        try:
            if record.is_open:
                async with self._holding(record.id, patient=False) as (_, held):
                    return held.expires_at < self._steady.now() and await self._end_unless_needed(held)
            if record.is_part and not record.is_over:
                return await self._end_unless_needed(record)
        except Locked:
            log.info("upload %s should have expired, but is being written", record.id)
            return False
        except (CompletedUpload, Conflict, Gone, NotFound):
            return True  # it came to something else meanwhile
        except StorageFailed as error:  # no reason to keep the others
            log.warning("upload %s should have expired: %s", record.id, error)
            return False
        await self._storage.drop(record.id)
        await self._ledger.drop(record)
        return True

    async def _end_unless_needed(self, record: Resumable) -> bool:
        until = await self._needed_until(record)
        if until > self._steady.now():
            await self._register.prolong(record, until)
            return False
        log.info("upload %s has expired at %d bytes", record.id, record.offset)
        await self._completion.end(record, "expired")
        return True

    async def _needed_until(self, record: Resumable) -> float:
        """By the concatenation that it is, or by those that wait for it as their part."""
        waiting = [record]
        if not record.parts:
            waiting = [each for each in await self._ledger.resumables_in(["joining"]) if record.id in each.parts]
        ids = {each for final in waiting for each in (final.id, *final.parts)} - {record.id}
        return max([await self._active_until(each) for each in ids], default=0.0)

    async def _active_until(self, upload_id: str) -> float:
        """When it would expire if nobody went on with it from now on."""
        found = await self._ledger.resumable(upload_id)
        if found is None or found.is_over:
            return 0.0
        is_held = found.is_open and found.expires_at < self._steady.now() and not await self._leases.is_free(upload_id)
        return time.time() + self._register.keep_seconds if is_held else found.expires_at
