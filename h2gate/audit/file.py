"""The file that the log is appended to: by several processes, one line behind the other, whichever of them is killed.

A lock on a file beside it makes them one writer. What a killed process left half written stays in the file and is
sealed: the next line says how many bytes of what hash do not count. Everything here blocks.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from h2gate.audit.chain import START, Link, decode, encode
from h2gate.errors import AuditFailed, ConfigError, GateError, StorageFull

SEALED = "sealed"
SEAL = b"~\n"
"""Behind what was torn off, so that it is no line even if nothing but its newline is missing."""
HEAD_SECONDS = 1.0
"""How old what is written of the head may be while lines are added."""
_LOOK_BYTES = 256 << 10
_FULL = (errno.ENOSPC, errno.EDQUOT)


class LogFile:
    """One process's hold of it. Raises `ConfigError` where it cannot be opened."""

    def __init__(
        self, path: Path, *, max_bytes: int, durable: bool, write_head: Callable[[Link, str], str] | None = None
    ) -> None:
        """`write_head` makes the text of the head: its link and the time."""
        self._path = path
        self._max_bytes = max_bytes
        self._durable = durable
        self._write_head = write_head
        self._fd = -1
        self._last = START
        self._size = -1
        """Of the file when this process looked last: if it is another now, so is the last line. -1 is not known."""
        self._headed_at = 0.0
        self._told = START
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._open()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error

    def append(self, lines: Sequence[Mapping[str, Any]]) -> list[Link]:
        """Write a line for each, in order; where they are in the chain. Durable when this returns, if that is wanted.

        Raises `StorageFull` or `AuditFailed`: none of them counts then.
        """
        try:
            with self._locked():
                if self._size >= self._max_bytes:
                    self._rotate()
                links = self._write(lines)
                self._tell_head()
                return links
        except OSError as error:
            raise _translated(error) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else appends; what others have appended is known."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._catch_up()
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _open(self) -> None:
        before = self._fd
        self._size = -1
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if before >= 0:
            os.close(before)

    def _catch_up(self) -> None:
        found = os.fstat(self._fd)
        if not _is_same(found, self._path):  # another process has begun the next file
            self._open()
            found = os.fstat(self._fd)
        if found.st_size == self._size:
            return
        last, whole = _last_line(self._fd, found.st_size)
        self._last = last or self._before()
        self._size = found.st_size
        if whole < found.st_size:
            self._seal(whole, found.st_size)

    def _before(self) -> Link:
        """The last line of the file before this one; where there is none, this is the first."""
        for path in reversed(older(self._path)):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                last, _ = _last_line(fd, os.fstat(fd).st_size)
            finally:
                os.close(fd)
            if last is not None:
                return last
        return START

    def _seal(self, start: int, stop: int) -> None:
        """Say of the bytes from `start` on that they are half of a line, which nobody was told of."""
        torn = os.pread(self._fd, stop - start, start)
        members = {"event": SEALED, "torn_bytes": len(torn), "torn_sha256": hashlib.sha256(torn).hexdigest()}
        self._write([members], lead=SEAL)

    def _write(self, lines: Sequence[Mapping[str, Any]], lead: bytes = b"") -> list[Link]:
        last, parts, links = self._last, [lead], []
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        for members in lines:
            line, last = encode(last, now, members)
            parts.append(line)
            links.append(last)
        data = b"".join(parts)
        try:
            _write_all(self._fd, data)
            if self._durable:
                os.fdatasync(self._fd)
        except OSError:
            self._take_back()
            raise
        self._size += len(data)
        self._last = last
        return links

    def _take_back(self) -> None:
        """Their givers are told that they were not written. After a sync that failed nobody knows what is on the disk;
        what is written next is written anew."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            self._size = -1  # what is there is looked at again

    def _rotate(self) -> None:
        """Begin the next file; the chain goes on in it."""
        os.fdatasync(self._fd)
        first = _first_line(self._fd)
        older_path = self._path.with_name(f"{self._path.stem}-{first:012d}{self._path.suffix}")
        self._path.rename(older_path)
        self._open()
        _sync_folder(self._path.parent)
        self._size = 0

    def _tell_head(self, *, now: bool = False) -> None:
        """Beside the log, signed: how far it goes, so that its end cannot be cut off unseen."""
        if self._write_head is None or self._last == self._told:
            return
        moment = time.monotonic()
        if not now and moment - self._headed_at < HEAD_SECONDS:
            return
        self._headed_at = moment
        with suppress(OSError):  # an older one is true as well
            stamp = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            draft = self._path.with_name(f".{self._path.name}.head.{os.getpid()}")
            draft.write_text(self._write_head(self._last, stamp) + "\n")
            draft.rename(head_path(self._path))
            self._told = self._last

    def close(self) -> None:
        """What is written is on the disk, if the disk can."""
        with suppress(OSError, GateError), self._locked():
            os.fdatasync(self._fd)
            self._tell_head(now=True)
        os.close(self._fd)
        os.close(self._lock)


def head_path(log: Path) -> Path:
    """Where the head of a log is."""
    return log.with_name(log.name + ".head")


def lock_path(log: Path) -> Path:
    """What is locked while a log is written."""
    return log.with_name(log.name + ".lock")


def older(log: Path) -> list[Path]:
    """The full files of a log, the first first."""
    return sorted(log.parent.glob(f"{log.stem}-{'[0-9]' * 12}{log.suffix}"))


def _last_line(fd: int, size: int) -> tuple[Link | None, int]:
    """The last whole line of a file, and where it ends; None and 0 where there is none."""
    length = min(size, _LOOK_BYTES)
    while True:
        data = os.pread(fd, length, size - length)
        stop = data.rfind(b"\n")
        while stop >= 0:
            start = data.rfind(b"\n", 0, stop) + 1
            is_whole = start > 0 or length == size
            if is_whole and (line := decode(data[start:stop])) is not None:
                return line.link, size - length + stop + 1
            stop = start - 1
        if length == size:
            return None, 0
        length = min(size, 4 * length)


def _first_line(fd: int) -> int:
    line = decode(os.pread(fd, _LOOK_BYTES, 0).partition(b"\n")[0])
    return line.link.seq if line is not None else 0


def _is_same(found: os.stat_result, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (there.st_ino, there.st_dev) == (found.st_ino, found.st_dev)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _translated(error: OSError) -> GateError:
    if error.errno in _FULL:
        return StorageFull("no space left for the audit log")
    return AuditFailed(f"the audit log: {error.strerror}")
