"""Small files in batches: each is a file of its own with an fsync of its own, but one thread's turn does many of them.

Both classes are the `work` of a lane: a list of jobs in, a result or an error for each out.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from zlib import crc32

from h2gate.errors import GateError, PreconditionFailed
from h2gate.storage.remains import Remains
from h2gate.storage.tree import Tree, identity_of, there, translated, translating
from h2gate.upload import Identity, Tap

STAGES = 16


def place(key: str) -> str:
    """Where a staged file lies in `staging/`. Files are made there while others are renamed away, and both want its
    folder for themselves, so there are several."""
    return f"{crc32(key.encode()) % STAGES:x}/{key}"


@dataclass(slots=True)
class SmallFile:
    """A whole body to be staged under `key`."""

    key: str
    chunks: Sequence[bytes]
    taps: Sequence[Tap]
    modified_ns: int | None


class SmallWriter:
    """Writes all files of a batch, then syncs each: the first sync's journal commit serves the others."""

    def __init__(self, staging: int, remains: Remains, *, fsync: bool) -> None:
        self._staging = staging
        self._remains = remains
        self._fsync = fsync

    def __call__(self, files: list[SmallFile]) -> list[Identity | BaseException]:
        opened = [self._write(file) for file in files]
        if self._fsync and len(opened) > 1:
            for fd in opened:
                if isinstance(fd, int):
                    _begin_to_write_back(fd)
        return [
            each if isinstance(each, GateError) else self._sync(file, each)
            for file, each in zip(files, opened, strict=True)
        ]

    def _write(self, file: SmallFile) -> int | GateError:
        fd = -1
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = os.open(place(file.key), flags, 0o666, dir_fd=self._staging)
            data = file.chunks[0] if len(file.chunks) == 1 else b"".join(file.chunks)
            for tap in file.taps:
                tap.update(data)
            if os.write(fd, data) != len(data):  # a short write to a file means no space
                raise OSError(errno.ENOSPC, "short write")
            if file.modified_ns is not None:
                os.utime(fd, ns=(file.modified_ns, file.modified_ns))
        except (OSError, MemoryError) as error:
            return self._undo(file, fd, error)
        return fd

    def _sync(self, file: SmallFile, fd: int) -> Identity | GateError:
        try:
            if self._fsync:
                os.fsync(fd)
            found = os.fstat(fd)
        except OSError as error:
            return self._undo(file, fd, error)
        close(fd)
        return identity_of(found)

    def _undo(self, file: SmallFile, fd: int, error: OSError | MemoryError) -> GateError:
        if fd >= 0:
            close(fd)
            self._remains.remove(self._staging, place(file.key))
        return translated(error, "this file")


def close(fd: int) -> None:
    """For what is durable already, or will not be needed: whatever closing says then is no news."""
    with suppress(OSError):
        os.close(fd)


def _begin_to_write_back(fd: int) -> None:
    """Have the disk begin with all before the first sync waits for one: twice as many files a second."""
    with suppress(OSError):  # only a hint
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


@dataclass(slots=True)
class Commit:
    """The file `name` in `folder` (a descriptor) to be shown under `path`."""

    folder: int
    name: str
    path: str
    may_replace: bool | Identity


class Committer:
    """Renames all files of a batch into place, folder by folder, then syncs each folder once."""

    def __init__(self, tree: Tree, *, fsync: bool) -> None:
        self._tree = tree
        self._fsync = fsync

    def __call__(self, commits: list[Commit]) -> list[Identity | BaseException | None]:
        by_folder: dict[str, list[int]] = defaultdict(list)
        for index, commit in enumerate(commits):
            by_folder[commit.path.rpartition("/")[0]].append(index)
        results: list[Identity | BaseException | None] = [None] * len(commits)
        for folder, indices in by_folder.items():
            try:
                with translating(f"/{folder}"), self._tree.folder(folder, create=True) as here:
                    for index in indices:
                        results[index] = self._show(commits[index], here)
                    if self._fsync:
                        os.fsync(here)
            except GateError as error:
                for index in indices:
                    results[index] = error
        return results

    def _show(self, commit: Commit, here: int) -> Identity | GateError | None:
        name = commit.path.rpartition("/")[2]
        try:
            found = there(name, here, f"/{commit.path}")
            if isinstance(commit.may_replace, Identity):
                if found != commit.may_replace:
                    return PreconditionFailed(f"/{commit.path} has changed")
            elif not commit.may_replace:
                os.link(commit.name, name, src_dir_fd=commit.folder, dst_dir_fd=here)
                os.unlink(commit.name, dir_fd=commit.folder)
                return None
            os.rename(commit.name, name, src_dir_fd=commit.folder, dst_dir_fd=here)
        except FileExistsError:
            return PreconditionFailed(f"/{commit.path} is there already")
        except GateError as error:
            return error
        except OSError as error:
            return translated(error, f"/{commit.path}")
        return found
