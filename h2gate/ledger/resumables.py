"""The table of resumable uploads: statements and rows, run by `ledger.sqlite` in its one thread."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping, Sequence

from h2gate.errors import Conflict, LedgerFailed
from h2gate.upload import Resumable

log = logging.getLogger("h2gate.ledger")

SCHEMA = """
CREATE TABLE IF NOT EXISTS resumables (
    id TEXT PRIMARY KEY, path TEXT NOT NULL, owner TEXT NOT NULL, state TEXT NOT NULL, upload_offset INTEGER NOT NULL,
    verified INTEGER, length INTEGER, fields TEXT NOT NULL, metadata TEXT NOT NULL, expected TEXT NOT NULL,
    conditions TEXT NOT NULL, modified_ns INTEGER, parts TEXT NOT NULL, hash_state BLOB, sha256 BLOB,
    replaced INTEGER NOT NULL, bytes_per_second REAL NOT NULL, reason TEXT NOT NULL, created_at REAL NOT NULL,
    changed_at REAL NOT NULL, expires_at REAL NOT NULL, version INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS resumables_by_state ON resumables (state) WHERE state != 'complete';
CREATE INDEX IF NOT EXISTS resumables_by_path ON resumables (path) WHERE state = 'receiving';
CREATE INDEX IF NOT EXISTS resumables_by_owner ON resumables (owner, changed_at);
CREATE INDEX IF NOT EXISTS resumables_by_expiry ON resumables (expires_at);
"""
_NAMES = (
    *("path", "owner", "state", "upload_offset", "verified", "length", "fields", "metadata", "expected", "conditions"),
    *("modified_ns", "parts", "hash_state", "sha256", "replaced", "bytes_per_second", "reason", "created_at"),
    *("changed_at", "expires_at", "version", "id"),
)
_INSERT = f"INSERT INTO resumables ({', '.join(_NAMES)}) VALUES ({', '.join('?' for _ in _NAMES)})"  # noqa: S608
_UPDATE = f"UPDATE resumables SET {', '.join(f'{name} = ?' for name in _NAMES[:-1])} WHERE id = ? AND version = ?"  # noqa: S608
_SELECT = f"SELECT {', '.join(_NAMES)} FROM resumables WHERE "  # noqa: S608


def begin(database: sqlite3.Connection, resumable: Resumable) -> None:
    """Insert it."""
    database.execute(_INSERT, _values(resumable, resumable.version))


def keep(database: sqlite3.Connection, resumable: Resumable) -> None:
    """Replace it. Raises `Conflict` when somebody else did since."""
    done = database.execute(_UPDATE, (*_values(resumable, resumable.version + 1), resumable.version))
    if done.rowcount != 1:
        raise Conflict("another request changed this upload at the same time")


def drop(database: sqlite3.Connection, resumable: Resumable) -> None:
    """Remove it, unless somebody changed it since."""
    database.execute("DELETE FROM resumables WHERE id = ? AND version = ?", (resumable.id, resumable.version))


def rows(database: sqlite3.Connection, where: str, values: Sequence[object]) -> list[Resumable]:
    """Those that `where` (ours, with values bound) is true of, without those that cannot be read: one of these is no
    reason to do nothing about all others."""
    found = []
    for row in database.execute(_SELECT + where, values):
        try:
            found.append(_resumable(row))
        except (ValueError, TypeError, AttributeError):
            log.error("upload %s: its record cannot be read", row[-1])
    return found


def row(database: sqlite3.Connection, upload_id: str) -> Resumable | None:
    """The one with this id. Raises `LedgerFailed` where it cannot be read: it is there, and so are its bytes."""
    for found in database.execute(_SELECT + "id = ?", (upload_id,)):
        try:
            return _resumable(found)
        except (ValueError, TypeError, AttributeError) as error:
            raise LedgerFailed(f"the record of upload {upload_id} cannot be read") from error
    return None


def counts(database: sqlite3.Connection) -> dict[str, int]:
    """How many there are in each state but "complete", whose index would be as long as the table."""
    query = "SELECT state, count(*) FROM resumables WHERE state != 'complete' GROUP BY state"
    return dict(database.execute(query).fetchall())


def mapping(text: object) -> dict[str, str]:
    """What `_text` wrote. Raises `ValueError`."""
    found = json.loads(str(text))
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _values(resumable: Resumable, version: int) -> tuple[object, ...]:
    each = resumable
    return (
        *(each.path, each.owner, each.state, each.offset, each.verified, each.length, _text(each.fields)),
        *(each.metadata, _text({name: digest.hex() for name, digest in each.expected.items()})),
        *(_text(each.conditions), each.modified_ns, json.dumps(each.parts), each.hash_state, each.sha256),
        *(each.replaced, each.bytes_per_second, each.reason, each.created_at, each.changed_at, each.expires_at),
        *(version, each.id),
    )


def _text(mapping: Mapping[str, str]) -> str:
    return json.dumps(dict(mapping), separators=(",", ":")) if mapping else "{}"


def _resumable(row: Sequence[object]) -> Resumable:
    known = dict(zip(_NAMES, row, strict=True))
    known["offset"] = known.pop("upload_offset")
    known["fields"] = mapping(known["fields"])
    known["conditions"] = mapping(known["conditions"])
    known["parts"] = tuple(json.loads(str(known["parts"])))
    known["expected"] = {name: bytes.fromhex(text) for name, text in mapping(known["expected"]).items()}
    known["replaced"] = bool(known["replaced"])
    return Resumable(**known)  # type: ignore[arg-type]
