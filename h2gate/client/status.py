"""What is under way, as lines for a person: uploads at a gateway, or what this user's journal remembers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.filesize import decimal

from h2gate.client.journal import entries, state_folder

Row = dict[str, Any]

_GATEWAY = ("state", "offset", "of", "changed", "expires", "path")
_HERE = ("verb", "begun", "expires", "file", "url")


def remembered() -> list[Row]:
    """What put and get began here and did not finish; times as RFC 3339 text."""
    rows = []
    for entry in entries(state_folder()):
        row: Row = {"verb": "put" if "upload" in entry else "get", "file": entry.get("path"), "url": entry.get("url")}
        row |= {name: _moment(entry.get(of)) for name, of in (("begun", "started"), ("expires", "expires"))}
        rows.append(row | {name: entry[name] for name in ("upload", "size") if name in entry})
    return rows


def table(rows: Sequence[Row], *, of_gateway: bool) -> Iterator[str]:
    """Columns under a heading."""
    if not rows:
        yield "no uploads" if of_gateway else "nothing is unfinished here"
        return
    names = _GATEWAY if of_gateway else _HERE
    cells = [[_cell(name, row) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    for line in [list(names), *cells]:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _cell(name: str, row: Row) -> str:
    if name == "offset":
        return decimal(int(row.get("offset") or 0))
    if name == "of":
        return decimal(int(row["length"])) if row.get("length") is not None else "?"
    return _printable(str(row.get(name) or "-"))


def _printable(text: str) -> str:
    """A name may hold what a terminal would obey."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _moment(seconds: object) -> str:
    try:
        return datetime.fromtimestamp(int(float(str(seconds))), UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""
