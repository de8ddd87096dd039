"""The seam for the ledger: the records of uploads. What a method returned from is durable.

Everything raises `LedgerFailed` when the database does, or `StorageFull`; nothing has happened then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from h2gate.upload import Identity, Resumable, Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is counted together, and how much of it there may be; None is no limit.

    That of a folder counts the records of the files below it. That of a credential (a ticket) counts what was ever
    stored with it: nothing that is removed later is given back.
    """

    name: str
    """"/" and the folder, or else the credential's."""
    max_bytes: int | None = None
    max_files: int | None = None
    max_uploads: int | None = None
    """At once."""
    expires_at: float | None = None
    """When the account of a credential may be forgotten."""

    @property
    def is_folder(self) -> bool:
        return self.name.startswith("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What an upload in progress holds, so that nobody else can have it; in place of what it held before."""

    id: str
    """That of the record it will become."""
    accounts: tuple[Account, ...]
    n_bytes: int
    more_bytes: int = 0
    """So many beyond, as long as there is plenty."""
    ahead_bytes: int = 0
    """So many must be free now, but are not held."""
    n_files: int = 1
    holder: str = ""
    """The process that holds it; "" outlives every process."""
    counts: bool = False
    """As one of the uploads at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Of one account: what is stored, and what uploads in progress hold."""

    n_bytes: int = 0
    n_files: int = 0
    held_bytes: int = 0
    held_files: int = 0
    is_closed: bool = False
    """Revoked: nothing more can be claimed or stored."""
    issuer: str = ""
    """Who made the ticket."""
    expires_at: float | None = None


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

    async def resumables_below(self, owner: str, folder: str, *, limit: int) -> Sequence[Resumable]:
        """The same of all files below the folder at this path ("" is all), of those that changed last."""

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

    async def claim(self, claim: Claim) -> int:
        """Hold it, in all of its accounts or in none; returns how many bytes are held now.

        Raises `OverQuota`, `TooManyUploads`, and `Forbidden` where the account of a credential is used up or closed.
        What is held becomes a part of what is stored when the record with its id is added.
        """

    async def settle(self, upload_id: str, n_bytes: int) -> None:
        """What it holds is so many bytes from now on, whatever process goes on with it."""

    async def release(self, upload_id: str) -> None:
        """It holds nothing more."""

    async def usage(self, account: str) -> Usage:
        """Of the account with this name."""

    async def open(self, account: str, issuer: str, expires_at: float) -> None:
        """Remember the account of a ticket that was made, with nothing used."""

    async def shut(self, account: str, expires_at: float) -> None:
        """Close an account; it may be forgotten after a moment (seconds since the epoch), if none is known yet."""

    async def forget_accounts(self, before: float) -> None:
        """Forget the accounts of credentials that may be forgotten since."""

    async def holders(self) -> Sequence[str]:
        """The processes that hold something."""

    async def abandon(self, holder: str, sizes: Mapping[str, int]) -> None:
        """A process has ended: what it held is free. Uploads that can be gone on with hold their `sizes`."""

    async def recount(self, sizes: Mapping[str, int]) -> None:
        """After a crash, while nobody serves: count all records anew; `sizes` are those of the unfinished files."""

    async def folders(self, root: str) -> Sequence[str]:
        """The folders at and below `root` that records are in."""

    async def adopt(self, upload: Upload) -> None:
        """`add` the record of a file that is there already, whatever the limits."""

    async def since(self, root: str, after: str, *, limit: int) -> Sequence[Upload]:
        """Records below `root`, by path, those behind the path `after`."""

    async def close(self) -> None:
        """Finish what was begun and close the database."""
