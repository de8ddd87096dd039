"""Holding an upload that can be gone on with: when it is held, storage and ledger agree how far it is."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from h2gate.errors import CompletedUpload, GateError, Gone, NotFound, StorageFailed
from h2gate.ledger.base import Ledger
from h2gate.storage.base import Partial, Storage
from h2gate.transfer.lease import Lease, Leases
from h2gate.transfer.register import Register, over
from h2gate.upload import Resumable

log = logging.getLogger("h2gate.transfer")


class Holder:
    def __init__(
        self,
        storage: Storage,
        ledger: Ledger,
        register: Register,
        leases: Leases,
        fail: Callable[[Resumable, str], Awaitable[Resumable]],
    ) -> None:
        """`fail` ends an upload and removes what is left of it."""
        self._storage = storage
        self._ledger = ledger
        self._register = register
        self._leases = leases
        self._fail = fail

    @asynccontextmanager
    async def hold(self, upload_id: str, *, patient: bool = True) -> AsyncIterator[tuple[Lease, Resumable]]:
        """Hold it as `Leases.hold` does. Raises `CompletedUpload`, `Gone` too: also when it comes to that just now."""
        async with AsyncExitStack() as stack:
            try:
                lease = await stack.enter_async_context(self._leases.hold(upload_id, patient=patient))
            except NotFound:
                await self._settle_without_file(upload_id)
                raise
            except StorageFailed:
                await self._distrust(upload_id)
                raise
            yield lease, await self._agreed(upload_id, lease.partial)

    async def _agreed(self, upload_id: str, partial: Partial) -> Resumable:
        record = await self._register.open(upload_id)
        if record.state == "joining":
            return record
        kept = record.offset if partial.is_doubtful else record.verified
        if kept is not None and (partial.is_doubtful or partial.size > kept):
            await partial.cut(min(kept, partial.size))
        if partial.size < record.offset:
            raise await self._lost(record)
        if record.offset != partial.size or record.verified is not None:
            record = await self._register.mend(record, offset=partial.size, verified=None)
        return record

    async def _distrust(self, upload_id: str) -> None:
        """What an earlier process wrote could not be made durable, and the next sync may claim it was: write down that
        it is not to be counted, for whatever process comes next."""
        with suppress(GateError):
            record = await self._register.open(upload_id)
            if record.state == "receiving" and record.verified is None:
                await self._register.mend(record, verified=record.offset)

    async def _settle_without_file(self, upload_id: str) -> None:
        """The unfinished file is not there: it is shown by now, or lost. Raises `CompletedUpload`, `Gone`."""
        record = await self._register.open(upload_id)
        shown = await self._ledger.get(upload_id)
        if record.state == "completing" or shown is not None:
            await self._storage.confirm(record.path)
            await self._register.completed(record)
            raise CompletedUpload("the upload is complete", offset=record.offset)
        raise await self._lost(record)

    async def _lost(self, record: Resumable) -> Gone:
        log.error("upload %s: the storage has lost bytes that were acknowledged", record.id)
        return over(await self._fail(record, "the storage has lost bytes of it"))
