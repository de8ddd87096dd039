"""Reads a fuzzer's bytes as choices: numbers come off the end, text off the front.

So a seed may be a plain file (an archive, a form), and what a mutation does to its last bytes changes how it is fed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

from h2gate.upload import Batch

T = TypeVar("T")


class Source:
    """Never runs dry: what is used up reads as zeros, and as nothing."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def is_empty(self) -> bool:
        return not self._data

    def number(self, limit: int) -> int:
        """From 0 to `limit`, in as many bytes as that needs."""
        n_bytes = (limit.bit_length() + 7) // 8
        at = max(0, len(self._data) - n_bytes)
        self._data, taken = self._data[:at], self._data[at:]
        return int.from_bytes(taken, "big") % (limit + 1)

    def flag(self) -> bool:
        return self.number(1) == 1

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[self.number(len(choices) - 1)]

    def taken(self, n_bytes: int) -> bytes:
        """The next bytes of the front."""
        taken, self._data = self._data[:n_bytes], self._data[n_bytes:]
        return taken

    def rest(self) -> bytes:
        """All that is left of the front."""
        return self.taken(len(self._data))

    def cuts(self) -> list[int]:
        """Where to cut something, for `pieces`."""
        return [self.number(0xFFFF) for _ in range(self.number(8))]


def pieces(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    """The bytes in pieces, cut where told; some may be empty."""
    for start, stop in pairwise([0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]):
        yield data[start:stop]


class PiecesBody:
    """A request's body that brings one piece a pull."""

    length: int | None = None
    trailers: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self, body: bytes, cuts: Sequence[int]) -> None:
        self._left = list(pieces(body, cuts))

    async def pull(self) -> Batch:
        assert self._left, "pulled after its end"
        piece = self._left.pop(0)
        return Batch([piece], len(piece), not self._left)
