"""The tables of what is used and held, per folder and per credential: statements, run by `ledger.sqlite` in the very
transactions that add and remove records. So an account is never told apart from what it counts, whatever is killed.

An upload in progress holds what it may become; adding its record turns that into use. What a folder uses is the sum of
the records below it. The sums of what is held are kept by triggers, so that no statement can forget them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import TypeAlias

from h2gate.errors import Forbidden, OverQuota, TooManyUploads
from h2gate.ledger.base import Account, Claim, Usage
from h2gate.upload import OPEN_STATES, Upload

AccountOf: TypeAlias = Callable[[str], Account | None]
"""The account of the folder that a path is below."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
    name TEXT PRIMARY KEY, bytes INTEGER NOT NULL DEFAULT 0, files INTEGER NOT NULL DEFAULT 0,
    held_bytes INTEGER NOT NULL DEFAULT 0, held_files INTEGER NOT NULL DEFAULT 0,
    closed INTEGER NOT NULL DEFAULT 0, issuer TEXT NOT NULL DEFAULT '', expires_at REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holds (
    id TEXT NOT NULL, account TEXT NOT NULL, bytes INTEGER NOT NULL, files INTEGER NOT NULL,
    spent INTEGER, holder TEXT NOT NULL, counts INTEGER NOT NULL, PRIMARY KEY (id, account)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS holds_at_once ON holds (account) WHERE counts;
CREATE INDEX IF NOT EXISTS holds_of_processes ON holds (holder) WHERE holder != '';
CREATE TRIGGER IF NOT EXISTS hold_added AFTER INSERT ON holds BEGIN
    INSERT INTO accounts (name, held_bytes, held_files) VALUES (NEW.account, NEW.bytes, NEW.files)
    ON CONFLICT (name) DO UPDATE SET held_bytes = held_bytes + NEW.bytes, held_files = held_files + NEW.files;
END;
CREATE TRIGGER IF NOT EXISTS hold_changed AFTER UPDATE ON holds BEGIN
    UPDATE accounts SET held_bytes = held_bytes + NEW.bytes - OLD.bytes, held_files = held_files + NEW.files - OLD.files
    WHERE name = NEW.account;
END;
CREATE TRIGGER IF NOT EXISTS hold_removed AFTER DELETE ON holds BEGIN
    UPDATE accounts SET held_bytes = held_bytes - OLD.bytes, held_files = held_files - OLD.files
    WHERE name = OLD.account;
END;
"""
_FINE = 64
"""A step is no more than this part of what is left: near the limit nobody holds what another could use."""


def usage(database: sqlite3.Connection, name: str) -> Usage:
    """What there is of an account."""
    query = "SELECT bytes, files, held_bytes, held_files, closed, issuer, expires_at FROM accounts WHERE name = ?"
    row = database.execute(query, (name,)).fetchone()
    if row is None:
        return Usage()
    return Usage(
        n_bytes=row[0],
        n_files=row[1],
        held_bytes=row[2],
        held_files=row[3],
        is_closed=bool(row[4]),
        issuer=row[5],
        expires_at=row[6],
    )


def claim(database: sqlite3.Connection, claim: Claim) -> int:
    """See `Ledger.claim`: everything is looked at before anything is changed."""
    granted = claim.n_bytes + claim.more_bytes
    for account in claim.accounts:
        granted = min(granted, _granted(database, account, claim))
    for account in claim.accounts:
        database.execute(
            "INSERT INTO holds (id, account, bytes, files, holder, counts) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO"
            " UPDATE SET bytes = excluded.bytes, files = excluded.files, holder = excluded.holder,"
            " counts = excluded.counts, spent = NULL",
            (claim.id, account.name, granted, claim.n_files, claim.holder, claim.counts),
        )
        if account.expires_at is not None:
            values = (account.expires_at, account.name)
            database.execute("UPDATE accounts SET expires_at = ? WHERE name = ? AND expires_at IS NULL", values)
    return granted


def _granted(database: sqlite3.Connection, account: Account, claim: Claim) -> int:
    query = "SELECT bytes, files, counts FROM holds WHERE id = ? AND account = ?"
    own_bytes, own_files, counted = database.execute(query, (claim.id, account.name)).fetchone() or (0, 0, 0)
    if claim.counts and not counted:
        _check_at_once(database, account)
    used = usage(database, account.name)
    least = max(claim.n_bytes, claim.ahead_bytes)
    _check(account, used, least - own_bytes, claim.n_files - own_files)
    if account.max_bytes is None:
        return claim.n_bytes + claim.more_bytes
    left = account.max_bytes - used.n_bytes - used.held_bytes + own_bytes - claim.n_bytes
    return claim.n_bytes + max(0, min(claim.more_bytes, left // _FINE))


def _check_at_once(database: sqlite3.Connection, account: Account) -> None:
    query = "SELECT COUNT(*) FROM holds WHERE account = ? AND counts"
    if (
        account.max_uploads is not None
        and database.execute(query, (account.name,)).fetchone()[0] >= account.max_uploads
    ):
        raise TooManyUploads(
            f"{account.max_uploads} uploads at once are the limit here", max_uploads=account.max_uploads
        )


def _check(account: Account, used: Usage, n_bytes: int, n_files: int) -> None:
    """Raises where so many more are too many. Who asks for no more is not refused, whatever the limit has become."""
    if used.is_closed:
        raise Forbidden("this credential was revoked")
    left_bytes = left_files = None
    if account.max_bytes is not None:
        left_bytes = max(0, account.max_bytes - used.n_bytes - used.held_bytes)
    if account.max_files is not None:
        left_files = max(0, account.max_files - used.n_files - used.held_files)
    if left_files is not None and 0 < n_files > left_files:
        if not account.is_folder:
            raise Forbidden("this credential is used up")
        raise OverQuota(f"no more than {account.max_files} files", left={"bytes": left_bytes, "files": left_files})
    if left_bytes is not None and 0 < n_bytes > left_bytes:
        detail = f"{left_bytes} of {account.max_bytes} bytes are left"
        raise OverQuota(detail, left={"bytes": left_bytes, "files": left_files})


def settle(database: sqlite3.Connection, upload_id: str, n_bytes: int) -> None:
    """See `Ledger.settle`. What was spent is held no more."""
    values = (n_bytes, upload_id)
    database.execute("UPDATE holds SET bytes = ?, holder = '', counts = 0 WHERE id = ? AND spent IS NULL", values)
    database.execute("UPDATE holds SET holder = '', counts = 0 WHERE id = ? AND spent IS NOT NULL", (upload_id,))


def release(database: sqlite3.Connection, *upload_ids: str) -> None:
    """They hold nothing more."""
    for each in upload_ids:
        database.execute("DELETE FROM holds WHERE id = ?", (each,))


def check(database: sqlite3.Connection, account: Account | None, upload: Upload) -> None:
    """Whether a record may be added. What was not claimed before is looked at here; a file that was there already
    ("appending") is one in any case. Raises as a claim does."""
    held = [name for (name,) in database.execute("SELECT account FROM holds WHERE id = ?", (upload.id,))]
    for name in held:
        if not name.startswith("/") and usage(database, name).is_closed:
            raise Forbidden("this credential was revoked")
    if account is not None and upload.state == "complete" and account.name not in held:
        _check(account, usage(database, account.name), upload.identity.size, 1)


def add(database: sqlite3.Connection, account: Account | None, upload: Upload) -> None:
    """A record is about to be added: what it holds is used now. Raises as `check` does."""
    check(database, account, upload)
    size = upload.identity.size
    names = [account.name] if account is not None else []
    query = "SELECT account FROM holds WHERE id = ? AND account NOT LIKE '/%'"
    for name in (*names, *(name for (name,) in database.execute(query, (upload.id,)).fetchall())):
        _charge(database, name, size, 1)
    database.execute("DELETE FROM holds WHERE id = ? AND holder != '' AND account LIKE '/%'", (upload.id,))
    database.execute("UPDATE holds SET spent = ?, bytes = 0, files = 0 WHERE id = ?", (size, upload.id))


def adopt(database: sqlite3.Connection, account: Account | None, upload: Upload) -> None:
    """The record of a file that was there already was added."""
    if account is not None:
        _charge(database, account.name, upload.identity.size, 1)


def _charge(database: sqlite3.Connection, name: str, n_bytes: int, n_files: int) -> None:
    database.execute(
        "INSERT INTO accounts (name, bytes, files) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
        " bytes = bytes + excluded.bytes, files = files + excluded.files",
        (name, n_bytes, n_files),
    )


def save(database: sqlite3.Connection, account: Account | None, before: Upload, upload: Upload) -> None:
    """A record has got another size; what was held for that is over with the end of the append."""
    more = upload.identity.size - before.identity.size
    names = [account.name] if account is not None else []
    if before.state == "appending" and upload.state == "complete":
        query = "SELECT account FROM holds WHERE id = ? AND account NOT LIKE '/%'"
        names += [name for (name,) in database.execute(query, (upload.id,))]
        release(database, upload.id)
    for name in names if more else ():
        _charge(database, name, more, 0)


def remove(database: sqlite3.Connection, account: Account | None, upload: Upload) -> None:
    """A record was removed since its file was not shown: an upload that is still in progress holds that again."""
    size = upload.identity.size
    if account is not None:
        _charge(database, account.name, -size, -1)
    query = "SELECT account FROM holds WHERE id = ? AND spent IS NOT NULL AND account NOT LIKE '/%'"
    for (name,) in database.execute(query, (upload.id,)).fetchall():
        _charge(database, name, -size, -1)
    values = (upload.id,)
    database.execute(
        "UPDATE holds SET bytes = spent, files = 1, spent = NULL WHERE id = ? AND spent IS NOT NULL", values
    )


def forget(database: sqlite3.Connection, account: Account | None, sizes: list[int]) -> None:
    """The records of files that are gone were removed."""
    if account is not None and sizes:
        _charge(database, account.name, -sum(sizes), -len(sizes))


def open_(database: sqlite3.Connection, name: str, issuer: str, expires_at: float) -> None:
    """See `Ledger.open`."""
    values = (name, issuer, expires_at)
    database.execute("INSERT OR IGNORE INTO accounts (name, issuer, expires_at) VALUES (?, ?, ?)", values)


def shut(database: sqlite3.Connection, name: str, expires_at: float) -> None:
    """See `Ledger.shut`."""
    database.execute(
        "INSERT INTO accounts (name, closed, expires_at) VALUES (?, 1, ?) ON CONFLICT (name) DO UPDATE SET closed = 1,"
        " expires_at = COALESCE(expires_at, excluded.expires_at)",
        (name, expires_at),
    )


def forget_accounts(database: sqlite3.Connection, before: float) -> None:
    """See `Ledger.forget_accounts`."""
    database.execute("DELETE FROM accounts WHERE expires_at < ? AND held_files = 0 AND held_bytes = 0", (before,))


def abandon(database: sqlite3.Connection, holder: str, sizes: Mapping[str, int]) -> None:
    """See `Ledger.abandon`."""
    held = database.execute("SELECT DISTINCT id FROM holds WHERE holder = ?", (holder,)).fetchall()
    for (upload_id,) in held:
        if database.execute("SELECT 1 FROM resumables WHERE id = ?", (upload_id,)).fetchone() is not None:
            settle(database, upload_id, sizes.get(upload_id, 0))
        else:
            release(database, upload_id)


def recount(database: sqlite3.Connection, account_of: AccountOf | None, sizes: Mapping[str, int]) -> None:
    """See `Ledger.recount`."""
    unfinished = _unfinished(database)
    for (upload_id,) in database.execute("SELECT DISTINCT id FROM holds").fetchall():
        if upload_id not in unfinished:
            release(database, upload_id)
    for upload_id, path in unfinished.items():
        account = account_of(path) if path and account_of is not None else None
        _hold_anew(database, upload_id, path, account, sizes.get(upload_id, 0))
    database.execute("DELETE FROM accounts WHERE name LIKE '/%'")
    if account_of is not None:
        _charge_all(database, account_of)
    database.execute("INSERT OR IGNORE INTO accounts (name) SELECT DISTINCT account FROM holds")
    database.execute(
        "UPDATE accounts SET held_bytes = (SELECT COALESCE(SUM(bytes), 0) FROM holds WHERE account = name),"
        " held_files = (SELECT COALESCE(SUM(files), 0) FROM holds WHERE account = name)"
    )


def _charge_all(database: sqlite3.Connection, account_of: AccountOf) -> None:
    sums: dict[str, list[int]] = {}
    for path, size in database.execute("SELECT path, size FROM uploads"):
        if (account := account_of(path)) is not None:
            found = sums.setdefault(account.name, [0, 0])
            found[0] += size
            found[1] += 1
    for name, (n_bytes, n_files) in sums.items():
        _charge(database, name, n_bytes, n_files)


def _unfinished(database: sqlite3.Connection) -> dict[str, str]:
    """The paths of uploads that have bytes which no record counts, by id; "" of a part."""
    marks = ", ".join("?" for _ in OPEN_STATES)
    query = f"SELECT id, path FROM resumables WHERE state IN ({marks}) OR (state = 'complete' AND path = '')"  # noqa: S608
    return dict(database.execute(query, OPEN_STATES).fetchall())


def _hold_anew(database: sqlite3.Connection, upload_id: str, path: str, account: Account | None, size: int) -> None:
    """In the account of its folder as it is now; in others (of a ticket, or that of a part) as it was."""
    spent = None
    if database.execute("SELECT 1 FROM uploads WHERE id = ?", (upload_id,)).fetchone() is not None:
        spent, size = size, 0
    n_files = int(bool(path) and spent is None)
    if path:
        database.execute("DELETE FROM holds WHERE id = ? AND account LIKE '/%'", (upload_id,))
    values = (size, n_files, spent, upload_id)
    database.execute("UPDATE holds SET bytes = ?, files = ?, spent = ?, holder = '', counts = 0 WHERE id = ?", values)
    if account is not None:
        database.execute(
            "INSERT INTO holds (id, account, bytes, files, spent, holder, counts) VALUES (?, ?, ?, ?, ?, '', 0)",
            (upload_id, account.name, size, n_files, spent),
        )
