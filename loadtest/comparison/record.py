"""What was measured so far, a JSON object a line, so that a run that was stopped goes on where it was.

Only whole rounds count: ratios hold within a round, so one that was stopped in its middle is measured anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WARM_UP = 0


@dataclass(slots=True)
class Found:
    """What is known of one case. `rounds`: number → contestant → figures."""

    rounds: dict[int, dict[str, dict[str, float]]] = field(default_factory=dict)
    series: dict[str, list[list[float]]] = field(default_factory=dict)
    out: dict[str, str] = field(default_factory=dict)
    """Who takes no part (any more), and why; `*` for the whole case."""
    void: dict[str, str] = field(default_factory=dict)
    """Who lost a byte: none of its figures holds."""
    path: dict[str, Any] = field(default_factory=dict)
    done: bool = False


class Record:
    """The file, and what it says."""

    def __init__(self, file: Path, header: dict[str, Any]) -> None:
        """Goes on with what is there if it has the same `fingerprint` and is not finished; else begins anew."""
        self.file = file
        self.header = header
        self.cases: dict[str, Found] = {}
        self.resumed = False
        lines = list(_read(file))
        first = lines[0] if lines else {}
        if first.get("fingerprint") == header["fingerprint"] and not any("finished" in line for line in lines):
            self.header, self.resumed = first, len(lines) > 1
            for line in lines[1:]:
                self._take(line)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(header) + "\n")

    def of(self, case: str) -> Found:
        return self.cases.setdefault(case, Found())

    def add(self, case: str, **facts: Any) -> None:
        """Written before it is believed."""
        line = {"case": case, **facts}
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._take(line)

    def finish(self) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps({"finished": True}) + "\n")

    def whole_rounds(self, case: str, contestants: Sequence[str]) -> list[int]:
        """Rounds in which everybody was measured who still takes part."""
        found = self.of(case)
        wanted = {name for name in contestants if name not in found.out and name not in found.void}
        return [number for number, who in sorted(found.rounds.items()) if wanted <= who.keys()]

    def _take(self, line: dict[str, Any]) -> None:
        found = self.of(line["case"])
        who = line.get("contestant", "*")
        if "figures" in line:
            found.rounds.setdefault(line["round"], {})[who] = line["figures"]
        if "series" in line:
            found.series[who] = line["series"]
        if "out" in line:
            found.out[who] = line["out"]
        if "void" in line:
            found.void[who] = line["void"]
        found.path |= line.get("path", {})
        found.done |= bool(line.get("done"))


def _read(file: Path) -> Iterator[dict[str, Any]]:
    """A last line that was not written to its end is dropped, from the file too."""
    if not file.exists():
        return
    whole = 0
    with file.open("rb+") as opened:
        for line in opened:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            yield json.loads(line)
        opened.truncate(whole)
