"""What every body passes on its way to the storage: counted, limited, and known to be whole before anything is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from h2gate import effort
from h2gate.errors import BodyCut, GateError, TooLarge
from h2gate.upload import Batch, Body

WASTED_BYTE_SECONDS = 2e-3 / (1 << 20)
"""Charged for each byte that was received, hashed and written for nothing: what that takes."""


class Metered:
    """A `Body` that stops at `max_bytes` (0 is no limit) and ends only if it has the length it announced."""

    def __init__(self, body: Body, max_bytes: int) -> None:
        self.length = body.length
        self.n_bytes = 0
        self._body = body
        self._max_bytes = max_bytes
        if self.length is not None:
            self._check(self.length)

    def _check(self, n_bytes: int) -> None:
        if self._max_bytes and n_bytes > self._max_bytes:
            raise TooLarge(f"bodies may have {self._max_bytes} bytes at most", max_bytes=self._max_bytes)

    async def pull(self) -> Batch:
        batch = await self._body.pull()
        self.n_bytes += batch.n_bytes
        self._check(self.n_bytes)
        if batch.last and self.length is not None and self.n_bytes != self.length:
            raise BodyCut(f"the body has {self.n_bytes} bytes; {self.length} were announced")
        return batch

    @property
    def trailers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._body.trailers


@contextmanager
def paid_if_wasted(body: Metered) -> Iterator[None]:
    """Whose body is dropped, and would be again, pays for what was done with it. Not who was cut off or may try again,
    and nobody for a fault of ours."""
    try:
        yield
    except GateError as error:
        if not error.retry and error.status != GateError.status:
            effort.spent(body.n_bytes * WASTED_BYTE_SECONDS)
        raise
