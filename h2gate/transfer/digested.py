"""A body whose bytes are hashed as they pass, for a sender who says what the digest of all of them is.

For bodies that are not what is stored (they are coded), and for requests that are answered piece by piece: what was
acknowledged stays, so a wrong digest is told there, not refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from h2gate.codec.digest import ALGORITHMS, Hashes, merged, trailer_digests, verify
from h2gate.errors import BadField, DigestMismatch
from h2gate.fields import digests
from h2gate.lane import Threads
from h2gate.upload import Batch, Body


class Digested:
    """A `Body`; see `verify` and `verdict`. Raises `BadField`, `DigestMismatch` for what one of `fields` (lower-case
    names) says in the header."""

    def __init__(self, body: Body, headers: Mapping[str, str], fields: Sequence[str], threads: Threads) -> None:
        self.length = body.length
        self._body = body
        self._threads = threads
        self._fields = fields
        self._expected = merged(*(digests(headers.get(each, ""), each.title()) for each in fields))
        announced = any(each in headers.get("trailer", "").lower() for each in fields)
        self._hashes = Hashes(set(ALGORITHMS) if announced else self._expected.keys() & ALGORITHMS.keys())

    @property
    def trailers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._body.trailers

    async def pull(self) -> Batch:
        batch = await self._body.pull()
        if self._hashes.taps:
            await self._threads.submit(self._update, batch.chunks)
        return batch

    def _update(self, chunks: Sequence[bytes]) -> None:
        for tap in self._hashes.taps:
            for chunk in chunks:
                tap.update(chunk)

    def verify(self) -> bool:
        """After the end: whether the sender said anything that can be verified.

        Raises `DigestMismatch`, and `BadField` for trailers that cannot be understood or were not announced.
        """
        wanted = merged(self._expected, trailer_digests(self.trailers, *self._fields))
        names = wanted.keys() & ALGORITHMS.keys()
        for name in names:
            found = self._hashes.value(name)
            if found is None:
                raise BadField(f"a {name} digest in the trailers must be announced by the Trailer field")
            verify(wanted, name, found)
        return bool(names)

    def verdict(self) -> str | None:
        """After the end: "ok", "mismatch", or None where the sender said nothing that can be verified.

        Raises `BadField` as `verify` does.
        """
        try:
            return "ok" if self.verify() else None
        except DigestMismatch:
            return "mismatch"
