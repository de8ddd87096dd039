"""Reads for an asyncio `StreamReader`, but never more at once than it is told to.

A transport hands a plain protocol whatever it could read, and a reader holds twice its limit beside that. Here both are
small unless somebody has answered for more, so it is known what a connection can hold.
"""

from __future__ import annotations

import asyncio
from typing import cast

STEP_BYTES = 16 << 10
"""What is read at once, and the limit of the reader: it holds three times as much at most."""


class Inlet(asyncio.BufferedProtocol):
    """The transport's protocol; `writer` and `reader` are for whoever uses the connection."""

    def __init__(self, buffer: memoryview, loop: asyncio.AbstractEventLoop) -> None:
        """`buffer` is shared: nothing stays in it beyond one call."""
        self.step_bytes = STEP_BYTES
        self.reader = asyncio.StreamReader(limit=STEP_BYTES, loop=loop)
        self.writer: asyncio.StreamWriter
        self._inner = asyncio.StreamReaderProtocol(self.reader, loop=loop)
        self._buffer = buffer
        self._loop = loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writable = cast(asyncio.Transport, transport)
        self._inner.connection_made(writable)
        self.writer = asyncio.StreamWriter(writable, self._inner, self.reader, self._loop)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer[: self.step_bytes]

    def buffer_updated(self, nbytes: int) -> None:
        self._inner.data_received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
