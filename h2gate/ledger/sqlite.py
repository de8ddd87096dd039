"""The ledger in one SQLite file (WAL): what is asked in one turn of the loop shares one transaction and one sync.

One thread does everything, so SQLite never waits for SQLite within a process; other workers' locks are waited for.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from h2gate.errors import (
    Conflict,
    Exhausted,
    Forbidden,
    GateError,
    LedgerFailed,
    OverQuota,
    StorageFull,
    TooManyUploads,
)
from h2gate.lane import Lane
from h2gate.ledger import accounts, files, resumables
from h2gate.ledger.accounting import Accounting, Job
from h2gate.ledger.accounts import AccountOf
from h2gate.upload import Identity, Resumable, Upload

log = logging.getLogger("h2gate.ledger")

_LOCK_WAIT_SECONDS = 10.0
_OF_ALL_JOBS = (
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM),
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
)
"""Errors that each job of a batch would meet again by itself."""
_OF_ONE_JOB = (Conflict, LedgerFailed, OverQuota, TooManyUploads, Forbidden)
"""Raised by a job before it has changed anything."""


class SqliteLedger(Accounting):
    """See `ledger.base.Ledger`."""

    def __init__(self, file: Path, *, durable: bool = True, account_of: AccountOf | None = None) -> None:
        """`account_of`: whether, and in which accounts, records are counted."""
        self._database = _open(file, durable=durable)
        super().__init__(Lane("h2gate-ledger", self._work), account_of)

    def _work(self, jobs: list[tuple[Job, bool]]) -> list[Any]:
        """One transaction for the batch. A job that raises `Conflict` changed nothing; the others stand. While nobody
        may write, those that read go on; what one job alone runs into is no other's trouble."""
        failure = self._begun() if any(writes for _, writes in jobs) else None
        if failure is None:
            try:
                return self._done(jobs)
            except (sqlite3.Error, MemoryError) as error:
                self._roll_back()
                failure = _translated(error)
                if len(jobs) > 1 and not isinstance(error, MemoryError) and _code(error) not in _OF_ALL_JOBS:
                    return [self._work([each])[0] for each in jobs]
        return [failure if writes else _outcome(job, writes, self._database) for job, writes in jobs]

    def _begun(self) -> GateError | None:
        """Begin a transaction; what is in the way of that."""
        try:
            if self._database.in_transaction:  # the last could not even be rolled back
                self._database.execute("ROLLBACK")
            self._database.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            return _translated(error)
        return None

    def _done(self, jobs: list[tuple[Job, bool]]) -> list[Any]:
        database = self._database
        is_in_transaction = database.in_transaction
        results = []
        for job, writes in jobs:
            results.append(_outcome(job, writes, database))
            if is_in_transaction and not database.in_transaction:  # the next would be a transaction of its own
                raise sqlite3.OperationalError("the transaction was rolled back")
        if is_in_transaction:
            database.execute("COMMIT")
        return results

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")

    async def add(self, upload: Upload) -> None:
        await self._lane.submit((partial(files.add, upload=upload, account_of=self._account_of), True))

    async def save(self, upload: Upload) -> Upload:
        await self._lane.submit((partial(files.save, upload=upload, account_of=self._account_of), True))
        return replace(upload, version=upload.version + 1)

    async def at(self, path: str, identity: Identity) -> Upload | None:
        where = "path = ? AND inode = ? AND (state = 'appending' OR (size = ? AND modified_ns = ?)) ORDER BY rowid DESC"
        found = await self._select(where, path, *files.signed(identity))
        return next(iter(found), None)  # by no clock: these are set back

    async def under(self, folder: str) -> Sequence[Upload]:
        return await self._select("folder = ? ORDER BY rowid", folder)

    async def get(self, upload_id: str) -> Upload | None:
        return next(iter(await self._select("id = ?", upload_id)), None)

    async def latest(self, limit: int) -> Sequence[Upload]:
        return await self._select("TRUE ORDER BY rowid DESC LIMIT ?", limit)

    async def in_state(self, state: str) -> Sequence[Upload]:
        return await self._select("state = ?", state)

    async def forget(self, path: str, inode: int, *, before: float) -> None:
        values = (path, files.wrapped(inode), before)
        await self._lane.submit((partial(files.forget, values=values, account_of=self._account_of), True))

    async def remove(self, upload_id: str) -> None:
        await self._lane.submit((partial(files.remove, upload_id=upload_id, account_of=self._account_of), True))

    async def begin(self, resumable: Resumable) -> None:
        await self._lane.submit((partial(resumables.begin, resumable=resumable), True))

    async def keep(self, resumable: Resumable, *, showing: Upload | None = None) -> Resumable:
        account_of = self._account_of

        def job(database: sqlite3.Connection) -> None:
            if showing is not None and account_of is not None:
                accounts.check(database, account_of(showing.path), showing)
            resumables.keep(database, resumable)
            if showing is not None:
                files.remove(database, showing.id, account_of)
                files.add(database, showing, account_of)
            if account_of is not None and not resumable.is_open and not (resumable.is_part and not resumable.is_over):
                accounts.release(database, *_keys(resumable.id))

        await self._lane.submit((job, True))
        return replace(resumable, version=resumable.version + 1)

    async def resumable(self, upload_id: str) -> Resumable | None:
        job = partial(resumables.row, upload_id=upload_id)
        found: Resumable | None = await self._lane.submit((job, False))
        return found

    async def resumables(self, owner: str, *, limit: int) -> Sequence[Resumable]:
        return await self._resumables("owner = ? ORDER BY changed_at DESC LIMIT ?", owner, limit)

    async def resumables_at(self, owner: str, path: str) -> Sequence[Resumable]:
        where = "path = ? AND owner = ? AND state = 'receiving' ORDER BY changed_at DESC"
        return await self._resumables(where, path, owner)

    async def resumables_below(self, owner: str, folder: str, *, limit: int) -> Sequence[Resumable]:
        where = "path >= ? AND path < ? AND owner = ? AND state = 'receiving' ORDER BY changed_at DESC LIMIT ?"
        first, behind = (f"{folder}/", f"{folder}0") if folder else ("", chr(sys.maxunicode))  # "0" follows "/"
        return await self._resumables(where, first, behind, owner, limit)

    async def resumables_in(self, states: Sequence[str]) -> Sequence[Resumable]:
        wanted = ", ".join("?" for _ in states)
        return await self._resumables(f"state != 'complete' AND state IN ({wanted})", *states)

    async def outdated(self, now: float, *, limit: int) -> Sequence[Resumable]:
        return await self._resumables("expires_at < ? ORDER BY expires_at LIMIT ?", now, limit)

    async def counts(self) -> Mapping[str, int]:
        found: Mapping[str, int] = await self._lane.submit((resumables.counts, False))
        return found

    async def check(self) -> None:
        await self._lane.submit((lambda _: None, True))  # the transaction around it is what may fail

    async def drop(self, resumable: Resumable) -> None:
        def job(database: sqlite3.Connection) -> None:
            resumables.drop(database, resumable)
            if self._account_of is not None and resumables.row(database, resumable.id) is None:
                accounts.release(database, *_keys(resumable.id))

        await self._lane.submit((job, True))

    async def folders(self, root: str) -> Sequence[str]:
        query = "SELECT DISTINCT folder FROM uploads WHERE folder = ? OR (folder >= ? AND folder < ?)"
        return await self._texts(query, root, *_below(root))

    async def adopt(self, upload: Upload) -> None:
        def job(database: sqlite3.Connection) -> None:
            files.insert(database, upload)
            account = self._account_of(upload.path) if self._account_of is not None else None
            accounts.adopt(database, account, upload)

        await self._lane.submit((job, True))

    async def since(self, root: str, after: str, *, limit: int) -> Sequence[Upload]:
        start, stop = _below(root)
        return await self._select("path > ? AND path < ? ORDER BY path LIMIT ?", max(after, start), stop, limit)

    async def _resumables(self, where: str, *values: object) -> list[Resumable]:
        found: list[Resumable] = await self._lane.submit((partial(resumables.rows, where=where, values=values), False))
        return found

    async def close(self) -> None:
        await self._lane.close()
        self._database.close()

    async def _select(self, where: str, *values: object) -> list[Upload]:
        found: list[Upload] = await self._lane.submit((partial(files.rows, where=where, values=values), False))
        return found


