"""What is sent, and the first of its kinds: a file, which can be gone on with at any byte.

Its running hash is kept every few MiB, so that going on at an earlier byte reads again from there only. A file that is
not what it was when its sending began is an error, before its last piece leaves.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import httpx

from h2gate.client.failures import FileChanged
from h2gate.client.local import PIECE, beside_sending, expect, in_thread, local_failure

if TYPE_CHECKING:
    from hashlib import _Hash

SNAPSHOT_BYTES = 8 << 20


class Source(Protocol):
    """A `body` ends with what `digest` is the SHA-256 of. Offsets are of what is sent, which may have a coding."""

    @property
    def coding(self) -> str:
        """Content-Encoding; "" is none."""

    @property
    def length(self) -> int | None:
        """Bytes that are sent in all; None if that is not known before the end."""

    @property
    def modified_ns(self) -> int | None:
        """When it was last changed, nanoseconds since the epoch."""

    async def look(self) -> None:
        """To be called before each attempt. Raises `FileChanged`, `LocalFile`."""

    async def digest_at(self, offset: int) -> bytes:
        """SHA-256 of the first bytes. Raises `LocalFile` where they are not there any more."""

    def body(self, offset: int) -> httpx.AsyncByteStream:
        """What follows the first `offset` bytes, once `digest_at(offset)` was called, if that is not 0."""

    def durable(self, offset: int) -> None:
        """So many bytes need not be sent again."""

    @property
    def digest(self) -> bytes: ...

    @property
    def unencoded(self) -> bytes:
        """Like `digest`, without the coding."""

    async def file_digest(self) -> bytes:
        """SHA-256 of all of it, without its coding. Raises `LocalFile`."""

    def read_from(self, offset: int) -> int:
        """How many bytes of the file need not be read for a body from `offset`."""

    @property
    def n_bytes(self) -> int:
        """How many it has, without its coding, as far as that is known."""

    @property
    def known(self) -> Mapping[str, object]:
        """What tells, in another run, that it is still the same."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells that a file is still the one it was."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class FileSource:
    """See `Source`. `progress` is told how many bytes were read to be sent, `piece` at a time."""

    def __init__(self, path: Path, size: int, progress: Callable[[int], None], piece: int = PIECE) -> None:
        self._size = self.length = size
        self._piece = piece
        self.coding = ""
        self.identity: Identity | None = None
        self._path = path
        self._progress = progress
        self._hash = hashlib.sha256()
        self._hashed: deque[tuple[int, _Hash]] = deque([(0, hashlib.sha256())])
        """Running hashes of the first bytes, by how many they are."""
        self._whole: bytes | None = None

    @property
    def modified_ns(self) -> int | None:
        return self.identity.mtime_ns if self.identity is not None else None

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    unencoded = digest

    @property
    def n_bytes(self) -> int:
        return self._size

    @property
    def known(self) -> Mapping[str, object]:
        return {**asdict(self.identity), "coding": self.coding} if self.identity is not None else {}

    async def look(self) -> None:
        try:
            found = Identity.of(await in_thread(self._path.stat))
        except OSError as error:
            raise local_failure(self._path, error) from error
        self._check(found)
        self.identity = found

    def _check(self, found: Identity) -> None:
        if found.size != self._size or found != (self.identity or found):
            raise FileChanged(f"{self._path}: changed while it was sent")

    def durable(self, offset: int) -> None:
        while len(self._hashed) > 1 and self._hashed[1][0] <= offset:
            self._hashed.popleft()

    async def digest_at(self, offset: int) -> bytes:
        try:
            with ExitStack() as opened:
                return (await self._hash_to(await in_thread(self._open, opened), offset)).digest()
        except OSError as error:
            raise local_failure(self._path, error) from error

    async def file_digest(self) -> bytes:
        return self._whole if self._whole is not None else await self.digest_at(self._size)

    def read_from(self, offset: int) -> int:
        return offset

    def _open(self, opened: ExitStack) -> BinaryIO:
        return opened.enter_context(self._path.open("rb", buffering=0))

    async def _hash_to(self, file: BinaryIO, offset: int) -> _Hash:
        """The running hash of the first bytes, with the file there."""
        at, running = next(((n, each) for n, each in reversed(self._hashed) if n <= offset), (0, hashlib.sha256()))
        running = running.copy()
        await in_thread(file.seek, at)
        while at < offset:
            at += len(await in_thread(self._read, file, min(PIECE, offset - at), running))
        self._hashed = deque((n, each) for n, each in self._hashed if n < offset)
        self._hashed.append((offset, running.copy()))
        return running

    def _read(self, file: BinaryIO, n_bytes: int, running: _Hash, then: int = 0) -> bytes:
        """`then`: so many more will be wanted."""
        piece = file.read(n_bytes)
        if then:
            expect(file.fileno(), file.tell(), then)
        if not piece:
            raise FileChanged(f"{self._path}: shrank while it was sent")
        running.update(piece)
        return piece

    def body(self, offset: int) -> httpx.AsyncByteStream:
        return Pieces(lambda: self.pieces(offset), replayable=True)

    async def pieces(self, offset: int, size: int | None = None) -> AsyncGenerator[bytes, None]:
        """See `body`; `size` bytes at a time."""
        size = size or self._piece
        try:
            with ExitStack() as opened:
                file = await in_thread(self._open, opened)
                self._hash = await self._hash_to(file, offset)
                left = self._size - offset
                while left:
                    piece = await beside_sending(self._read, file, min(size, left), self._hash, then=size)
                    left -= len(piece)
                    self._keep(self._size - left)
                    self._progress(len(piece))
                    if not left:  # before the last piece leaves, so that the gateway never gets a whole that is wrong
                        self._check(Identity.of(os.fstat(file.fileno())))
                        self._whole = self._hash.digest()
                    yield piece
        except OSError as error:
            raise local_failure(self._path, error) from error

    def _keep(self, n_hashed: int) -> None:
        if n_hashed - self._hashed[-1][0] >= SNAPSHOT_BYTES:
            self._hashed.append((n_hashed, self._hash.copy()))

    async def close(self) -> None:
        pass


class Pieces(httpx.AsyncByteStream):
    """A generator as httpx wants a body."""

    def __init__(self, pieces: Callable[[], AsyncIterator[bytes]], *, replayable: bool) -> None:
        self._pieces = pieces
        self.replayable = replayable

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces()
