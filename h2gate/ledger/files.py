"""The table of whole files: statements and rows, run by `ledger.sqlite` in its one thread; what tenants have is counted
with it."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping

from h2gate.errors import Conflict
from h2gate.ledger import accounts
from h2gate.ledger.accounts import AccountOf
from h2gate.ledger.resumables import mapping
from h2gate.upload import Identity, Upload

log = logging.getLogger("h2gate.ledger")

_COLUMNS = "id, path, state, inode, size, modified_ns, sha256, fields, completed_at, version"
SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, path TEXT NOT NULL, folder TEXT NOT NULL, state TEXT NOT NULL,
    inode INTEGER NOT NULL, size INTEGER NOT NULL, modified_ns INTEGER NOT NULL, sha256 BLOB, fields TEXT NOT NULL,
    completed_at REAL NOT NULL, version INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS uploads_by_path ON uploads (path);
CREATE INDEX IF NOT EXISTS uploads_by_folder ON uploads (folder);
CREATE INDEX IF NOT EXISTS uploads_unfinished ON uploads (state) WHERE state != 'complete';
"""


def wrapped(number: int) -> int:
    """SQLite's integers are signed; inodes are not."""
    return (number + 2**63) % 2**64 - 2**63


def signed(identity: Identity) -> tuple[int, int, int]:
    """As it is in a row."""
    return wrapped(identity.inode), identity.size, wrapped(identity.modified_ns)


def _values(upload: Upload, version: int) -> tuple[object, ...]:
    folder = upload.path.rpartition("/")[0]
    fields = json.dumps(dict(upload.fields), separators=(",", ":")) if upload.fields else "{}"
    return (
        *(upload.path, folder, upload.state, *signed(upload.identity)),
        *(upload.sha256, fields, upload.completed_at, version, upload.id),
    )


def add(database: sqlite3.Connection, upload: Upload, account_of: AccountOf | None) -> None:
    """A file that is new. Raises `OverQuota`."""
    if account_of is not None:
        accounts.add(database, account_of(upload.path), upload)
    insert(database, upload)


def insert(database: sqlite3.Connection, upload: Upload) -> None:
    """The same, counted by whoever calls."""
    database.execute(
        "INSERT INTO uploads (path, folder, state, inode, size, modified_ns, sha256, fields, completed_at, version, id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        _values(upload, upload.version),
    )


def save(database: sqlite3.Connection, upload: Upload, account_of: AccountOf | None) -> None:
    """One that has changed. Raises `Conflict` where another change came between."""
    before = _record(database, upload.id) if account_of is not None else None
    done = database.execute(
        "UPDATE uploads SET path = ?, folder = ?, state = ?, inode = ?, size = ?, modified_ns = ?, sha256 = ?,"
        " fields = ?, completed_at = ?, version = ? WHERE id = ? AND version = ?",
        (*_values(upload, upload.version + 1), upload.version),
    )
    if done.rowcount != 1:
        raise Conflict("another request changed this file at the same time")
    if account_of is not None and before is not None:
        accounts.save(database, account_of(upload.path), before, upload)


def forget(database: sqlite3.Connection, values: tuple[str, int, float], account_of: AccountOf | None) -> None:
    """Those of a path and an inode that were complete before a time."""
    where = "uploads WHERE path = ? AND inode = ? AND completed_at < ?"
    if account_of is not None and (account := account_of(values[0])) is not None:
        sizes = [size for (size,) in database.execute(f"SELECT size FROM {where}", values)]  # noqa: S608
        accounts.forget(database, account, sizes)
    database.execute(f"DELETE FROM {where}", values)  # noqa: S608


def remove(database: sqlite3.Connection, upload_id: str, account_of: AccountOf | None) -> None:
    """One, if it is there."""
    if account_of is not None and (record := _record(database, upload_id)) is not None:
        accounts.remove(database, account_of(record.path), record)
    database.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))


def _record(database: sqlite3.Connection, upload_id: str) -> Upload | None:
    return next(iter(rows(database, "id = ?", (upload_id,))), None)


def rows(database: sqlite3.Connection, where: str, values: tuple[object, ...]) -> list[Upload]:
    """Those that a condition is true of; it is never made of what a peer says."""
    query = f"SELECT {_COLUMNS} FROM uploads WHERE {where}"  # noqa: S608 - `where` is ours, the values are bound
    return [
        Upload(
            id=row[0],
            path=row[1],
            state=row[2],
            identity=Identity(inode=row[3] % 2**64, size=row[4], modified_ns=row[5]),
            sha256=row[6],
            fields=_fields(row[0], row[7]),
            completed_at=row[8],
            version=row[9],
        )
        for row in database.execute(query, values)
    ]


def _fields(upload_id: str, text: str) -> Mapping[str, str]:
    """None, where they are damaged: they only describe the file."""
    try:
        return mapping(text)
    except ValueError:
        log.error("upload %s: the fields in its record cannot be read", upload_id)
        return {}
