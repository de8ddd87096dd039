"""Files at this end: found, and read if they are small. What blocks happens in threads."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from h2gate.client.failures import FileChanged, LocalFile
from h2gate.client.selection import ALL, Selection
from h2gate.lane import give_way

PIECE = 1 << 19
"""Bytes read or written in one job of a thread."""

P = ParamSpec("P")
T = TypeVar("T")


_SENDING = ThreadPoolExecutor(1, "h2gate-sending", initializer=give_way)
"""What is sent is read and hashed here. More threads, or one that does not give way, take more time from the one that
encrypts and sends than they save: 64 files of 16 MiB went at 0.9 of the rate with six."""


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Blocking work off the loop; when cancelled it still waits for the job, so that its file may be closed after."""
    return await _done(asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs)))


async def beside_sending(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Like `in_thread`, in the one thread that reads what is sent."""
    job = partial(function, *args, **kwargs)
    return await _done(asyncio.get_running_loop().run_in_executor(_SENDING, job))


async def _done(job: asyncio.Future[T]) -> T:
    job.add_done_callback(lambda done: done.cancelled() or done.exception())  # its caller may be gone
    cancelled: asyncio.CancelledError | None = None
    while not job.done():
        try:
            await asyncio.wait({job})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return job.result()


def scan(path: Path, skipped: Callable[[str, str], None], selection: Selection = ALL) -> Iterator[tuple[Path, int]]:
    """`path` if it is a file, else the files below it in order, with their sizes; of all, what `selection` takes.

    Special files are skipped, and so are links, but for one that is `path` itself, unless they are to be followed.
    Raises `LocalFile` when `path` cannot be looked at.
    """
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            if selection.takes(path.name):
                yield path, status.st_size
        elif stat.S_ISDIR(status.st_mode):
            yield from _Walk(skipped, selection).below(path, "", (_identity(status),))
        else:
            raise LocalFile(f"{path}: neither a file nor a folder")
    except OSError as error:
        raise local_failure(path, error) from error


class _Walk:
    """Down a tree. `within` is the name below its top, `above` are the folders on the way down: a link to one of them
    would lead round and round."""

    def __init__(self, skipped: Callable[[str, str], None], selection: Selection) -> None:
        self._skipped = skipped
        self._selection = selection

    def below(self, folder: Path, within: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[Path, int]]:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            path = folder / entry.name
            try:
                yield from self._entry(entry, path, within + entry.name, above)
            except OSError as error:
                self._skipped(str(path), error.strerror or str(error))

    def _entry(
        self, entry: os.DirEntry[str], path: Path, within: str, above: tuple[tuple[int, int], ...]
    ) -> Iterator[tuple[Path, int]]:
        is_link = entry.is_symlink()
        if is_link and self._selection.links == "skip":
            if self._selection.takes(within):
                self._skipped(str(path), "a symbolic link")
            return
        if is_link and not path.exists():
            if self._selection.takes(within):
                self._skipped(str(path), "a link that leads nowhere")
            return
        status = entry.stat()
        if stat.S_ISDIR(status.st_mode):
            yield from self._folder(path, within, _identity(status), above)
        elif not self._selection.takes(within):
            return
        elif stat.S_ISREG(status.st_mode):
            yield path, status.st_size
        else:
            self._skipped(str(path), "not a regular file")

    def _folder(
        self, path: Path, within: str, here: tuple[int, int], above: tuple[tuple[int, int], ...]
    ) -> Iterator[tuple[Path, int]]:
        if not self._selection.enters(within):
            return
        if here in above:
            self._skipped(str(path), "a link to a folder that it is in: following it would never end")
            return
        yield from self.below(path, within + "/", (*above, here))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def local_failure(path: Path | str, error: OSError) -> LocalFile:
    return LocalFile(f"{path}: {error.strerror or error}")


def read_small(path: Path) -> tuple[bytes, os.stat_result]:
    """A whole small file as it was at one moment, and what tells which. Raises `LocalFile`, `FileChanged`."""
    try:
        with path.open("rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            data = file.read(before.st_size + 1) or b""
            after = os.fstat(file.fileno())
    except OSError as error:
        raise local_failure(path, error) from error
    if len(data) != before.st_size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise FileChanged(f"{path}: changed while it was sent")
    return data, before


def expect(descriptor: int, offset: int, n_bytes: int) -> None:
    """Let the system have these bytes of a file at hand soon, where it can."""
    if sys.platform == "linux":
        os.posix_fadvise(descriptor, offset, n_bytes, os.POSIX_FADV_WILLNEED)


if sys.platform == "win32":

    def try_lock(descriptor: int) -> bool | None:
        """Whether the file is this process's alone now; None where there is no such lock."""
        return None

else:
    import fcntl

    def try_lock(descriptor: int) -> bool | None:
        """Whether the file is this process's alone now; None where there is no such lock."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
