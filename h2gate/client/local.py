"""Files at this end: found, read piece by piece while they are hashed, and written beside their name until verified.

Reading and writing happen in threads. A file that is not the same at the end as at the start of its sending is an
error: what was sent would be a state it never had.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

import httpx

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


class FileBody(httpx.AsyncByteStream):
    """A request body that is a file, hashed as it goes; may be iterated again."""

    replayable = True

    def __init__(self, path: Path, size: int, progress: Callable[[int], None]) -> None:
        self._path = path
        self._size = size
        self._progress = progress
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> bytes:
        """SHA-256 of everything handed out."""
        return self._hash.digest()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._hash = hashlib.sha256()
        try:
            with ExitStack() as opened:
                file = await in_thread(self._open, opened)
                before = os.fstat(file.fileno())
                left = self._size
                while left:
                    piece = await in_thread(self._read, file, left)
                    left -= len(piece)
                    self._progress(len(piece))
                    if not left:
                        self._check(file, before)
                    yield piece
        except OSError as error:
            raise local_failure(self._path, error) from error

    def _open(self, opened: ExitStack) -> BinaryIO:
        return opened.enter_context(self._path.open("rb", buffering=0))

    def _read(self, file: BinaryIO, left: int) -> bytes:
        piece = file.read(min(PIECE, left))
        if not piece:
            raise FileChanged(f"{self._path}: shrank while it was sent")
        self._hash.update(piece)
        return piece

    def _check(self, file: BinaryIO, before: os.stat_result) -> None:
        """Before the last piece leaves, so that the gateway never gets a whole body that is wrong."""
        now = os.fstat(file.fileno())
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns) or now.st_size != self._size:
            raise FileChanged(f"{self._path}: changed while it was sent")


class StandardInput(httpx.AsyncByteStream):
    """Standard input as a request body of unknown length, hashed as it goes. Once."""

    replayable = False

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress = progress
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in _standard_input():
            self._hash.update(piece)
            self._progress(len(piece))
            yield piece


async def _standard_input() -> AsyncIterator[bytes]:
    raw = sys.stdin.buffer
    if stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        while piece := await in_thread(raw.read, PIECE):
            yield piece
        return
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader(limit=PIECE)
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), raw)  # a thread could not be
    try:  # interrupted while it waits for a pipe or a terminal
        while piece := await reader.read(PIECE):
            yield piece
    finally:
        pipe.close()


class FileSink:
    """A file being received: `.NAME.….part` beside its name until `commit`. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.part")
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    async def write(self, data: bytes) -> None:
        await in_thread(self._write, data)

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("xb", buffering=0)
        view = memoryview(data)
        self._hash.update(view)
        while view:
            view = view[self._file.write(view) :]

    async def commit(self, modified_ns: int | None) -> None:
        """Give the file its name (and time): what was there before is replaced in one step."""
        await self.write(b"")
        await in_thread(self._commit, modified_ns)

    def _commit(self, modified_ns: int | None) -> None:
        if self._file is not None:
            self._file.close()
        if modified_ns is not None:
            os.utime(self._part, ns=(modified_ns, modified_ns))
        self._part.replace(self._path)

    def __enter__(self) -> FileSink:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)


class StandardOutput:
    """The same for standard output, which nothing can take back."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    async def write(self, data: bytes) -> None:
        self._hash.update(data)
        await in_thread(sys.stdout.buffer.write, data)

    async def commit(self, modified_ns: int | None) -> None:
        del modified_ns
        await in_thread(sys.stdout.buffer.flush)

    def __enter__(self) -> StandardOutput:
        return self

    def __exit__(self, *_: object) -> None:
        return None
