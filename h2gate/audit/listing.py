"""`h2gate audit list`: the lines that somebody asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from h2gate.audit.chain import decode
from h2gate.audit.file import older
from h2gate.audit.verifying import in_order


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which lines. None is all."""

    who: str | None = None
    path: str | None = None
    """At or below this one."""
    since: str | None = None
    """RFC 3339, or the beginning of it, such as a day; in UTC."""

    def __call__(self, members: Mapping[str, Any]) -> bool:
        """Whether a line is one of them."""
        path = str(members.get("path", ""))
        if self.path is not None and path != self.path and not path.startswith(self.path.rstrip("/") + "/"):
            return False
        return (self.who is None or members.get("who", "") == self.who) and (
            self.since is None or str(members.get("time", "")) >= self.since
        )


def lines(paths: Sequence[Path], wanted: Wanted) -> Iterator[Mapping[str, Any]]:
    """The members of the lines, in the order of the chain. What is damaged is left out: `verify` names it."""
    for file in in_order(paths):
        with file.open("rb") as opened:
            for raw in opened:
                line = decode(raw.removesuffix(b"\n"))
                if line is not None and wanted(line.members):
                    yield line.members


def told(log: Path, seconds: float) -> tuple[float, set[tuple[str, int]]] | None:
    """See `AuditLog.told`."""
    since = None
    found: set[tuple[str, int]] = set()
    for file in reversed([*older(log), log]):
        with file.open("rb") as opened:
            decoded = [line for raw in opened if (line := decode(raw.removesuffix(b"\n"))) is not None]
        for line in reversed(decoded):
            at = datetime.fromisoformat(str(line.members["time"])).timestamp()
            since = at - seconds if since is None else since
            if at < since:
                return since, found
            found.add((str(line.members.get("upload_id", "")), int(line.members.get("size", -1))))
    return (since, found) if since is not None else None


def shown(members: Mapping[str, Any], *, as_json: bool) -> str:
    """One line of output."""
    if as_json:
        text = json.dumps(members, ensure_ascii=False)
        return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
    size = members.get("size", members.get("count", ""))
    outcome = f"{members.get('status', '')} {members.get('code', '')}".strip()
    who = members.get("who") or "-"
    where = members.get("path", members.get("detail", ""))
    text = f"{members['time'][:19]}Z  {members.get('event', ''):9} {size:>13}  {outcome:22} {who}  {where}"
    return "".join(char if char.isprintable() else "?" for char in text)  # a name may be anything, and a terminal obeys
