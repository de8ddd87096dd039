"""A coded body as if it had no coding: decoded while it streams, in a thread beside the network.

The sender gets credit for coded bytes only when what they became is taken, and no more than one batch of that is ever
held. Digests of what was sent are verified here; what is above sees those of the decoded bytes alone.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain

from h2gate import effort
from h2gate.budget import Budget
from h2gate.codec.coding import FREE_BYTES, Decoder, memory_bytes, parse
from h2gate.errors import GateError
from h2gate.lane import Threads
from h2gate.transfer.digested import Digested
from h2gate.transfer.pipeline import Metered
from h2gate.upload import Batch, Body

_BATCH_BYTES = 1 << 20
USUAL_EXPANSION = 16
"""Times: of what people send, hardly anything becomes more."""
EXPANDED_BYTE_SECONDS = 3e-3 / (1 << 20)
"""Charged for each byte beyond that: what it takes to decode, hash and write one."""
_RESTS = 64
"""Empty pieces after which a job ends though it has nothing to show: it cannot be interrupted, others wait for its
thread."""
_MORE_THREADS = 4
"""Than processors: some wait for memory, or for another thread to give way."""
_WAIT_SECONDS = 30.0
"""For room; then the sender is told to try again."""
_OF_THE_CODED = ("content-digest", "repr-digest")
_OF_THE_DECODED = "unencoded-digest"
_GONE = ("content-encoding", "content-length", "trailer", *_OF_THE_CODED, _OF_THE_DECODED)


class Decoded:
    """A `Body`. `digested`, if given, is (in) `body`, and verified before the last batch is handed on.

    `pull` raises `BadCoding`, `ExpandsTooMuch`, `TooLarge`, `DigestMismatch`, and from then on always, besides what
    `body` raises.
    """

    length: int | None = None

    def __init__(self, body: Body, decoder: Decoder, threads: Threads, digested: Digested | None = None) -> None:
        self._body = body
        self._threads = threads
        self._decoder = decoder
        self._digested = digested
        self._pieces: Iterator[bytes] | None = None
        """What the last batch becomes, as far as it was not taken yet."""
        self._is_last = False
        self._error: GateError | None = None
        self._allowed_bytes = 0
        """What may still come of what was sent, before it is charged."""

    async def pull(self) -> Batch:
        while self._error is None:
            if self._pieces is None:
                batch = await self._body.pull()
                self._is_last = batch.last
                self._allowed_bytes += USUAL_EXPANSION * batch.n_bytes
                self._pieces = chain.from_iterable(map(self._decoder.feed, batch.chunks))
            found = await self._threads.submit(self._take, self._pieces)
            await self._pay(found.n_bytes)
            if self._error is None and (found.n_bytes or found.last):
                return found
        raise self._error

    async def _pay(self, n_bytes: int) -> None:
        """Credit is given for what was sent; what becomes far more of it is decoded, hashed and written as well."""
        self._allowed_bytes -= n_bytes
        if self._allowed_bytes < 0:
            excess, self._allowed_bytes = -self._allowed_bytes, 0
            await effort.worth(excess * EXPANDED_BYTE_SECONDS)

    def _take(self, pieces: Iterator[bytes]) -> Batch:
        try:
            return self._taken(pieces)
        except GateError as error:  # its frames would keep all this alive, until a collection
            error.__cause__ = error.__context__ = None
            self._error = error.with_traceback(None)
            self._pieces = None
            self._decoder.close()
            return Batch((), 0, last=True)

    def _taken(self, pieces: Iterator[bytes]) -> Batch:
        chunks: list[bytes] = []
        n_bytes = n_rests = 0
        while n_bytes < _BATCH_BYTES and n_rests < _RESTS:
            piece = next(pieces, None)
            if piece is None:
                self._pieces = None
                return Batch(chunks, n_bytes, self._is_last and self._ended())
            if piece:
                chunks.append(piece)
            n_bytes += len(piece)
            n_rests += not piece
        return Batch(chunks, n_bytes, last=False)

    def _ended(self) -> bool:
        self._decoder.finish()
        if self._digested is not None:
            self._digested.verify()
        return True

    @property
    def trailers(self) -> Sequence[tuple[bytes, bytes]]:
        """`Unencoded-Digest`, as what it is for a body without coding."""
        given = ((name.lower(), value) for name, value in self._body.trailers)
        return [(b"repr-digest", value) for name, value in given if name == _OF_THE_DECODED.encode()]


class Decoding:
    """Within which limits bodies are decoded (see `Decoder`), and how many at once: each holds a window of up to 16 MiB
    however little its sender does, so all together have a quarter of the budget. To be made in the loop that uses it,
    and closed."""

    def __init__(self, budget: Budget, *, max_expansion: int = 0, max_bytes: int = 0) -> None:
        self._budget = budget
        self._part = Budget(budget.n_bytes // 4)
        self._max_expansion = max_expansion
        self._max_bytes = max_bytes
        self.threads = Threads("h2gate-codec", (os.cpu_count() or 1) + _MORE_THREADS)
        """For what is computed over whole bodies."""

    @asynccontextmanager
    async def undone(
        self, body: Body, headers: Mapping[str, str], *, is_file: bool = True
    ) -> AsyncIterator[tuple[Body, Mapping[str, str]]]:
        """Body and fields of a request as they would be without its codings; just these, where it has none.

        `is_file`: the body is what is stored. If it is not, its parts are: `max_bytes` is for them, and the digests of
        what was sent are the caller's. Raises `UnsupportedMediaType`, `BadField`, `TooLarge`, and `Busy` when there
        was no room for too long.
        """
        codings = parse(headers.get("content-encoding", ""))
        if not codings:
            yield body, headers
            return
        max_bytes = self._max_bytes if is_file else 0
        sent: Body = Metered(body, max_bytes + FREE_BYTES if max_bytes else 0)  # no coding needs more than that
        digested = Digested(sent, headers, _OF_THE_CODED, self.threads) if is_file else None
        async with self.decoder(codings, max_bytes) as decoder:
            yield Decoded(digested or sent, decoder, self.threads, digested), _without_coding(headers)

    @asynccontextmanager
    async def decoder(self, codings: Sequence[str], max_bytes: int) -> AsyncIterator[Decoder]:
        """A decoder, when there is room for it. Raises `Busy`."""
        n_bytes = min(memory_bytes(codings), self._part.n_bytes)
        what = "too many coded bodies are coming in"
        async with self._part.holding(n_bytes, _WAIT_SECONDS, what), self._budget.holding(n_bytes, _WAIT_SECONDS, what):
            decoder = Decoder(codings, max_expansion=self._max_expansion, max_bytes=max_bytes)
            try:
                yield decoder
            finally:
                decoder.close()

    async def close(self) -> None:
        """End the threads. No body may be left."""
        await self.threads.close()


def _without_coding(headers: Mapping[str, str]) -> Mapping[str, str]:
    kept = {name: value for name, value in headers.items() if name not in _GONE}
    if _OF_THE_DECODED in headers:
        kept["repr-digest"] = headers[_OF_THE_DECODED]
    if _OF_THE_DECODED in headers.get("trailer", "").lower():
        kept["trailer"] = "repr-digest"
    return kept