def _open(file: Path, *, durable: bool) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(file, timeout=_LOCK_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        database.executescript(files.SCHEMA + resumables.SCHEMA + accounts.SCHEMA)
    except sqlite3.Error as error:
        raise LedgerFailed(f"{file}: {error}") from error
    return database


def _code(error: Exception) -> int:
    """SQLite's primary result code."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _translated(error: Exception) -> GateError:
    if isinstance(error, MemoryError) or _code(error) == sqlite3.SQLITE_NOMEM:
        return Exhausted("no memory left for the ledger")
    if _code(error) == sqlite3.SQLITE_FULL:
        return StorageFull("no space left for the ledger")
    return LedgerFailed(f"the ledger: {error}")


def _outcome(job: Job, writes: bool, database: sqlite3.Connection) -> Any:
    try:
        return job(database)
    except _OF_ONE_JOB as error:
        return error
    except (sqlite3.Error, MemoryError) as error:
        if writes:
            raise
        return _translated(error)


def _keys(upload_id: str) -> tuple[str, str]:
    """Under which a resumable upload may hold something: what came, and what it decodes to."""
    return upload_id, f"{upload_id}.decoded"


def _below(folder: str) -> tuple[str, str]:
    """The paths below a folder come behind the first and before the second."""
    return (f"{folder}/", f"{folder}0") if folder else ("", "\U0010ffff")
