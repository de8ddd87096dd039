"""Writes a large body past the page cache: 0.12 s of CPU per GiB where the page cache costs 0.2 to 0.8.

O_DIRECT wants aligned memory, offsets and lengths, so chunks are gathered in an aligned block; less than one alignment
is held back until more comes. While a block is being written it is hashed, and while that lasts the next is gathered.
Where the file system has no O_DIRECT, the page cache is used and flushed as it goes.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from h2gate.errors import StorageFull
from h2gate.storage.blocks import ALIGNMENT, BLOCK, Blocks, Hashed, Pair
from h2gate.storage.tree import identity_of
from h2gate.upload import Identity, Tap

_FLUSH_EVERY = 64 << 20
_DIRECT = getattr(os, "O_DIRECT", 0)


class Writer:
    """Writes to `fd` from `offset` on. Its methods block: call them in a thread, one at a time.

    When a call is over, `taps` have seen what was written: what is still held back they have not.
    """

    def __init__(self, fd: int, offset: int, blocks: Blocks, taps: Sequence[Tap], *, direct: bool, fsync: bool) -> None:
        self.offset = offset
        """Where what was written ends."""
        self._fd = fd
        self._blocks = blocks
        self._taps = taps
        self._fsync = fsync
        self._unflushed = 0
        self._tail = b""
        self._tapped = 0
        """As many bytes of the tail the taps have seen."""
        self._hashed: Hashed | None = None
        """What is under way."""
        self.has_failed_to_sync = False
        """Then it is not known what of all this is on the disk, and no later `sync` would tell."""
        self._direct = direct and set_direct(self._fd, True)
        if self._direct and offset % ALIGNMENT:
            self._go_back_to_alignment()

    def _go_back_to_alignment(self) -> None:
        """Write the last block anew, with the bytes that it has: a torn write leaves them as they were."""
        start = self.offset - self.offset % ALIGNMENT
        set_direct(self._fd, False)
        self._tail = os.pread(self._fd, self.offset - start, start)
        self._tapped = len(self._tail)
        self._direct = set_direct(self._fd, True)
        self.offset = start

    def write(self, chunks: Sequence[bytes]) -> None:
        """Write all of `chunks` but a rest shorter than `ALIGNMENT`; `finish` writes that. Raises `OSError`."""
        with self._blocks.pair() as pair, self._all_hashed():
            self._gather(pair, chunks)

    def _gather(self, pair: Pair, chunks: Sequence[bytes]) -> None:
        view = pair.next()
        fill = len(self._tail)
        view[:fill] = self._tail
        self._tail = b""  # after an error there is nothing more to write: it would land behind a hole
        for chunk in chunks:
            size = len(chunk)
            if fill + size <= BLOCK:
                view[fill : fill + size] = chunk
                fill += size
                continue
            rest = memoryview(chunk)
            while rest.nbytes:
                part = rest[: BLOCK - fill]
                view[fill : fill + len(part)] = part
                fill += len(part)
                rest = rest[len(part) :]
                if fill == BLOCK:
                    self._put(view, fill)
                    view, fill = pair.next(), 0
        whole = fill - fill % ALIGNMENT if self._direct else fill
        self._put(view, whole)
        self._tail = bytes(view[whole:fill])

    def _put(self, view: memoryview, stop: int) -> None:
        """Write so much of a block, which must stay as it is until all is hashed."""
        if not stop:
            return
        tapped, self._tapped = self._tapped, 0
        if tapped < stop and self._taps:
            self._wait_for_hashed()  # in their order; and so the block that was put before is free
            self._hashed = self._blocks.hash(self._taps, view[tapped:stop])
        done = 0
        while done < stop:
            try:
                written = os.pwrite(self._fd, view[done:stop], self.offset)
            except OSError as error:
                if not (self._direct and error.errno == errno.EINVAL):
                    raise
                self._direct = not set_direct(self._fd, False)  # an odd file system, or a short write before this one
                continue
            done += written
            self.offset += written
        self._unflushed += stop
        if self._fsync and not self._direct and self._unflushed >= _FLUSH_EVERY:
            self.sync()  # so that the last sync is short

    def _wait_for_hashed(self) -> None:
        hashed, self._hashed = self._hashed, None
        if hashed is not None:
            hashed.wait()

    @contextmanager
    def _all_hashed(self) -> Iterator[None]:
        """When this is over."""
        try:
            yield
        finally:
            self._wait_for_hashed()

    def sync(self) -> None:
        """What was written up to `offset` is durable. Raises `OSError`; then nothing is until the file is cut."""
        if self._fsync:
            try:
                os.fdatasync(self._fd)
            except OSError:
                self.has_failed_to_sync = True
                raise
        self._unflushed = 0

    def flush(self) -> None:
        """Write what was held back; after this, nothing more. Raises `OSError`."""
        if self._direct:
            set_direct(self._fd, False)
            self._direct = False
        tail, self._tail = self._tail, b""  # as in `_gather`
        with memoryview(tail) as view, self._all_hashed():
            self._put(view, len(view))

    def finish(self, modified_ns: int | None = None) -> Identity:
        """Write what was held back, set the file's time if given, and wait for the disk. Raises `OSError`."""
        self.flush()
        set_time(self._fd, modified_ns)
        if self._fsync:
            os.fsync(self._fd)
        return identity_of(os.fstat(self._fd))


def set_direct(fd: int, wanted: bool) -> bool:
    """Whether `fd` could be told to write past the page cache, or not to."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | _DIRECT if wanted else flags & ~_DIRECT)
    except OSError:
        return False
    return bool(_DIRECT)


def check_room(fd: int, n_bytes: int | None) -> None:
    """Raises `StorageFull` when `n_bytes` more do not fit on the file system of `fd`; None is not known."""
    if n_bytes is not None:
        room = os.fstatvfs(fd)
        if n_bytes > room.f_bavail * room.f_frsize:
            raise StorageFull("the body is larger than the space left")


def set_time(fd: int, modified_ns: int | None) -> None:
    """Give the file its time, if there is one to give."""
    if modified_ns is not None:
        os.utime(fd, ns=(modified_ns, modified_ns))
