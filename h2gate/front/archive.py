"""A tar archive in a request's body, walked member by member while it streams: each is a body that is pulled.

Like `front/form.py` for forms. No more is held than what one pull brought.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from h2gate.codec.tar import ArchiveEnd, Data, Event, Member, MemberEnd, TarReader
from h2gate.errors import GateError
from h2gate.upload import Batch, Body

DIGEST_RECORD = "H2GATE.sha256"
"""A pax record of a member: the SHA-256 that it must have, in hexadecimal."""


class Archive:
    """Walks the members with `next_member`. An error of the whole is met again by whoever asks on."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._reader = TarReader((DIGEST_RECORD,))
        self._events: Iterator[Event] = iter(())
        self._is_over = False
        self._error: GateError | None = None

    async def next_member(self) -> Member | None:
        """The next member, None at the end; drops what is left of the one before.

        Raises `BadBundle`, and what the body raises.
        """
        while not isinstance(event := await self._next(), ArchiveEnd):
            if isinstance(event, Member):
                return event
        return None

    async def drop_padding(self) -> None:
        """Pull what comes after the end."""
        while not self._is_over:
            self._is_over = (await self._body.pull()).last

    async def pull_member(self) -> Batch:
        """More of the member that is open: what one pull of the request's body brought of it."""
        chunks: list[bytes] = []
        event: Event | None = await self._next()
        while isinstance(event, Data):
            chunks.append(bytes(event.chunk))
            event = self._ready()
        return Batch(chunks, sum(map(len, chunks)), isinstance(event, MemberEnd))

    async def _next(self) -> Event:
        while (event := self._ready()) is None:
            if self._error is not None:
                raise self._error
            await self._read()
        return event

    def _ready(self) -> Event | None:
        """The next event, as far as the last pull tells."""
        try:
            return next(self._events, None)
        except GateError as error:
            self._error = error
            return None

    async def _read(self) -> None:
        try:
            if self._is_over:
                self._reader.close()
            batch = await self._body.pull()
        except GateError as error:
            self._error = error
            return
        self._is_over = batch.last
        self._events = chain.from_iterable(map(self._reader.feed, batch.chunks))


class MemberBody:
    """A member as a `Body`. Once it is `gather`ed the archive can go on; else it must be pulled before that."""

    trailers: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self, archive: Archive, size: int) -> None:
        self.length: int | None = size
        self._archive = archive
        self._gathered: Batch | None = None

    async def gather(self) -> None:
        """Take all of it now. Raises what `Archive.next_member` does."""
        chunks: list[bytes] = []
        while self._gathered is None:
            batch = await self._archive.pull_member()
            chunks += batch.chunks
            if batch.last:
                self._gathered = Batch(chunks, sum(map(len, chunks)), last=True)

    async def pull(self) -> Batch:
        return self._gathered or await self._archive.pull_member()
