"""Unfinished files: they grow while their bodies stream, survive a crash, and are renamed into place when whole.

Each is one file in `partial/`; being there is what makes it unfinished. Its lock (flock) belongs to one request at a
time, in whatever process, and is gone with the process.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from h2gate.errors import Locked, NotFound, StorageFailed
from h2gate.lane import Threads
from h2gate.storage.blocks import BLOCK, Blocks
from h2gate.storage.tree import identity_of, translating
from h2gate.storage.writer import Writer, check_room, set_direct, set_time
from h2gate.upload import Identity, Tap

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def create(folder: int, key: str, *, fsync: bool) -> None:
    """An empty file, durably."""
    os.close(os.open(key, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder))
    if fsync:
        os.fsync(folder)


def open_held(folder: int, key: str, doubts: set[str], *, fsync: bool) -> int:
    """A descriptor that holds the file's lock, with all that is in the file on the disk; where it could not be brought
    there, the file is one of the `doubts`. Raises `NotFound`, `Locked`, `OSError`."""
    try:
        fd = os.open(key, _FLAGS, dir_fd=folder)
    except FileNotFoundError:
        raise NotFound("there is no such unfinished upload") from None
    try:
        _lock(fd)
        if not _is_still_there(folder, key, fd):
            raise NotFound("the upload has ended")
        if fsync:
            sync(fd, key, doubts)  # what a killed process wrote is in the page cache only; else it costs nothing
    except BaseException:
        os.close(fd)
        raise
    return fd


def sync(fd: int, key: str, doubts: set[str]) -> None:
    """As `os.fsync`. After an error the system takes what it could not write for written, and the next sync for
    done: so the error is remembered here."""
    try:
        os.fsync(fd)
    except OSError:
        doubts.add(key)
        raise


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


@dataclass(frozen=True, slots=True)
class Place:
    """An unfinished file that is held: its folder and its own descriptor, which is closed by whoever opened it."""

    folder: int
    key: str
    fd: int
    doubts: set[str]
    """The files of this storage of which a sync has failed."""


class DiskPartial:
    """See `storage.base.Partial`."""

    def __init__(self, place: Place, threads: Threads, blocks: Blocks, *, direct: bool, fsync: bool) -> None:
        self.size = os.fstat(place.fd).st_size
        self._place = place
        self._fd = place.fd
        self._threads = threads
        self._blocks = blocks
        self._direct = direct
        self._fsync = fsync
        self._taps: Sequence[Tap] = ()
        self._n_bytes: int | None = None
        self._writer: Writer | None = None

    @property
    def is_doubtful(self) -> bool:
        return self._place.key in self._place.doubts

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
        with self._distrusting(self._writer):
            self._writer.write(chunks)

    @contextmanager
    def _distrusting(self, writer: Writer) -> Iterator[None]:
        """Where a sync fails, what it was for goes at once: were this process killed, the next would trust it."""
        try:
            yield
        finally:
            if writer.has_failed_to_sync:
                self._place.doubts.add(self._place.key)
                with suppress(OSError):
                    os.ftruncate(self._fd, self.size)

    async def sync(self) -> int:
        return await self._made_durable(last=False)

    async def finish(self) -> int:
        size = await self._made_durable(last=True)
        self._writer = None
        return size

    async def _made_durable(self, *, last: bool) -> int:
        if self.is_doubtful:
            raise StorageFailed("the storage has failed for this upload")
        if self._writer is not None:
            with translating("the upload"):
                self.size = max(self.size, await self._threads.submit(self._sync, self._writer, last=last))
        return self.size

    def _sync(self, writer: Writer, *, last: bool) -> int:
        with self._distrusting(writer):
            if last:
                writer.flush()
            writer.sync()
        return writer.offset

    async def stamp(self, modified_ns: int | None) -> Identity:
        with translating("the upload"):
            return await self._threads.submit(self._stamp, modified_ns)

    def _stamp(self, modified_ns: int | None) -> Identity:
        set_time(self._fd, modified_ns)
        if self._fsync:
            sync(self._fd, self._place.key, self._place.doubts)
        return identity_of(os.fstat(self._fd))

    async def cut(self, size: int) -> None:
        with translating("the upload"):
            await self._threads.submit(self._cut, size)
        self.size = size
        self._writer = None

    def _cut(self, size: int) -> None:
        set_direct(self._fd, False)  # a body that was not finished may have left it on; what comes now may be read
        os.ftruncate(self._fd, size)
        if self._fsync:
            sync(self._fd, self._place.key, self._place.doubts)
        self._place.doubts.discard(self._place.key)

    async def feed(self, start: int, stop: int, tap: Tap) -> None:
        with translating("the upload"):
            for at in range(start, stop, BLOCK):
                await self._threads.submit(self._feed, at, min(stop, at + BLOCK), tap)

    def _feed(self, start: int, stop: int, tap: Tap) -> None:
        tap.update(os.pread(self._fd, stop - start, start))

    async def join(self, keys: Sequence[str]) -> None:
        with translating("a part of the upload"):
            for key in keys:
                job = self._threads.submit(os.open, key, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._place.folder)
                fd = await descriptor(job)
                try:
                    for at in range(0, os.fstat(fd).st_size, BLOCK):
                        await self._threads.submit(self._copy, fd, at)
                finally:
                    os.close(fd)

    def _copy(self, fd: int, start: int) -> None:
        self._write([os.pread(fd, BLOCK, start)])
