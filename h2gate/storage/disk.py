"""Files on a local disk: staged beside, synced, renamed, folder synced, and only then acknowledged.

`files/` is what is shown, `staging/` what is coming in; both on one file system. Small bodies go through lanes, where
many share a sync; large ones are written block by block from a pool of threads, at the pace of the disk.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from h2gate.errors import BadPath, Conflict, Locked, NotFound, StorageFull
from h2gate.lane import Lane
from h2gate.storage.base import Entry
from h2gate.storage.small import Commit, Committer, SmallFile, SmallWriter
from h2gate.storage.tree import Tree, translating
from h2gate.storage.writer import Blocks, Writer
from h2gate.upload import Body, Identity, Tap

SMALL_BYTES = 128 << 10
READ_BYTES = 256 << 10
_THREADS = 32
_T = TypeVar("_T")


class DiskStorage:
    """See `storage.base.Storage`."""

    def __init__(self, root: Path, *, fsync: bool = True, direct_io: bool = True) -> None:
        with translating(str(root)):
            for folder in (root / "files", root / "staging"):
                folder.mkdir(parents=True, exist_ok=True)
            self._files = os.open(root / "files", os.O_RDONLY | os.O_DIRECTORY)
            self._staging = os.open(root / "staging", os.O_RDONLY | os.O_DIRECTORY)
        self._fsync = fsync
        self._direct_io = direct_io
        self._blocks = Blocks()
        self._tree = Tree(self._files, fsync=fsync)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="h2gate-disk")
        self._small: Lane[SmallFile, Identity] = Lane("h2gate-small", SmallWriter(self._staging, fsync=fsync))
        committer = Committer(self._staging, self._tree, fsync=fsync)
        self._commits: Lane[Commit, bool] = Lane("h2gate-commit", committer)

    async def stage(self, key: str, body: Body, taps: Sequence[Tap], *, modified_ns: int | None) -> Identity:
        first = await body.pull()
        if first.last and first.n_bytes <= SMALL_BYTES:
            return await self._small.submit(SmallFile(key, first.chunks, taps, modified_ns))
        fd = await self._run(self._open_staged, key, body.length)
        writer = Writer(fd, 0, self._blocks, direct=self._direct_io, fsync=self._fsync)
        try:
            batch = first
            while True:
                await self._run(writer.write, batch.chunks, taps)
                if batch.last:
                    break
                batch = await body.pull()
            return await self._run(self._finish, fd, writer, modified_ns)
        except BaseException:
            await self._run(self._unlink_staged, key)
            raise
        finally:
            os.close(fd)

    def _open_staged(self, key: str, length: int | None) -> int:
        fd = os.open(key, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=self._staging)
        if length is not None:
            room = os.fstatvfs(fd)
            if length > room.f_bavail * room.f_frsize:
                os.close(fd)
                self._unlink_staged(key)
                raise StorageFull("this file is larger than the space left")
        return fd

    def _finish(self, fd: int, writer: Writer, modified_ns: int | None) -> Identity:
        writer.finish()
        if modified_ns is not None:
            os.utime(fd, ns=(modified_ns, modified_ns))
        if self._fsync:
            os.fsync(fd)
        return identity_of(os.fstat(fd))

    async def commit(self, key: str, path: str, *, may_replace: bool) -> bool:
        return await self._commits.submit(Commit(key, path, may_replace))

    async def discard(self, key: str) -> None:
        await self._run(self._unlink_staged, key)

    def _unlink_staged(self, key: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(key, dir_fd=self._staging)

    async def staged(self) -> list[str]:
        return await self._run(os.listdir, self._staging)

    async def extend(
        self, path: str, identity: Identity, body: Body, taps: Sequence[Tap], check: Callable[[], None]
    ) -> Identity:
        fd = await self._run(self._open_to_extend, path, identity)
        try:
            writer = Writer(fd, identity.size, self._blocks, direct=self._direct_io, fsync=self._fsync)
            try:
                last = False
                while not last:
                    batch = await body.pull()
                    await self._run(writer.write, batch.chunks, taps)
                    last = batch.last
                check()
                return await self._run(self._finish, fd, writer, None)
            except BaseException:
                await self._run(self._cut, fd, identity)
                raise
        finally:
            os.close(fd)

    def _open_to_extend(self, path: str, identity: Identity) -> int:
        with self._tree.file(path, os.O_RDWR) as found:
            try:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Locked(f"/{path} is being written by another request") from None
            if identity_of(os.fstat(found)) != identity:
                raise Conflict(f"/{path} has changed")
            return os.dup(found)  # the lock belongs to the open file, so the duplicate holds it

    def _cut(self, fd: int, identity: Identity) -> None:
        os.ftruncate(fd, identity.size)
        os.utime(fd, ns=(identity.modified_ns, identity.modified_ns))
        if self._fsync:
            os.fsync(fd)

    async def restore(self, path: str, identity: Identity) -> Identity | None:
        return await self._run(self._restore, path, identity)

    def _restore(self, path: str, identity: Identity) -> Identity | None:
        with suppress(NotFound, FileNotFoundError), self._tree.file(path, os.O_RDWR) as fd:
            found = os.fstat(fd)
            if found.st_ino == identity.inode and found.st_size >= identity.size:
                self._cut(fd, identity)
                return identity_of(os.fstat(fd))
        return None

    async def stat(self, path: str) -> Identity:
        return await self._run(self._stat, path)

    def _stat(self, path: str) -> Identity:
        parent, _, name = path.rpartition("/")
        with translating(f"/{path}"), self._tree.folder(parent) as here:
            found = os.stat(name or ".", dir_fd=here, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            raise BadPath(f"/{path} is a symbolic link")
        if not stat.S_ISREG(found.st_mode):
            raise NotFound(f"/{path} is not a file")
        return identity_of(found)

    async def read(self, path: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        fd = await self._run(self._open_to_read, path)
        try:
            while start < stop:
                chunk = await self._run(os.pread, fd, min(READ_BYTES, stop - start), start)
                if not chunk:
                    raise Conflict(f"/{path} became shorter while it was read")
                start += len(chunk)
                yield chunk
        finally:
            os.close(fd)

    def _open_to_read(self, path: str) -> int:
        with self._tree.file(path) as fd:
            return os.dup(fd)

    async def feed(self, path: str, size: int, tap: Tap) -> None:
        with translating(f"/{path}"):
            fd = await self._run(self._open_to_read, path)
        await self._run(_feed, fd, size, tap)

    async def feed_staged(self, key: str, tap: Tap) -> None:
        fd = await self._run(lambda: os.open(key, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._staging))
        await self._run(_feed, fd, os.fstat(fd).st_size, tap)

    async def remove(self, path: str) -> None:
        await self._run(self._remove, path)

    def _remove(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        if not name:
            raise Conflict("the root folder stays")
        with translating(f"/{path}"), self._tree.folder(parent) as here:
            try:
                os.unlink(name, dir_fd=here)
            except (IsADirectoryError, PermissionError):
                os.rmdir(name, dir_fd=here)
            if self._fsync:
                os.fsync(here)

    async def entries(self, path: str) -> list[Entry]:
        return await self._run(self._entries, path)

    def _entries(self, path: str) -> list[Entry]:
        found = []
        with self._tree.folder(path) as here, os.scandir(here) as names:
            for each in names:
                with suppress(FileNotFoundError):  # removed since
                    facts = each.stat(follow_symlinks=False)
                    is_folder = stat.S_ISDIR(facts.st_mode)
                    if is_folder or stat.S_ISREG(facts.st_mode):
                        found.append(Entry(each.name, is_folder, identity_of(facts)))
        return sorted(found, key=lambda entry: entry.name)

    async def close(self) -> None:
        await self._small.close()
        await self._commits.close()
        await asyncio.to_thread(self._pool.shutdown)
        os.close(self._files)
        os.close(self._staging)

    async def _run(self, work: Callable[..., _T], *args: object) -> _T:
        """Run blocking `work` in the pool; wait for its end even when cancelled: it may hold a descriptor of ours."""
        job = asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
        try:
            with translating("the file or folder"):
                return await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.wait([job])
            raise


def identity_of(found: os.stat_result) -> Identity:
    """The identity in what `stat` found."""
    return Identity(inode=found.st_ino, size=found.st_size, modified_ns=found.st_mtime_ns)


def _feed(fd: int, size: int, tap: Tap) -> None:
    """Read the first `size` bytes of `fd` into `tap`, and close it."""
    try:
        for start in range(0, size, READ_BYTES):
            tap.update(os.pread(fd, min(READ_BYTES, size - start), start))
    finally:
        os.close(fd)
