"""Tenants: each a folder under /files/ with limits of its own. The path tells what belongs to whom, whoever writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from h2gate.tables import Table
from h2gate.upload import checked_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One of them. None is no limit."""

    name: str
    root: str
    """Its folder, as in `upload.Upload.path`; "" is all of /files/."""
    max_bytes: int | None = None
    max_files: int | None = None
    max_uploads: int | None = None
    """At once."""
    max_rate: int | None = None
    """Bytes a second, over all its uploads."""
    max_file_bytes: int | None = None
    retention_seconds: float | None = None


def parse(table: Table) -> Mapping[str, Tenant]:
    """Those of `[tenants.NAME]`. Raises `ConfigError`, also where one lies within another: whose is a file there?"""
    found = {}
    for each in table.named():
        name = each.name.partition(".")[2]
        found[name] = _tenant(each, name)
        each.end()
    _check_apart(table, list(found.values()))
    return found


def _tenant(table: Table, name: str) -> Tenant:
    with table.about("root"):
        root = checked_path(table.text("root", name).strip("/"))
    return Tenant(
        name=name,
        root=root,
        max_bytes=table.integer("max_bytes", None),
        max_files=table.integer("max_files", None),
        max_uploads=table.integer("max_uploads", None),
        max_rate=table.integer("max_rate", None, least=1),
        max_file_bytes=table.integer("max_file_bytes", None),
        retention_seconds=table.number("retention_seconds", None),
    )


def _check_apart(table: Table, tenants: list[Tenant]) -> None:
    for each in tenants:
        for other in tenants:
            if each is not other and f"{each.root}/".startswith(f"{other.root}/" if other.root else ""):
                raise table.error(each.name, f"its root /{each.root} lies within that of {other.name}, /{other.root}")
