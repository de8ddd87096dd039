"""Files on a local disk: staged beside, synced, renamed, folder synced, and only then acknowledged.

`files/` is what is shown, `staging/` what is coming in whole, `partial/` what comes in bit by bit; all on one file
system. Small bodies go through lanes, where
many share a sync; large ones are written block by block from a pool of threads, at the pace of the disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from h2gate.errors import BadPath, Conflict, NotFound
from h2gate.lane import Lane, Threads
from h2gate.storage import partial
from h2gate.storage.base import Entry
from h2gate.storage.blocks import Blocks
from h2gate.storage.extension import DiskExtension, cut, open_locked
from h2gate.storage.remains import Remains
from h2gate.storage.small import STAGES, Commit, Committer, SmallFile, SmallWriter, close, place
from h2gate.storage.tree import Tree, identity_of, looking_for, translating
from h2gate.storage.writer import Writer, check_room
from h2gate.toll import Toll
from h2gate.upload import Body, Identity, Tap

SMALL_BYTES = 128 << 10
READ_BYTES = 256 << 10
FIRST_READ_BYTES = 64 << 10
"""Before it is known whether anybody takes it."""
_THREADS = 32
_SMALL_AT_ONCE = 512
"""Of each who sends them: two batches, one that is written and one that comes together."""
_Given = ParamSpec("_Given")
_T = TypeVar("_T")


class DiskStorage:
    """See `storage.base.Storage`."""

    def __init__(self, root: Path, *, fsync: bool = True, direct_io: bool = True) -> None:
        with translating(str(root)):
            self._files, self._staging, self._partial = (
                _open_folder(root / name) for name in ("files", "staging", "partial")
            )
            self._stages = [root / "staging" / f"{number:x}" for number in range(STAGES)]
            for stage in self._stages:
                stage.mkdir(exist_ok=True)
        self._fsync = fsync
        self._direct_io = direct_io
        self._blocks = Blocks()
        self._remains = Remains()
        self._doubts: set[str] = set()
        """The unfinished files of which a sync has failed, until they are cut back."""
        self._tree = Tree(self._files, fsync=fsync)
        self._threads = Threads("h2gate-disk", _THREADS)
        writer = SmallWriter(self._staging, self._remains, fsync=fsync)
        self._small: Lane[SmallFile, Identity] = Lane("h2gate-small", writer)
        self._toll = Toll(_SMALL_AT_ONCE)
        committer = Committer(self._tree, fsync=fsync)
        self._commits: Lane[Commit, Identity | None] = Lane("h2gate-commit", committer)

    async def stage(self, key: str, body: Body, taps: Sequence[Tap], *, modified_ns: int | None) -> Identity:
        first = None
        fd = -1
        try:
            if body.length is None or body.length <= SMALL_BYTES:
                first = await body.pull()
                if first.last and first.n_bytes <= SMALL_BYTES:
                    return await self._stage_small(SmallFile(key, first.chunks, taps, modified_ns))
            fd = await self._open(self._open_staged, key, body.length)
            writer = Writer(fd, 0, self._blocks, taps, direct=self._direct_io, fsync=self._fsync)
            batch = first if first is not None else await body.pull()
            while True:
                await self._run(writer.write, batch.chunks)
                if batch.last:
                    break
                batch = await body.pull()
            identity = await self._run(writer.finish, modified_ns)
        except BaseException:
            await self._run(self._abandon, key, fd)
            raise
        close(fd)
        return identity

    async def _stage_small(self, file: SmallFile) -> Identity:
        who = await self._toll.enter()
        try:
            return await self._small.submit(file)
        finally:
            self._toll.leave(who)

    def _open_staged(self, key: str, length: int | None) -> int:
        check_room(self._staging, length)
        return os.open(place(key), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=self._staging)

    def _abandon(self, key: str, fd: int) -> None:
        self._remains.remove(self._staging, place(key))
        if fd >= 0:
            close(fd)  # this is what frees the blocks, and takes a while where they are many

    async def look_ahead(self, path: str | None, n_bytes: int | None) -> None:
        with translating(f"/{path}"):
            await self._threads.submit(self._look_ahead, path, n_bytes)

    def _look_ahead(self, path: str | None, n_bytes: int | None) -> None:
        check_room(self._partial, n_bytes)
        if path is not None:
            self._tree.check_place(path)

    async def commit(
        self, key: str, path: str, *, may_replace: bool | Identity, partial: bool = False
    ) -> Identity | None:
        folder, name = (self._partial, key) if partial else (self._staging, place(key))
        replaced = await self._commits.submit(Commit(folder, name, path, may_replace))
        self._doubts.discard(key)
        return replaced

    async def confirm(self, path: str) -> None:
        await self._run(self._confirm, path)

    def _confirm(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        with suppress(NotFound), looking_for(f"/{path}"), self._tree.folder(parent) as here:
            if self._fsync:
                os.fsync(here)

    async def discard(self, key: str) -> None:
        await self._run(self._remains.remove, self._staging, place(key))

    async def tidy(self) -> None:
        await self._run(self._remains.sweep)

    async def staged(self) -> list[str]:
        return await self._run(self._staged)

    def _staged(self) -> list[str]:
        return [file.name for stage in self._stages for file in stage.iterdir()]

    async def begin(self, key: str) -> None:
        await self._run(self._begin, key)

    def _begin(self, key: str) -> None:
        self._remains.clear(self._partial, key)
        partial.create(self._partial, key, fsync=self._fsync)

    @asynccontextmanager
    async def holding(self, key: str) -> AsyncIterator[partial.DiskPartial]:
        fd = await self._open(partial.open_held, self._partial, key, self._doubts, fsync=self._fsync)
        try:
            place = partial.Place(self._partial, key, fd, self._doubts)
            yield partial.DiskPartial(place, self._threads, self._blocks, direct=self._direct_io, fsync=self._fsync)
        finally:
            await self._run(close, fd)  # of a file that was dropped, this is what frees the blocks

    async def partials(self) -> dict[str, int]:
        return await self._run(partial.sizes, self._partial)

    async def drop(self, key: str) -> None:
        await self._run(self._remains.remove, self._partial, key)
        self._doubts.discard(key)

    @asynccontextmanager
    async def extending(self, path: str) -> AsyncIterator[DiskExtension]:
        fd = await self._open(open_locked, self._tree, path)
        try:
            yield DiskExtension(fd, self._threads, self._blocks, direct=self._direct_io, fsync=self._fsync)
        finally:
            close(fd)

    async def restore(self, path: str, identity: Identity) -> Identity | None:
        return await self._run(self._restore, path, identity)

    def _restore(self, path: str, identity: Identity) -> Identity | None:
        with suppress(NotFound, BadPath, Conflict), looking_for(f"/{path}"), self._tree.file(path, os.O_RDWR) as fd:
            found = os.fstat(fd)
            if found.st_ino == identity.inode and found.st_size >= identity.size:
                cut(fd, identity, fsync=self._fsync)
                return identity_of(os.fstat(fd))
        return None

    async def stat(self, path: str) -> Identity:
        return await self._run(self._stat, path)

    def _stat(self, path: str) -> Identity:
        parent, _, name = path.rpartition("/")
        with looking_for(f"/{path}"), self._tree.folder(parent) as here:
            found = os.stat(name or ".", dir_fd=here, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            raise BadPath(f"/{path} is a symbolic link")
        if not stat.S_ISREG(found.st_mode):
            raise NotFound(f"/{path} is not a file")
        return identity_of(found)

    async def read(self, path: str, inode: int, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        fd = await self._open(self._open_to_read, path, inode)
        size = FIRST_READ_BYTES
        try:
            while start < stop:
                chunk = await self._run(os.pread, fd, min(size, stop - start), start)
                size = READ_BYTES
                if not chunk:
                    raise Conflict(f"/{path} became shorter while it was read")
                start += len(chunk)
                yield chunk
        finally:
            os.close(fd)

    def _open_to_read(self, path: str, inode: int | None = None) -> int:
        with looking_for(f"/{path}"), self._tree.file(path) as fd:
            if inode not in (None, os.fstat(fd).st_ino):
                raise Conflict(f"/{path} has changed")
            return os.dup(fd)

    async def feed(self, path: str, size: int, tap: Tap) -> None:
        fd = await self._open(self._open_to_read, path)
        await self._run(_feed, fd, size, tap)

    async def feed_staged(self, key: str, tap: Tap) -> None:
        fd = await self._open(lambda: os.open(place(key), os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._staging))
        await self._run(_feed, fd, os.fstat(fd).st_size, tap)

    async def remove(self, path: str) -> Identity:
        return await self._run(self._remove, path)

    def _remove(self, path: str) -> Identity:
        parent, _, name = path.rpartition("/")
        if not name:
            raise Conflict("the root folder stays")
        with looking_for(f"/{path}"), self._tree.folder(parent) as here:
            found = os.stat(name, dir_fd=here, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                raise BadPath(f"/{path} is a symbolic link")
            if stat.S_ISDIR(found.st_mode):
                os.rmdir(name, dir_fd=here)
            else:
                os.unlink(name, dir_fd=here)
            if self._fsync:
                os.fsync(here)
        return identity_of(found)

    async def entries(self, path: str) -> list[Entry]:
        return await self._run(self._entries, path)

    def _entries(self, path: str) -> list[Entry]:
        found = []
        with looking_for(f"/{path}"), self._tree.folder(path) as here, os.scandir(here) as names:
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
        await self._threads.close()
        self._blocks.close()
        for folder in (self._files, self._staging, self._partial):
            os.close(folder)

    async def _run(self, work: Callable[_Given, _T], *args: _Given.args, **named: _Given.kwargs) -> _T:
        """Run blocking `work` in a thread, to its end even when cancelled."""
        with translating("the file or folder"):
            return await self._threads.submit(work, *args, **named)

    async def _open(self, work: Callable[_Given, int], *args: _Given.args, **named: _Given.kwargs) -> int:
        """Like `_run`, for a descriptor: one that nobody will hear of is closed."""
        with translating("the file or folder"):
            return await partial.descriptor(self._threads.submit(work, *args, **named))


def _open_folder(path: Path) -> int:
    path.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def _feed(fd: int, size: int, tap: Tap) -> None:
    """Read the first `size` bytes of `fd` into `tap`, and close it."""
    try:
        for start in range(0, size, READ_BYTES):
            tap.update(os.pread(fd, min(READ_BYTES, size - start), start))
    finally:
        os.close(fd)
