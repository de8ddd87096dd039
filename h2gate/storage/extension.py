"""Writing behind the end of a visible file, by one request at a time, whatever process it is in."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence

from h2gate.errors import Locked
from h2gate.lane import Threads
from h2gate.storage.blocks import Blocks
from h2gate.storage.tree import Tree, identity_of, translating
from h2gate.storage.writer import Writer, check_room
from h2gate.upload import Body, Identity, Tap


def open_locked(tree: Tree, path: str) -> int:
    """A descriptor that holds the file's lock until it is closed. Raises `NotFound`, `Locked`, `OSError`."""
    with tree.file(path, os.O_RDWR) as found:
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(f"/{path} is being written by another request") from None
        return os.dup(found)  # the lock belongs to the open file, so the duplicate holds it


def cut(fd: int, identity: Identity, *, fsync: bool) -> None:
    """Give a file the size and time of `identity` again."""
    os.ftruncate(fd, identity.size)
    os.utime(fd, ns=(identity.modified_ns, identity.modified_ns))
    if fsync:
        os.fsync(fd)


class DiskExtension:
    """See `storage.base.Extension`. `fd` is closed by whoever opened it."""

    def __init__(self, fd: int, threads: Threads, blocks: Blocks, *, direct: bool, fsync: bool) -> None:
        self.identity = identity_of(os.fstat(fd))
        self._fd = fd
        self._threads = threads
        self._blocks = blocks
        self._direct = direct
        self._fsync = fsync

    async def write(self, body: Body, taps: Sequence[Tap], check: Callable[[], None]) -> Identity:
        with translating("the file"):
            end = os.lseek(self._fd, 0, os.SEEK_END)
            writer = Writer(self._fd, end, self._blocks, taps, direct=self._direct, fsync=self._fsync)
            await self._threads.submit(check_room, self._fd, body.length)
            last = False
            while not last:
                batch = await body.pull()
                await self._threads.submit(writer.write, batch.chunks)
                last = batch.last
            await self._threads.submit(writer.flush)  # now the taps have seen it all
            check()
            return await self._threads.submit(writer.finish)

    async def cut(self, identity: Identity) -> None:
        with translating("the file"):
            await self._threads.submit(cut, self._fd, identity, fsync=self._fsync)
