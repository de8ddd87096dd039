"""One body on its way into accounts: what is known of its length is held before its first byte is asked for, what is
not known is held as it comes. What was refused is never written, so no account is over its limit by a byte.

It holds more than it has by steps that shrink with what is left (`ledger.accounts`). Once it is over, what it holds is
what is there; where even that cannot be said to the ledger, it is said later (`transfer.quotas`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from types import TracebackType

from h2gate.errors import OverQuota, TooLarge
from h2gate.ledger.base import Claim
from h2gate.transfer.pace import Pace
from h2gate.upload import Batch, Body

STEP_BYTES = 8 << 20
SMALL_BYTES = 128 << 10
"""What is here as a whole before it is known whether it may stay is looked at when its record is added: no hold."""


class Untaken:
    """A body that nobody counts."""

    def __init__(self, body: Body) -> None:
        self._body = body

    async def __aenter__(self) -> Body:
        return self._body

    async def __aexit__(self, *exc_info: object) -> None:
        pass


class Bounded:
    """A `Body` that nobody counts, of a file that has `before` bytes and may have `max_bytes`. Raises `TooLarge`, here
    where its length is known."""

    def __init__(self, body: Body, max_bytes: int, before: int) -> None:
        self.length = body.length
        self._body = body
        self._max_bytes = max_bytes
        self._n_bytes = before
        check_file(before + (body.length or 0), max_bytes)

    @property
    def trailers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._body.trailers

    async def pull(self) -> Batch:
        batch = await self._body.pull()
        self._n_bytes += batch.n_bytes
        check_file(self._n_bytes, self._max_bytes)
        return batch


def check_file(n_bytes: int, max_bytes: int | None) -> None:
    """Raises `TooLarge`."""
    if max_bytes is not None and n_bytes > max_bytes:
        raise TooLarge(f"a file may have {max_bytes} bytes here", max_bytes=max_bytes)


class Taking:
    """A `Body` that is counted, while it is entered. Raises `OverQuota`, `TooManyUploads`, `TooLarge`, `Forbidden`."""

    def __init__(
        self,
        body: Body,
        claim: Claim,
        ledger_claim: Callable[[Claim], Awaitable[int]],
        leave: Callable[[str, int | None], Awaitable[None]],
        *,
        refused: Callable[[Claim], None],
        pace: Pace | None = None,
        max_bytes: int | None = None,
        size: Callable[[], int] | None = None,
        eager: bool = False,
    ) -> None:
        """`refused` hears of what did not fit. `claim.n_bytes` are there before it. `size` tells what is there
        afterwards of what outlives this; None is that nothing does but a record. `eager`: hold something even for a
        small body."""
        self.length = body.length
        self._body = body
        self._wanted = claim
        self._claim_now = ledger_claim
        self._leave = leave
        self._refused = refused
        self._pace = pace
        self._max_bytes = max_bytes
        self._size = size
        self._eager = eager
        self._n_bytes = claim.n_bytes
        self._held = -1
        """Bytes; -1 before anything is held."""
        self._pending: Batch | None = None

    @property
    def trailers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._body.trailers

    async def __aenter__(self) -> Body:
        n_bytes = self._n_bytes + (self.length or 0)
        check_file(max(n_bytes, self._wanted.ahead_bytes), self._max_bytes)
        if self._eager or n_bytes - self._n_bytes > SMALL_BYTES:
            try:
                await self._hold(n_bytes, 0)
            except BaseException:
                await self._let_go(failed=True)
                raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is not None and issubclass(kind, OverQuota):
            self._refused(self._wanted)
        await self._let_go(failed=kind is not None)

    async def _let_go(self, *, failed: bool) -> None:
        if self._held < 0:
            return
        if self._size is not None:
            await self._leave(self._wanted.id, self._size())
        elif failed or not all(each.is_folder for each in self._wanted.accounts):
            await self._leave(self._wanted.id, None)

    async def _hold(self, n_bytes: int, more_bytes: int) -> None:
        self._held = max(self._held, self._n_bytes if self._size is not None else 0)  # whatever becomes of it
        try:
            self._held = await self._claim_now(replace(self._wanted, n_bytes=n_bytes, more_bytes=more_bytes))
        except OverQuota as error:
            left = error.members.get("left")
            if isinstance(left, dict) and left["bytes"] is not None:  # it gives back what it does not keep
                left["bytes"] += self._held - (self._n_bytes if self._size is not None else 0)
            raise

    async def pull(self) -> Batch:
        """What was pulled and is not held yet stays here, also if this is cancelled."""
        if self._pace is not None:
            await self._pace.wait()
        if self._pending is None:
            self._pending = await self._body.pull()
        batch = self._pending
        n_bytes = self._n_bytes + batch.n_bytes
        check_file(n_bytes, self._max_bytes)
        if n_bytes > self._held and (self._held >= 0 or self._is_large(n_bytes, last=batch.last)):
            await self._hold(n_bytes, 0 if batch.last or self.length is not None else STEP_BYTES)
        self._n_bytes, self._pending = n_bytes, None
        if self._pace is not None:
            self._pace.take(batch.n_bytes)
        return batch

    def _is_large(self, n_bytes: int, *, last: bool) -> bool:
        """Of what nothing is held: it will not be here as a whole when its record is added."""
        return self.length is None and not (last and n_bytes <= SMALL_BYTES)
