"""Where a file that is fetched goes: beside its name until it is whole, or to standard output. Hashed as it comes.

What has come stays when the fetching breaks off, so that the rest can be asked for.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from h2gate.client.local import in_thread

_READ_BYTES = 1 << 22


class Sink(Protocol):
    n_bytes: int
    """What has come, and is part of the digest."""

    @property
    def digest(self) -> bytes:
        """SHA-256."""

    async def write(self, data: bytes) -> None: ...

    async def restart(self) -> None:
        """Drop what has come. Raises `OSError` where that cannot be."""

    async def commit(self, modified_ns: int | None) -> None:
        """It is whole and right."""

    async def close(self, *, keep: bool) -> None:
        """At the end, whatever that is. `keep`: somebody may go on with what has come."""


class FileSink:
    """`.NAME.part` in the same folder, if this run alone writes it, else another name; `commit` renames it."""

    def __init__(self, path: Path, *, alone: bool) -> None:
        self._path = path
        token = "" if alone else f".{secrets.token_hex(4)}"
        self.part = path.with_name(f".{path.name[:200]}{token}.part")
        self._hash = hashlib.sha256()
        self._opened = ExitStack()
        self._file: BinaryIO | None = None
        self.n_bytes = 0

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    async def go_on(self) -> None:
        """Behind what an earlier run has written. Raises `OSError`."""
        self._file = await in_thread(self._open, "r+b")
        while await in_thread(self._take):
            pass

    def _open(self, mode: str) -> BinaryIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._opened.enter_context(cast(BinaryIO, self.part.open(mode, buffering=0)))

    def _take(self) -> int:
        assert self._file is not None
        data = self._file.read(_READ_BYTES)
        self._hash.update(data)
        self.n_bytes += len(data)
        return len(data)

    async def write(self, data: bytes) -> None:
        await in_thread(self._write, data)

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._file = self._open("wb")
        view = memoryview(data)
        while view:
            n_bytes = self._file.write(view)
            self._hash.update(view[:n_bytes])
            self.n_bytes += n_bytes
            view = view[n_bytes:]

    async def restart(self) -> None:
        await in_thread(self._opened.close)
        self._file, self._hash, self.n_bytes = None, hashlib.sha256(), 0

    async def commit(self, modified_ns: int | None) -> None:
        """What was at the name before is replaced in one step."""
        await self.write(b"")
        await in_thread(self._commit, modified_ns)

    def _commit(self, modified_ns: int | None) -> None:
        self._opened.close()
        if modified_ns is not None:
            os.utime(self.part, ns=(modified_ns, modified_ns))
        self.part.replace(self._path)

    async def close(self, *, keep: bool) -> None:
        await in_thread(self._close, keep)

    def _close(self, keep: bool) -> None:
        self._opened.close()
        if not keep:
            self.part.unlink(missing_ok=True)


class StandardOutput:
    """What went there cannot be taken back."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.n_bytes = 0

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    async def write(self, data: bytes) -> None:
        self._hash.update(data)
        self.n_bytes += len(data)
        await in_thread(sys.stdout.buffer.write, data)

    async def restart(self) -> None:
        if self.n_bytes:
            raise OSError("standard output cannot be written again")

    async def commit(self, modified_ns: int | None) -> None:
        del modified_ns
        await in_thread(sys.stdout.buffer.flush)

    async def close(self, *, keep: bool) -> None:
        pass
