"""Concatenations (tus 1.0.0): made of their parts when the last of these is whole, whoever asked and is still there;
over as soon as one of them is.

The parts are read once and written behind each other, hashed on the way; the first part's SHA-256 is gone on with, so
its bytes are not hashed again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol

from h2gate.codec.sha256 import Sha256
from h2gate.config import Settings
from h2gate.errors import CompletedUpload, GateError, Gone, Locked, NotFound, Superseded, TooLarge
from h2gate.ledger.base import Ledger
from h2gate.transfer.appending import check_size
from h2gate.transfer.completing import Completion
from h2gate.transfer.lease import Lease
from h2gate.transfer.quotas import Quotas
from h2gate.transfer.register import Register
from h2gate.upload import Resumable

log = logging.getLogger("h2gate.transfer")


class Holding(Protocol):
    """`Holder.hold`."""

    def __call__(
        self, upload_id: str, *, patient: bool = True
    ) -> AbstractAsyncContextManager[tuple[Lease, Resumable]]: ...


class Joining:
    def __init__(
        self,
        ledger: Ledger,
        register: Register,
        completion: Completion,
        holding: Holding,
        quotas: Quotas,
        settings: Settings,
    ) -> None:
        self._ledger = ledger
        self._register = register
        self._completion = completion
        self._holding = holding
        self._quotas = quotas
        self._settings = settings
        self._digest = settings.digest
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._looks: set[asyncio.Task[None]] = set()
        register.listen(self._heard)

    def _heard(self, record: Resumable) -> None:
        """A part that is whole or over is no longer waited for."""
        if record.is_part and not record.is_open:
            look = asyncio.create_task(self._part_is_settled(record.id))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)
            look.add_done_callback(_log_failure)

    async def _part_is_settled(self, part_id: str) -> None:
        for record in await self._ledger.resumables_in(["joining"]):
            if part_id in record.parts:
                await self._begin_if_settled(record)

    async def join_if_settled(self, upload_id: str) -> None:
        """Join the parts if all are whole, or fail if one is gone; it is done to its end whether this is cancelled or
        not."""
        record = await self._register.known(upload_id)
        if (task := await self._begin_if_settled(record)) is not None:
            await asyncio.shield(task)

    async def _begin_if_settled(self, record: Resumable) -> asyncio.Task[None] | None:
        parts = [await self._ledger.resumable(each) for each in record.parts]
        is_gone = any(each is None or each.is_over for each in parts)
        if not is_gone and any(each is not None and each.is_open for each in parts):
            return None
        if record.id not in self._tasks:
            task = asyncio.create_task(self._join(record.id))
            self._tasks[record.id] = task
            task.add_done_callback(lambda _: self._tasks.pop(record.id))
            task.add_done_callback(_log_failure)
        return self._tasks[record.id]

    async def _join(self, upload_id: str) -> None:
        try:
            async with self._holding(upload_id, patient=False) as (lease, record):
                if record.state == "joining":
                    await self._write(lease, record)
        except (CompletedUpload, Gone, Locked, Superseded):
            log.info("concatenation %s is another's by now", upload_id)

    async def _write(self, lease: Lease, record: Resumable) -> None:
        partial = lease.partial
        await partial.cut(0)  # a crash may have left the beginning of it
        parts = [await self._ledger.resumable(each) for each in record.parts]
        try:
            hasher = await self._copy(lease, record, parts)
        except (NotFound, TooLarge) as error:
            log.warning("concatenation %s: %s", record.id, error)
            await self._completion.fail(record, str(error))
            return
        except BaseException:
            with suppress(GateError):
                await partial.cut(0)  # it is tried again, and others may need the room meanwhile
                await self._quotas.leave(record.id, 0)
            raise
        await self._completion.complete(partial, record, hasher, {})

    async def _copy(self, lease: Lease, record: Resumable, parts: Sequence[Resumable | None]) -> Sha256 | None:
        """Write all parts behind each other; the running SHA-256 of them. Raises `NotFound`, `TooLarge`,
        `OverQuota`."""
        n_bytes = sum(each.length or 0 for each in parts if each is not None)
        check_size(self._settings, n_bytes)
        await self._quotas.hold(record, n_bytes)
        whole = [each for each in parts if each is not None and each.state == "complete"]
        if len(whole) < len(parts):
            raise NotFound("a part is gone")
        hasher = _resumed(whole[0]) if self._digest else None
        if hasher is not None:
            await self._append(lease, whole[:1], None)
            await self._append(lease, whole[1:], hasher)
        else:
            hasher = Sha256() if self._digest else None
            await self._append(lease, whole, hasher)
        return hasher

    async def _append(self, lease: Lease, parts: Sequence[Resumable], hasher: Sha256 | None) -> None:
        partial = lease.partial
        partial.begin([hasher] if hasher is not None else [])
        await lease.unless_asked(lambda: partial.join([each.id for each in parts]))
        await partial.finish()

    async def close(self) -> None:
        """End what runs; it will be begun anew after the next start."""
        tasks = [*self._looks, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _resumed(part: Resumable) -> Sha256 | None:
    return Sha256.restored(part.hash_state) if part.hash_state is not None else None


def _log_failure(task: asyncio.Task[None]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    if isinstance(error, GateError):
        log.warning("concatenation: %s", error)
    else:
        log.error("concatenation", exc_info=error)
