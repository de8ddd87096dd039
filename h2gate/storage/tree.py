"""Folders by descriptor: a path is walked name by name from the root's descriptor and no link is followed.

So no path leaves the root, whatever is renamed or linked meanwhile, and libc's errors get our names in one place.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from h2gate.errors import BadPath, Conflict, Exhausted, GateError, NotFound, StorageFailed, StorageFull
from h2gate.upload import Identity

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


_MEANINGS: dict[int, tuple[type[GateError], str]] = {
    errno.ENOSPC: (StorageFull, "no space left for {}"),
    errno.EDQUOT: (StorageFull, "the quota is used up; no space for {}"),
    errno.EFBIG: (StorageFull, "the file system takes no file as large as {}"),
    errno.EMFILE: (Exhausted, "no descriptor left for {}"),
    errno.ENFILE: (Exhausted, "the system has no descriptor left for {}"),
    errno.ENOMEM: (Exhausted, "no memory left for {}"),
    errno.ENOENT: (NotFound, "there is no {}"),
    errno.ENOTDIR: (Conflict, "{}: a file is where a folder would have to be"),
    errno.EISDIR: (Conflict, "{} is a folder"),
    errno.ENOTEMPTY: (Conflict, "{} is not empty"),
    errno.EEXIST: (Conflict, "{} is there already"),
    errno.ELOOP: (BadPath, "{}: a symbolic link is in the path"),
    errno.ENAMETOOLONG: (BadPath, "{}: the file system takes no name as long as this"),
    errno.EINVAL: (BadPath, "{}: the file system does not take this name"),
}


def translated(error: OSError | MemoryError, what: str) -> GateError:
    """The error of ours that says what libc's says about `what` (a path, for the reader)."""
    number = (error.errno or 0) if isinstance(error, OSError) else errno.ENOMEM
    kind, text = _MEANINGS.get(number, (StorageFailed, "{}: " + os.strerror(number)))
    return kind(text.format(what))


@contextmanager
def translating(what: str) -> Iterator[None]:
    """Turn any `OSError` inside into ours, and a `MemoryError`."""
    try:
        yield
    except (OSError, MemoryError) as error:
        raise translated(error, what) from error


@contextmanager
def looking_for(what: str) -> Iterator[None]:
    """Like `translating`, for what is only looked up: where a file is in the way of a folder, there is nothing."""
    try:
        yield
    except NotADirectoryError as error:
        raise NotFound(f"there is no {what}") from error
    except OSError as error:
        raise translated(error, what) from error


def identity_of(found: os.stat_result) -> Identity:
    """The identity in what `stat` found."""
    return Identity(inode=found.st_ino, size=found.st_size, modified_ns=found.st_mtime_ns)


class Tree:
    """The visible files under one root folder."""

    def __init__(self, root: int, *, fsync: bool) -> None:
        self._root = root
        self._fsync = fsync

    @contextmanager
    def folder(self, path: str, *, create: bool = False) -> Iterator[int]:
        """The descriptor of a folder; with `create`, folders that are missing are made, durably."""
        here = os.open(".", _FOLDER, dir_fd=self._root)
        try:
            for name in path.split("/") if path else ():
                child = self._child(here, name, create=create)
                os.close(here)
                here = child
            yield here
        except OSError as error:
            if error.errno == errno.ENOTDIR and path and _is_link(self._root, path):
                raise BadPath(f"/{path}: a symbolic link is in the path") from error
            raise
        finally:
            os.close(here)

    def _child(self, here: int, name: str, *, create: bool) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=here)
        except FileNotFoundError:
            if not create:
                raise
        with suppress(FileExistsError):  # another request made it a moment ago
            self._make(here, name)
        return os.open(name, _FOLDER, dir_fd=here)

    def _make(self, here: int, name: str) -> None:
        os.mkdir(name, 0o777, dir_fd=here)
        try:
            if self._fsync:
                os.fsync(here)
        except OSError:  # who finds it there takes it for durable
            with suppress(OSError):
                os.rmdir(name, dir_fd=here)
            raise

    def check_place(self, path: str) -> None:
        """Raises `Conflict` or `BadPath`, or `OSError`, if no file can be shown at `path` as things are."""
        parent, _, name = path.rpartition("/")
        with suppress(FileNotFoundError), self.folder(parent) as here:
            there(name, here, f"/{path}")

    @contextmanager
    def file(self, path: str, flags: int = os.O_RDONLY) -> Iterator[int]:
        """The descriptor of a regular file. Raises `NotFound` for anything else, `BadPath` for a link."""
        parent, _, name = path.rpartition("/")
        if not name:
            raise NotFound("the root is a folder")
        with self.folder(parent) as here:
            fd = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise NotFound(f"/{path} is not a file")
            yield fd
        finally:
            os.close(fd)


def there(name: str, here: int, shown: str) -> Identity | None:
    """The file that has a name now. Raises `Conflict` or `BadPath` for anything else, which a rename might replace."""
    try:
        found = os.stat(name, dir_fd=here, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        raise BadPath(f"{shown} is a symbolic link")
    if not stat.S_ISREG(found.st_mode):
        raise Conflict(f"{shown} is {'a folder' if stat.S_ISDIR(found.st_mode) else 'not a file'}")
    return identity_of(found)


def _is_link(root: int, path: str) -> bool:
    """Whether the first part of `path` that is not a folder is a symbolic link (O_DIRECTORY says ENOTDIR for both)."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        try:
            mode = os.stat("/".join(parts[:depth]), dir_fd=root, follow_symlinks=False).st_mode
        except OSError:
            return False
        if not stat.S_ISDIR(mode):
            return stat.S_ISLNK(mode)
    return False
