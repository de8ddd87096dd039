"""Files that are older than their tenant keeps them are removed, by whichever worker does the upkeep.

Age counts from when the file was complete, or was last appended to. It goes by the time of day without its leaps
forward: nothing is removed because somebody set the clock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from h2gate.auth.tenants import Tenant
from h2gate.errors import Conflict, GateError, NotFound, PreconditionFailed
from h2gate.ledger.base import Ledger
from h2gate.transfer.expiring import Steady
from h2gate.transfer.file import File
from h2gate.transfer.folders import Folders
from h2gate.transfer.uploads import Uploads
from h2gate.upload import Upload

log = logging.getLogger("h2gate.transfer")

_LOOKED_AT_ONCE = 500
_LOOKS = 50
"""In the time that a file is kept: it may stay longer by a fiftieth of that."""


class Retention:
    def __init__(
        self,
        folders: Folders,
        uploads: Uploads,
        ledger: Ledger,
        removed: Callable[[Upload], None] | None = None,
    ) -> None:
        """`removed` hears of each file."""
        self._removed = removed
        self._folders = folders
        self._uploads = uploads
        self._ledger = ledger
        self._steady = Steady()
        self._looked_at: dict[str, float] = {}
        """By the monotonic clock."""

    async def run(self) -> int:
        """How many files were removed."""
        now = time.monotonic()
        n_removed = 0
        for tenant in self._folders.all:
            seconds = tenant.retention_seconds
            if seconds is not None and now - self._looked_at.get(tenant.name, -seconds) >= seconds / _LOOKS:
                n_removed += await self._look(tenant, seconds)
                self._looked_at[tenant.name] = now
        return n_removed

    async def _look(self, tenant: Tenant, seconds: float) -> int:
        after, n_removed = "", 0
        while records := await self._ledger.since(tenant.root, after, limit=_LOOKED_AT_ONCE):
            before = self._steady.now() - seconds
            n_removed += sum([await self._remove(each) for each in records if each.completed_at < before])
            after = records[-1].path
        return n_removed

    async def _remove(self, record: Upload) -> bool:
        def check(file: File | None) -> None:
            if file is None or file.upload is None or file.upload.id != record.id or file.upload.state != "complete":
                raise PreconditionFailed

        try:
            await self._uploads.remove(record.path, check)
        except (PreconditionFailed, NotFound, Conflict):
            return False  # it is another file by now, or is being appended to
        except GateError as error:
            log.warning("/%s is to be removed: %s", record.path, error)
            return False
        log.info("/%s was kept for as long as its tenant keeps files, and is removed", record.path)
        if self._removed is not None:
            self._removed(record)
        return True
