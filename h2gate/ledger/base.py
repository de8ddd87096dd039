"""The seam for the ledger: the records of uploads. What a method returned from is durable.

Everything raises `LedgerFailed` when the database does, or `StorageFull`; nothing has happened then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from h2gate.upload import Identity, Upload


class Ledger(Protocol):
    async def add(self, upload: Upload) -> None:
        """Keep a new record. Records of the same path may stand beside it: the identity tells which one holds."""

    async def save(self, upload: Upload) -> Upload:
        """Replace the record with this id if its version is still `upload.version`; returns it with the next version.

        Raises `Conflict` when somebody else saved or removed it in between.
        """

    async def at(self, path: str, identity: Identity) -> Upload | None:
        """The record of the file at `path` with this identity. An "appending" record is matched by its inode alone."""

    async def under(self, folder: str) -> Sequence[Upload]:
        """The records of the files directly in a folder ("" is the root), in no order, outdated ones included."""

    async def get(self, upload_id: str) -> Upload | None:
        """The record with this id."""

    async def in_state(self, state: str) -> Sequence[Upload]:
        """All records in a state."""

    async def forget(self, path: str, inode: int, *, before: float) -> None:
        """Remove the records of a file that is gone from `path`: those with its inode, completed before a moment
        (seconds since the epoch, taken while it was still there), since a new file may have the inode by now."""

    async def remove(self, upload_id: str) -> None:
        """Remove one record, if it is there."""

    async def close(self) -> None:
        """Finish what was begun and close the database."""
