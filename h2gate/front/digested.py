"""A body whose bytes are hashed as they pass, for a sender who says what the digest of all of them is.

For requests that are answered piece by piece: what was acknowledged stays, so a wrong digest is told, not refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from h2gate.codec.digest import ALGORITHMS, Hashes, merged, verify
from h2gate.errors import BadField, DigestMismatch
from h2gate.fields import digests
from h2gate.transfer.uploads import trailer_digests
from h2gate.upload import Batch, Body


class Digested:
    """A `Body`; see `verdict`. Raises `BadField` when `Content-Digest` cannot be understood."""

    def __init__(self, body: Body, headers: Mapping[str, str]) -> None:
        self.length = body.length
        self._body = body
        self._expected = digests(headers.get("content-digest", ""), "Content-Digest")
        announced = "digest" in headers.get("trailer", "").lower()
        self._hashes = Hashes(set(ALGORITHMS) if announced else self._expected.keys() & ALGORITHMS.keys())

    @property
    def trailers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._body.trailers

    async def pull(self) -> Batch:
        batch = await self._body.pull()
        if self._hashes.taps:
            await asyncio.to_thread(self._update, batch.chunks)
        return batch

    def _update(self, chunks: Sequence[bytes]) -> None:
        for tap in self._hashes.taps:
            for chunk in chunks:
                tap.update(chunk)

    def verdict(self) -> str | None:
        """After the end: "ok", "mismatch", or None where the sender said nothing that can be verified.

        Raises `BadField` for trailers that cannot be understood or were not announced.
        """
        told = trailer_digests(self.trailers, "content-digest")
        try:
            wanted = merged(self._expected, told)
            names = wanted.keys() & ALGORITHMS.keys()
            for name in names:
                self._verify(wanted, name)
        except DigestMismatch:
            return "mismatch"
        return "ok" if names else None

    def _verify(self, wanted: Mapping[str, bytes], name: str) -> None:
        found = self._hashes.value(name)
        if found is None:
            raise BadField(f"a {name} digest in the trailers must be announced by the Trailer field")
        verify(wanted, name, found)
