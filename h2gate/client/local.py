"""Files at this end: found, and read if they are small. What blocks happens in threads."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from h2gate.client.failures import FileChanged, LocalFile

PIECE = 1 << 19
"""Bytes read or written in one job of a thread."""

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Blocking work off the loop; when cancelled it still waits for the job, so that its file may be closed after."""
    job: asyncio.Future[T] = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
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


def scan(path: Path, skipped: Callable[[str, str], None]) -> Iterator[tuple[Path, int]]:
    """`path` if it is a file, else the files below it in order, with their sizes. Links and special files are skipped.

    Only a link that is `path` itself is followed. Raises `LocalFile` when `path` cannot be looked at.
    """
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            yield path, status.st_size
        elif stat.S_ISDIR(status.st_mode):
            yield from _below(path, skipped)
        else:
            raise LocalFile(f"{path}: neither a file nor a folder")
    except OSError as error:
        raise local_failure(path, error) from error


def _below(folder: Path, skipped: Callable[[str, str], None]) -> Iterator[tuple[Path, int]]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = folder / entry.name
        if entry.is_symlink():
            skipped(str(path), "a symbolic link")
        elif entry.is_dir():
            try:
                yield from _below(path, skipped)
            except OSError as error:
                skipped(str(path), error.strerror or str(error))
        elif entry.is_file():
            yield path, entry.stat().st_size
        else:
            skipped(str(path), "not a regular file")


def local_failure(path: Path | str, error: OSError) -> LocalFile:
    return LocalFile(f"{path}: {error.strerror or error}")


def read_small(path: Path) -> tuple[bytes, os.stat_result]:
    """A whole file that is known to be small, and what it was. Raises `LocalFile`, `FileChanged`."""
    try:
        with path.open("rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            data = file.read(before.st_size + 1) or b""
    except OSError as error:
        raise local_failure(path, error) from error
    if len(data) != before.st_size:
        raise FileChanged(f"{path}: changed while it was sent")
    return data, before
