"""A file that is sent with a content coding, and can be gone on with at any byte of what that makes of it.

The same bytes come out each time: pieces of one size go in, and every `SECTION` begins anew, so going on encodes again
from the beginning of a section only. Another run, which remembers no sections, begins at the first.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from h2gate.client.local import PIECE, in_thread
from h2gate.client.source import FileSource, Pieces
from h2gate.codec.encoding import ENCODERS, Encoder

if TYPE_CHECKING:
    from hashlib import _Hash

SECTION = 128 * PIECE
"""Bytes of the file."""


@dataclass(frozen=True, slots=True)
class _Section:
    coded: int
    """Bytes of what is sent before it."""
    plain: int
    """Bytes of the file before it."""
    running: _Hash
    """Of what is sent before it."""


class CodedSource:
    """See `source.Source`. `plain` is the file as it is."""

    length = None

    def __init__(self, plain: FileSource, coding: str) -> None:
        self.plain = plain
        self.coding = coding
        self._sections = deque([_Section(0, 0, hashlib.sha256())])
        self._hash = hashlib.sha256()

    @property
    def modified_ns(self) -> int | None:
        return self.plain.modified_ns

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    @property
    def unencoded(self) -> bytes:
        return self.plain.digest

    @property
    def n_bytes(self) -> int:
        return self.plain.n_bytes

    @property
    def known(self) -> Mapping[str, object]:
        return {**self.plain.known, "coding": self.coding}

    async def look(self) -> None:
        await self.plain.look()

    async def file_digest(self) -> bytes:
        return await self.plain.file_digest()

    def read_from(self, offset: int) -> int:
        return self._section(offset).plain

    def _section(self, offset: int) -> _Section:
        return next(each for each in reversed(self._sections) if each.coded <= offset)

    async def digest_at(self, offset: int) -> bytes:
        section = self._section(offset)
        running, at = section.running.copy(), section.coded
        async with aclosing(self._from(section, section.running.copy())) as pieces:
            while at < offset:
                part = (await anext(pieces))[: offset - at]
                at += len(part)
                await in_thread(running.update, part)
        return running.digest()

    def durable(self, offset: int) -> None:
        while len(self._sections) > 1 and self._sections[1].coded <= offset:
            self._sections.popleft()
        self.plain.durable(self._sections[0].plain)

    def body(self, offset: int) -> httpx.AsyncByteStream:
        return Pieces(lambda: self._pieces(offset), replayable=True)

    async def _pieces(self, offset: int) -> AsyncIterator[bytes]:
        section = self._section(offset)
        self._hash, at = section.running.copy(), section.coded
        async with aclosing(self._from(section, self._hash)) as pieces:
            async for piece in pieces:
                fresh = piece[max(0, offset - at) :]
                at += len(piece)
                if fresh:
                    yield fresh

    async def _from(self, section: _Section, running: _Hash) -> AsyncGenerator[bytes, None]:
        """What is sent from the beginning of a section on; remembers the sections that it comes by."""
        encoder = ENCODERS[self.coding]()
        coded, plain = section.coded, section.plain
        async with aclosing(self.plain.pieces(plain, PIECE)) as pieces:
            async for piece in pieces:
                plain += len(piece)
                is_end = plain % SECTION == 0 or plain == self.plain.n_bytes
                data = await in_thread(_encode, encoder, piece, running, is_end=is_end)
                coded += len(data)
                if is_end and coded > self._sections[-1].coded:
                    self._sections.append(_Section(coded, plain, running.copy()))
                if data:
                    yield data

    async def close(self) -> None:
        await self.plain.close()


def _encode(encoder: Encoder, piece: bytes, running: _Hash, *, is_end: bool) -> bytes:
    data = encoder.encode(piece)
    if is_end:
        data += encoder.end()
    running.update(data)
    return data
