"""Unfinished files: they grow while their bodies stream, survive a crash, and are renamed into place when whole.

Each is one file in `partial/`; being there is what makes it unfinished. Its lock (flock) belongs to one request at a
time, in whatever process, and is gone with the process.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress

from h2gate.errors import Locked, NotFound, StorageFailed
from h2gate.lane import Threads
from h2gate.storage.tree import translating
from h2gate.storage.writer import BLOCK, Blocks, Writer, check_room, set_direct, stamped
from h2gate.upload import Identity, Tap

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def create(folder: int, key: str, *, fsync: bool) -> None:
    """An empty file, durably."""
    os.close(os.open(key, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder))
    if fsync:
        os.fsync(folder)


def open_held(folder: int, key: str, *, fsync: bool) -> int:
    """A descriptor that holds the file's lock, with all that is in the file on the disk. Raises `NotFound`, `Locked`,
    `OSError`."""
    try:
        fd = os.open(key, _FLAGS, dir_fd=folder)
    except FileNotFoundError:
        raise NotFound("there is no such unfinished upload") from None
    try:
        _lock(fd)
        if not _is_still_there(folder, key, fd):
            raise NotFound("the upload has ended")
        if fsync:
            os.fsync(fd)  # what a killed process wrote is in the page cache only; it costs nothing when all is there
    except BaseException:
        os.close(fd)
        raise
    return fd


def _lock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Locked("another request is writing this upload") from None


def _is_still_there(folder: int, key: str, fd: int) -> bool:
    """False when it was shown or removed while we waited for its lock."""
    with suppress(FileNotFoundError):
        return os.stat(key, dir_fd=folder, follow_symlinks=False).st_ino == os.fstat(fd).st_ino
    return False


async def descriptor(job: asyncio.Future[int]) -> int:
    """What a job opens; if this is cancelled, nobody will hear of it, and it is closed."""
    try:
        return await job
    except asyncio.CancelledError:
        if job.exception() is None:
            os.close(job.result())
        raise


def sizes(folder: int) -> dict[str, int]:
    """Of all unfinished files."""
    found = {}
    with os.scandir(folder) as names:
        for each in names:
            with suppress(FileNotFoundError):
                found[each.name] = each.stat(follow_symlinks=False).st_size
    return found


class DiskPartial:
    """See `storage.base.Partial`. `fd` is closed by whoever opened it."""

    def __init__(self, fd: int, folder: int, threads: Threads, blocks: Blocks, *, direct: bool, fsync: bool) -> None:
        self.size = os.fstat(fd).st_size
        self._fd = fd
        self._folder = folder
        self._threads = threads
        self._blocks = blocks
        self._direct = direct
        self._fsync = fsync
        self._taps: Sequence[Tap] = ()
        self._n_bytes: int | None = None
        self._writer: Writer | None = None
        self._is_broken = False

    def begin(self, taps: Sequence[Tap], n_bytes: int | None = None) -> None:
        self._taps = taps
        self._n_bytes = n_bytes
        self._writer = None

    async def write(self, chunks: Sequence[bytes]) -> None:
        with translating("the upload"):
            await self._threads.submit(self._write, chunks)

    def _write(self, chunks: Sequence[bytes]) -> None:
        if self._writer is None:
            check_room(self._fd, self._n_bytes)
            args = (self._fd, self.size, self._blocks, self._taps)
            self._writer = Writer(*args, direct=self._direct, fsync=self._fsync)
        self._writer.write(chunks)

    async def sync(self) -> int:
        return await self._made_durable(last=False)

    async def finish(self) -> int:
        size = await self._made_durable(last=True)
        self._writer = None
        return size

    async def _made_durable(self, *, last: bool) -> int:
        if self._is_broken:
            raise StorageFailed("the storage has failed for this upload")
        if self._writer is not None:
            with translating("the upload"):
                self.size = max(self.size, await self._threads.submit(self._sync, self._writer, last=last))
        return self.size

    def _sync(self, writer: Writer, *, last: bool) -> int:
        self._is_broken = True
        if last:
            writer.flush()
        writer.sync()
        self._is_broken = False
        return writer.offset

    async def stamp(self, modified_ns: int | None) -> Identity:
        with translating("the upload"):
            return await self._threads.submit(stamped, self._fd, modified_ns, fsync=self._fsync)

    async def cut(self, size: int) -> None:
        with translating("the upload"):
            await self._threads.submit(self._cut, size)
        self.size = size
        self._writer = None

    def _cut(self, size: int) -> None:
        set_direct(self._fd, False)  # a body that was not finished may have left it on; what comes now may be read
        os.ftruncate(self._fd, size)
        if self._fsync:
            os.fsync(self._fd)

    async def feed(self, start: int, stop: int, tap: Tap) -> None:
        with translating("the upload"):
            for at in range(start, stop, BLOCK):
                await self._threads.submit(self._feed, at, min(stop, at + BLOCK), tap)

    def _feed(self, start: int, stop: int, tap: Tap) -> None:
        tap.update(os.pread(self._fd, stop - start, start))

    async def join(self, keys: Sequence[str]) -> None:
        with translating("a part of the upload"):
            for key in keys:
                job = self._threads.submit(os.open, key, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
                fd = await descriptor(job)
                try:
                    for at in range(0, os.fstat(fd).st_size, BLOCK):
                        await self._threads.submit(self._copy, fd, at)
                finally:
                    os.close(fd)

    def _copy(self, fd: int, start: int) -> None:
        self._write([os.pread(fd, BLOCK, start)])
