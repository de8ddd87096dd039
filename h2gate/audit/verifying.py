"""`h2gate audit verify`: whether a log is what was written, and where it is not. Needs the files, and no gateway.

Every change is named by file and line. What the chain alone cannot show, an end that was cut off, shows beside a head
or a receipt: each says which line there must be.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from h2gate.audit.chain import GENESIS, START, Line, Link, decode
from h2gate.audit.file import SEAL, SEALED, lock_path, older
from h2gate.errors import ConfigError


@dataclass(slots=True)
class Report:
    """What was found."""

    n_lines: int = 0
    """That are whole."""
    first: Link | None = None
    last: Link = START
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is as it should be, and worth knowing."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A line that there must be, as somebody has it signed."""

    link: Link
    what: str


def verify(paths: Sequence[Path], anchors: Sequence[Anchor] = (), *, begins_later: bool = False) -> Report:
    """Look at every byte of the files (or of a log's folder). `begins_later`: that earlier files are missing is known.

    Raises `ConfigError` for a file that cannot be read.
    """
    check = _Check(anchors, begins_later=begins_later)
    for path in in_order(paths):
        for number, raw in enumerate(_raw_lines(path), 1):
            check.look(f"{path}:{number}", raw)
        check.end_file()
    check.end()
    return check.report


def in_order(paths: Sequence[Path]) -> list[Path]:
    """The files, by the first line that each has. Raises `ConfigError`."""
    found = [each for path in paths for each in (_files_in(path) if path.is_dir() else [path])]
    if not found:
        raise ConfigError("no log there")
    return sorted(found, key=_first_seq)


def _files_in(folder: Path) -> list[Path]:
    logs = [path for path in sorted(folder.glob("*.jsonl")) if lock_path(path).exists()]
    return [each for path in logs for each in [*older(path), path]]


def _first_seq(path: Path) -> float:
    for raw in _raw_lines(path):
        if (line := decode(raw[:-1])) is not None:
            return line.link.seq
    return float("inf")


def _raw_lines(path: Path) -> Iterator[bytes]:
    """Its lines with their newlines, as far as it went when this began: a gateway may be appending."""
    try:
        with path.open("rb") as file:
            left = _settled_size(path, file.fileno())
            for raw in file:
                if left <= 0:
                    return
                yield raw[:left]
                left -= len(raw)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def _settled_size(path: Path, fd: int) -> int:
    """While nobody is in the midst of a line."""
    try:
        lock = os.open(lock_path(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # a copy
        return os.fstat(fd).st_size
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        return os.fstat(fd).st_size
    finally:
        os.close(lock)


class _Check:
    """Walks the lines."""

    def __init__(self, anchors: Sequence[Anchor], *, begins_later: bool) -> None:
        self.report = Report()
        self._anchors: defaultdict[int, list[Anchor]] = defaultdict(list)
        for each in anchors:
            self._anchors[each.link.seq].append(each)
        self._begins_later = begins_later
        self._bad: list[tuple[str, bytes]] = []
        """Lines since the last whole one."""

    def look(self, where: str, raw: bytes) -> None:
        """The next line, with its newline."""
        line = decode(raw[:-1]) if raw.endswith(b"\n") else None
        if line is None:
            self._bad.append((where, raw))
            return
        if not self._is_seal(line):
            self._compare(where, line)
        self._bad.clear()
        report = self.report
        report.n_lines += 1
        report.first = report.first or line.link
        report.last = line.link
        for anchor in self._anchors.pop(line.link.seq, ()):
            if anchor.link != line.link:
                report.faults.append(f"{where}: not the line {line.link.seq} that {anchor.what} was signed for")

    def _is_seal(self, line: Line) -> bool:
        """Whether it says of the bytes before it that they are a line that was never finished, and says so rightly."""
        members, torn = line.members, b"".join(raw for _, raw in self._bad)
        if not self._bad or members.get("event") != SEALED or line.prev != self.report.last.hash:
            return False
        if line.link.seq != self.report.last.seq + 1 or not torn.endswith(SEAL):
            return False
        torn = torn.removesuffix(SEAL)
        if members.get("torn_sha256") != hashlib.sha256(torn).hexdigest():
            return False
        self.report.notes.append(f"{self._bad[0][0]}: {len(torn)} bytes of a line that was never finished, and sealed")
        return True

    def _compare(self, where: str, line: Line) -> None:
        """Whether it follows what was before it."""
        faults, last, seq = self.report.faults, self.report.last, line.link.seq
        faults += [f"{each}: changed: its hash is another" for each, _ in self._bad]
        if self.report.first is None and not self._bad and self._begins_later:
            return
        missing = seq - last.seq - 1 - len(self._bad)
        if seq <= last.seq:
            faults.append(f"{where}: line {seq} after line {last.seq}: added, or moved from elsewhere")
        elif missing > 0:
            many = f"lines {seq - missing} to {seq - 1}" if missing > 1 else f"line {seq - 1}"
            faults.append(f"{where}: {many} removed before it")
        elif not self._bad and line.prev != (last.hash if last.seq else GENESIS):
            faults.append(f"{where}: does not follow the line before it: one of the two is not of this log")

    def end_file(self) -> None:
        """Nothing may be left that is no line; the last file ends with a whole one."""
        if self._bad and not self._bad[-1][1].endswith(b"\n"):
            where, raw = self._bad.pop()
            self.report.faults.append(f"{where}: the file ends in the middle of a line, after {len(raw)} bytes")

    def end(self) -> None:
        """Nothing comes any more."""
        report = self.report
        report.faults += [f"{each}: changed: its hash is another" for each, _ in self._bad]
        for seq, anchors in sorted(self._anchors.items()):
            what = ", ".join(each.what for each in anchors)
            if seq > report.last.seq:
                report.faults.append(f"cut off: the log ends with line {report.last.seq}; {what} tells of line {seq}")
            elif report.first is None or seq < report.first.seq:
                report.notes.append(f"line {seq}, which {what} tells of, is in an earlier file")
