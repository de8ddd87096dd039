"""What a disk or a system may do to a gateway that runs as a process of its own: rules for `shim.c`, and a look inside.

A rule says which calls fail or wait, on which paths, and how many were struck, so that no test passes for want of
trouble.
"""

from __future__ import annotations

import errno
import json
import mmap
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.conftest import Process
from tests.server.raw import eventually

CALLS = (
    *("open", "create", "read", "write", "sync", "truncate", "rename", "unlink", "mkdir", "times"),
    *("thread", "memory", "clock"),
)
_RULE = struct.Struct("6i104s")
_N_RULES = 16
_HITS = struct.Struct("i")
_HITS_AT = 5 * _HITS.size


class Faults:
    """The rules that hold now, in a file that the gateway shares. None of them holds in the beginning."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(_RULE.size * _N_RULES))
        with file.open("r+b") as opened:
            self._rules = mmap.mmap(opened.fileno(), 0)
        self._free = list(range(_N_RULES))

    def __enter__(self) -> Faults:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._rules.close()

    @contextmanager
    def of(
        self, call: str, path: str = "", error: str = "", *, delay_ms: int = 0, skip: int = 0, times: int = -1
    ) -> Iterator[Fault]:
        """`times` calls fail with `error` (a name of errno), after `delay_ms`; the first `skip` are left alone."""
        index = self._free.pop()
        at = index * _RULE.size
        number = getattr(errno, error) if error else 0
        rule = _RULE.pack(0, number, delay_ms, skip, times, 0, path.encode())
        self._rules[at : at + _RULE.size] = rule
        self._rules[at : at + _HITS.size] = _HITS.pack(CALLS.index(call) + 1)  # last: now it holds
        try:
            yield Fault(self._rules, at)
        finally:
            self._rules[at : at + _HITS.size] = _HITS.pack(0)
            self._free.append(index)


@dataclass(frozen=True)
class Fault:
    """A rule that holds."""

    rules: mmap.mmap
    at: int

    @property
    def hits(self) -> int:
        """How many calls it has struck."""
        found: int = _HITS.unpack_from(self.rules, self.at + _HITS_AT)[0]
        return found


@dataclass
class Gateway:
    """A gateway that faults can be made for."""

    process: Process
    faults: Faults
    probe: Path

    @property
    def data(self) -> Path:
        return self.process.data

    def tasks(self) -> list[str]:
        """The coroutines of the tasks that are not done."""
        self.probe.unlink(missing_ok=True)
        self.process.signal(signal.SIGUSR1)
        eventually(self.probe.exists, "the gateway looks at its tasks")
        found: list[str] = json.loads(self.probe.read_text())["tasks"]
        return sorted(found)

    def n_descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.popen.pid}/fd").iterdir()))

    def leftovers(self) -> dict[str, object]:
        """What may not be more after trouble than before it."""
        folders = {name: len([each for each in (self.data / name).rglob("*") if each.is_file()]) for name in FOLDERS}
        return {"tasks": self.tasks(), "descriptors": self.n_descriptors(), **folders}

    def expect(self, before: dict[str, object]) -> None:
        """Within a short time, nothing is left over that was not there `before`."""
        found: dict[str, object] = {}

        def is_clean() -> bool:
            found.update(self.leftovers())
            tasks, descriptors = found["tasks"] == before["tasks"], int(str(found["descriptors"]))
            folders = all(found[name] == before[name] for name in FOLDERS)
            return tasks and folders and descriptors <= int(str(before["descriptors"]))

        try:
            eventually(is_clean, "nothing is left over")
        except AssertionError as error:
            raise AssertionError(f"before {before}, now {found}") from error


FOLDERS = ("staging", "partial")
