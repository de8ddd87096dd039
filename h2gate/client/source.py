"""What is sent: a file that can be gone on with at any byte, or standard input, of which only the last bytes are kept.

Both hash what they hand out. A file's running hash is kept every few MiB, so that going on at an earlier byte reads
again from there only. A file that is not what it was when its sending began is an error, before its last piece leaves.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import httpx

from h2gate.client.failures import FileChanged, LocalFile
from h2gate.client.local import PIECE, in_thread, local_failure

if TYPE_CHECKING:
    from hashlib import _Hash

SNAPSHOT_BYTES = 8 << 20
KEPT_BYTES = 64 << 20
"""Of standard input: more than is ever on its way."""


class Source(Protocol):
    """A `body` ends with what `digest` is the SHA-256 of."""

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
    def n_bytes(self) -> int:
        """How many it has, as far as that is known."""

    @property
    def known(self) -> dict[str, int]:
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
        self._size = size
        self._piece = piece
        self.identity: Identity | None = None
        self._path = path
        self._progress = progress
        self._hash = hashlib.sha256()
        self._hashed: deque[tuple[int, _Hash]] = deque([(0, hashlib.sha256())])
        """Running hashes of the first bytes, by how many they are."""

    @property
    def modified_ns(self) -> int | None:
        return self.identity.mtime_ns if self.identity is not None else None

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    @property
    def n_bytes(self) -> int:
        return self._size

    @property
    def known(self) -> dict[str, int]:
        return asdict(self.identity) if self.identity is not None else {}

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

    def _read(self, file: BinaryIO, n_bytes: int, running: _Hash) -> bytes:
        piece = file.read(n_bytes)
        if not piece:
            raise FileChanged(f"{self._path}: shrank while it was sent")
        running.update(piece)
        return piece

    def body(self, offset: int) -> httpx.AsyncByteStream:
        return _Body(lambda: self._pieces(offset), replayable=True)

    async def _pieces(self, offset: int) -> AsyncIterator[bytes]:
        try:
            with ExitStack() as opened:
                file = await in_thread(self._open, opened)
                self._hash = await self._hash_to(file, offset)
                left = self._size - offset
                while left:
                    piece = await in_thread(self._read, file, min(self._piece, left), self._hash)
                    left -= len(piece)
                    self._keep(self._size - left)
                    self._progress(len(piece))
                    if not left:  # before the last piece leaves, so that the gateway never gets a whole that is wrong
                        self._check(Identity.of(os.fstat(file.fileno())))
                    yield piece
        except OSError as error:
            raise local_failure(self._path, error) from error

    def _keep(self, n_hashed: int) -> None:
        if n_hashed - self._hashed[-1][0] >= SNAPSHOT_BYTES:
            self._hashed.append((n_hashed, self._hash.copy()))

    async def close(self) -> None:
        pass


class PipeSource:
    """Standard input, of unknown length; see `Source`. What is not kept any more cannot be sent again."""

    modified_ns = None

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress = progress
        self._hash = hashlib.sha256()
        self._kept: deque[bytes] = deque()
        self._start = self._end = 0
        """Of what is kept."""
        self._durable = 0
        self._input = _StandardInput()

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    @property
    def n_bytes(self) -> int:
        return self._end

    @property
    def known(self) -> dict[str, int]:
        return {}

    async def look(self) -> None:
        pass

    async def digest_at(self, offset: int) -> bytes:
        raise LocalFile("standard input cannot be read again")

    def durable(self, offset: int) -> None:
        self._durable = max(self._durable, offset)
        self._forget()

    def _forget(self) -> None:
        while self._kept and (
            self._start + len(self._kept[0]) <= self._durable or self._end - self._start > KEPT_BYTES
        ):
            self._start += len(self._kept.popleft())

    def body(self, offset: int) -> httpx.AsyncByteStream:
        if not self._start <= offset <= self._end:
            raise LocalFile(f"standard input cannot be read again from byte {offset}")
        return _Body(lambda: self._pieces(offset), replayable=False)

    async def _pieces(self, offset: int) -> AsyncIterator[bytes]:
        at = self._start
        for piece in list(self._kept):
            if at + len(piece) > offset:
                yield piece[max(0, offset - at) :]
            at += len(piece)
        while piece := await self._input.read():
            self._hash.update(piece)
            self._kept.append(piece)
            self._end += len(piece)
            self._forget()
            self._progress(len(piece))
            yield piece

    async def close(self) -> None:
        self._input.close()


class _StandardInput:
    """Bytes are only taken from it when `read` returns them: one that is cancelled loses none."""

    def __init__(self) -> None:
        self._at: int | None = None
        self._reader: asyncio.StreamReader | None = None
        self._pipe: asyncio.ReadTransport | None = None

    async def read(self) -> bytes:
        """The next bytes, none at the end."""
        raw = sys.stdin.buffer
        if stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
            self._at = raw.tell() if self._at is None else self._at
            piece = await in_thread(os.pread, raw.fileno(), PIECE, self._at)
            self._at += len(piece)
            return piece
        if self._reader is None:  # a thread could not be interrupted while it waits for a pipe or a terminal
            self._reader = reader = asyncio.StreamReader(limit=PIECE)
            loop = asyncio.get_running_loop()
            self._pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), raw)
        return await self._reader.read(PIECE)

    def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()


class _Body(httpx.AsyncByteStream):
    """A generator as httpx wants a body."""

    def __init__(self, pieces: Callable[[], AsyncIterator[bytes]], *, replayable: bool) -> None:
        self._pieces = pieces
        self.replayable = replayable

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces()
