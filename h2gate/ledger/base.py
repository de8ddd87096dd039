"""The seam for the ledger: the records of uploads. What a method returned from is durable.

Everything raises `LedgerFailed` when the database does, or `StorageFull`; nothing has happened then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from h2gate.upload import Identity, Resumable, Upload


class Ledger(Protocol):
    async def add(self, upload: Upload) -> None:
        """Keep a new record. Records of the same path may stand beside it: the identity tells which one holds."""

    async def save(self, upload: Upload) -> Upload:
        """Replace the record with this id if its version is still `upload.version`; returns it with the next version.

        Raises `Conflict` when somebody else saved or removed it in between.
        """

    async def at(self, path: str, identity: Identity) -> Upload | None:
        """The record of the file at `path` with this identity, the one added last: clocks are set back. An "appending"
        record is matched by its inode alone."""

    async def under(self, folder: str) -> Sequence[Upload]:
        """The records of the files directly in a folder ("" is the root), in no order, outdated ones included."""

    async def get(self, upload_id: str) -> Upload | None:
        """The record with this id."""

    async def latest(self, limit: int) -> Sequence[Upload]:
        """The records that were added last, the last first."""

    async def in_state(self, state: str) -> Sequence[Upload]:
        """All records in a state."""

    async def forget(self, path: str, inode: int, *, before: float) -> None:
        """Remove the records of a file that is gone from `path`: those with its inode, completed before a moment
        (seconds since the epoch, taken while it was still there), since a new file may have the inode by now."""

    async def remove(self, upload_id: str) -> None:
        """Remove one record, if it is there."""

    async def begin(self, resumable: Resumable) -> None:
        """Keep a new resumable upload."""

    async def keep(self, resumable: Resumable, *, showing: Upload | None = None) -> Resumable:
        """Replace a resumable upload as `save` does an upload; in the same transaction, `add` the record `showing` of
        the file that it becomes (unless one with its id is there)."""

    async def resumable(self, upload_id: str) -> Resumable | None:
        """The resumable upload with this id. Raises `LedgerFailed` when its record is damaged; where several are asked
        for, such a one is left out."""

    async def resumables(self, owner: str, *, limit: int) -> Sequence[Resumable]:
        """An owner's resumable uploads, the last changed first."""

    async def resumables_at(self, owner: str, path: str) -> Sequence[Resumable]:
        """An owner's resumable uploads of the file at `path` that take bytes ("receiving"), the last changed first."""

    async def resumables_in(self, states: Sequence[str]) -> Sequence[Resumable]:
        """All resumable uploads in one of these states."""

    async def outdated(self, now: float, *, limit: int) -> Sequence[Resumable]:
        """Resumable uploads whose `expires_at` is past, in whatever state, the longest first."""

    async def counts(self) -> Mapping[str, int]:
        """How many resumable uploads there are in each state, complete ones aside: these may be ever so many."""

    async def check(self) -> None:
        """Whether records could be kept now; nothing is changed. Raises what is in the way."""

    async def drop(self, resumable: Resumable) -> None:
        """Remove a resumable upload, if it is there and still has this version."""

    async def close(self) -> None:
        """Finish what was begun and close the database."""
