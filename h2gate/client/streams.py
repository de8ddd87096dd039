"""What is sent and cannot be read again: standard input, a file object, whatever yields bytes. The last of it is kept.

Bytes are taken when they are wanted, so what makes them (a camera, a program, a ring buffer) feels how fast the gateway
takes them. An upload that breaks is gone on with from what is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, Any, TypeAlias, cast

import httpx

from h2gate.client.failures import LocalFile
from h2gate.client.local import PIECE
from h2gate.client.source import Pieces

KEPT_BYTES = 64 << 20
"""More than is ever on its way."""

Streamed: TypeAlias = "AsyncIterable[bytes] | Iterable[bytes] | IO[bytes]"
"""What has no length that is known: each piece as long as it likes. A file object is read from where it stands."""


class Reader(ABC):
    """Hands out bytes once. What is being read when `read` is cancelled is what the next `read` returns."""

    def __init__(self) -> None:
        self._job: asyncio.Future[bytes] | None = None
        self._rest = b""
        self._thread = ThreadPoolExecutor(1, "h2gate-stream")
        """Of its own: what blocks for long must not keep files from being read."""

    async def read(self) -> bytes:
        """The next bytes, `PIECE` at most; none at the end. Raises what the one who makes them raises."""
        if not self._rest:
            if self._job is None:
                self._job = asyncio.ensure_future(self._next())
            await asyncio.wait({self._job})
            self._rest = self._job.result()
            if self._rest:
                self._job = None
        piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
        return piece

    @abstractmethod
    async def _next(self) -> bytes: ...

    async def _blocking(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    async def close(self) -> None:
        """No more is wanted. Whoever blocks in a thread of ours is not waited for."""
        if self._job is not None:
            self._job.cancel()
            await asyncio.wait({self._job})
            if not self._job.cancelled():
                self._job.exception()  # it was raised before, or nobody wanted the bytes any more
        self._thread.shutdown(wait=False)


class FileObject(Reader):
    """Anything with `read`, in a thread, as much at once as there is."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._read: Callable[[int], bytes] = getattr(file, "read1", file.read)

    async def _next(self) -> bytes:
        return _checked(await self._blocking(self._read, PIECE) or b"")


class Iterated(Reader):
    """Anything that yields bytes; without an `async for` in a thread."""

    def __init__(self, pieces: AsyncIterable[bytes] | Iterable[bytes]) -> None:
        super().__init__()
        self._pieces = aiter(pieces) if isinstance(pieces, AsyncIterable) else self._from_thread(iter(pieces))

    async def _next(self) -> bytes:
        async for piece in self._pieces:
            if data := _checked(piece):
                return data
        return b""

    async def _from_thread(self, pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
        over = object()
        try:
            while (piece := await self._blocking(next, pieces, over)) is not over:
                yield piece
        finally:
            if isinstance(pieces, Generator):
                with suppress(ValueError):  # it is still at work in the thread
                    pieces.close()

    async def close(self) -> None:
        await super().close()
        if isinstance(self._pieces, AsyncGenerator):
            await self._pieces.aclose()


def _checked(piece: Any) -> bytes:
    """A copy of what may be changed later. Raises `TypeError` for what is not bytes."""
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise TypeError(f"what is sent must come as bytes, not {type(piece).__name__}")
    return bytes(piece)


class StandardInput(Reader):
    """Bytes are taken from it only when they are wanted, so that none is missing for who reads on after us."""

    def __init__(self) -> None:
        super().__init__()
        self._at: int | None = None
        self._reader: asyncio.StreamReader | None = None
        self._pipe: asyncio.ReadTransport | None = None

    async def _next(self) -> bytes:
        raw = sys.stdin.buffer
        if stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
            self._at = raw.tell() if self._at is None else self._at
            piece: bytes = await self._blocking(os.pread, raw.fileno(), PIECE, self._at)
            self._at += len(piece)
            return piece
        if self._reader is None:  # a thread could not be interrupted while it waits for a pipe or a terminal
            self._reader = reader = asyncio.StreamReader(limit=PIECE)
            loop = asyncio.get_running_loop()
            self._pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), raw)
        return await self._reader.read(PIECE)

    async def close(self) -> None:
        await super().close()
        if self._pipe is not None:
            self._pipe.close()


def reader_of(stream: object) -> Reader:
    """Raises `TypeError` for what is none."""
    if isinstance(stream, Reader):
        return stream
    if hasattr(stream, "read"):
        return FileObject(cast("IO[bytes]", stream))
    if isinstance(stream, AsyncIterable | Iterable):
        return Iterated(cast("AsyncIterable[bytes] | Iterable[bytes]", stream))
    raise TypeError(f"{type(stream).__name__} is neither a path nor something that gives bytes")


class StreamSource:
    """See `source.Source`. What is not kept any more cannot be sent again."""

    modified_ns = None
    length = None
    coding = ""

    def __init__(self, reader: Reader, progress: Callable[[int], None]) -> None:
        self._progress = progress
        self._hash = hashlib.sha256()
        self._kept: deque[bytes] = deque()
        self._start = self._end = 0
        """Of what is kept."""
        self._durable = 0
        self._reader = reader

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    unencoded = digest

    @property
    def n_bytes(self) -> int:
        return self._end

    @property
    def known(self) -> Mapping[str, object]:
        return {}

    async def look(self) -> None:
        pass

    async def digest_at(self, offset: int) -> bytes:
        raise LocalFile("what is streamed cannot be read again")

    async def file_digest(self) -> bytes:
        return self.digest

    def read_from(self, offset: int) -> int:
        return offset

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
            raise LocalFile(f"what is streamed cannot be read again from byte {offset}")
        return Pieces(lambda: self._pieces(offset), replayable=False)

    async def _pieces(self, offset: int) -> AsyncIterator[bytes]:
        at = self._start
        for piece in list(self._kept):
            if at + len(piece) > offset:
                yield piece[max(0, offset - at) :]
            at += len(piece)
        while piece := await self._reader.read():
            yield self._taken(piece)

    def _taken(self, data: bytes) -> bytes:
        self._hash.update(data)
        self._kept.append(data)
        self._end += len(data)
        self._forget()
        self._progress(len(data))
        return data

    async def close(self) -> None:
        await self._reader.close()
