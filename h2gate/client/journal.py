"""What was begun and is not done, one small file each, so that the same command goes on where another run of it ended.

An entry is claimed by a lock that ends with its process, however that ends: two that move the same file at once do not
get in each other's way. An entry is written beside and renamed, so it is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from h2gate.client.listener import Outcome
from h2gate.client.local import try_lock

Entry = dict[str, Any]

KEEP_SECONDS = 7 * 86400.0
"""How long an entry is of use where the gateway does not say it."""


def state_folder() -> Path:
    """Where this system's users keep such things."""
    if given := os.environ.get("XDG_STATE_HOME"):
        return Path(given) / "h2gate"
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/h2gate"
    return Path.home() / ".local/state/h2gate"


class Claim:
    """The right to one entry, until `release`. Without a lock (None) nothing is remembered."""

    def __init__(self, file: Path, lock: int | None, entry: Entry) -> None:
        self.entry = entry
        """What an earlier run wrote; empty if there is nothing."""
        self._file = file
        self._lock = lock

    @property
    def is_kept(self) -> bool:
        """Whether anything is remembered at all."""
        return self._lock is not None

    def write(self, entry: Mapping[str, Any]) -> None:
        """Remember it. Raises `OSError`."""
        if self._lock is None:
            return
        beside = self._file.with_suffix(f".{os.getpid()}")
        lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            try_lock(lock)
            os.write(lock, json.dumps(entry).encode())
            beside.replace(self._file)
        except BaseException:
            os.close(lock)
            beside.unlink(missing_ok=True)
            raise
        os.close(self._lock)
        self._lock, self.entry = lock, dict(entry)

    def forget(self) -> None:
        """There is nothing to remember any more."""
        self.entry = {}

    def release(self) -> None:
        """Let others have it. An empty entry goes."""
        if self._lock is None:
            return
        if not self.entry:
            self._file.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = None

    def stays(self, outcome: Outcome | None) -> bool:
        """Whether there is something for another run: not when it is done, or will never be. None is interrupted."""
        if outcome is not None and (outcome.error is None or not outcome.error.retry):
            self.forget()
        return bool(self.entry)


class Journal:
    """The entries in a folder; None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder / "moving" if folder is not None else None
        self._is_pruned = False

    @property
    def is_kept(self) -> bool:
        return self._folder is not None

    def claim(self, verb: str, url: str, path: Path) -> Claim | None:
        """The entry of what moves between `url` and `path`; None if another process moves it. Raises `OSError`."""
        if self._folder is None:
            return Claim(path, None, {})
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._prune(self._folder)
        key = hashlib.sha256("\0".join([verb, url, os.fspath(path.absolute())]).encode("utf-8", "surrogateescape"))
        return _claim(self._folder / f"{key.hexdigest()[:40]}.json")

    def _prune(self, folder: Path) -> None:
        if self._is_pruned:
            return
        self._is_pruned = True
        for file in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process does the same
                if file.stat().st_mtime < time.time() - KEEP_SECONDS and (old := _claim(file)) is not None:
                    old.forget()
                    old.release()


def _claim(file: Path) -> Claim | None:
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not try_lock(lock):
                os.close(lock)
                return None
            if _is_at(file, lock):
                return Claim(file, lock, _parsed(os.pread(lock, 1 << 16, 0)))
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # another process replaced or removed it before the lock was ours


def _is_at(file: Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    return False


def _parsed(text: bytes) -> Entry:
    """What cannot be read is as if it were not there; so is what is too old."""
    try:
        entry = json.loads(text or b"{}")
        return entry if entry and float(entry["expires"]) > time.time() else {}
    except (ValueError, TypeError, KeyError):
        return {}


def entries(folder: Path) -> Iterator[Entry]:
    """All that is remembered; for who looks on."""
    for file in sorted((folder / "moving").glob("*.json")):
        with contextlib.suppress(FileNotFoundError):  # what moves it may be done just now
            if entry := _parsed(file.read_bytes()):
                yield entry
