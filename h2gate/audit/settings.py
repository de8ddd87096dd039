"""The table `[audit]` of the file that `--auth` names; without it there is no audit log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from h2gate.config import parse_bytes
from h2gate.errors import ConfigError
from h2gate.tables import Table

_MIN_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """What it says."""

    path: Path
    """The log. Full files are beside it, with the number of their first line in their names."""
    receipt_key: Path
    """PKCS #8 (PEM) of the Ed25519 key that signs receipts and heads; made if missing. The public one is beside it,
    with the ending `.pub`."""
    durable: bool = True
    """No answer is sent before its line is on the disk."""
    reads: bool = False
    """Have a line for each file that is read, too."""
    max_bytes: int = 64 << 20
    """Of a file of the log, before the next is begun."""


def parse(table: Table, data: Path) -> AuditSettings:
    """What the table says; what it does not name is in the folder `data`. Raises `ConfigError`."""
    folder = data / "audit"
    found = AuditSettings(
        path=table.path("path", folder / "audit.jsonl"),
        receipt_key=table.path("receipt_key", folder / "receipt.key"),
        durable=table.flag("durable", True),
        reads=table.flag("reads", False),
        max_bytes=_bytes(table),
    )
    table.end()
    return found


def _bytes(table: Table) -> int:
    text = table.text("max_bytes", "64M")
    try:
        found = parse_bytes(text)
    except ConfigError as error:
        raise table.error("max_bytes", str(error)) from None
    if found < _MIN_BYTES:
        raise table.error("max_bytes", "at least 64K")
    return found
