"""Who may write an unfinished upload: one request at a time, and the newcomer wins.

A client that lost its network comes back while its old request still waits for bytes here. The newcomer asks that one
to let go; it stops pulling, makes durable what it has, and ends. Every wait is bounded, also across processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from h2gate.errors import Locked, NotFound, Superseded
from h2gate.storage.base import Partial, Storage

_T = TypeVar("_T")
_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.005, 0.05
LET_GO = "let-go"


class Lease:
    """The right to write one upload, until somebody asks for it."""

    partial: Partial

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self._asked = False
        self._scope: asyncio.Timeout | None = None

    def ask(self) -> None:
        """Have the holder let go."""
        if not self._asked:
            self._asked = True
            if self._scope is not None:
                self._scope.reschedule(asyncio.get_running_loop().time())

    async def unless_asked(self, wait: Callable[[], Awaitable[_T]]) -> _T:
        """Wait for something outside. Raises `Superseded` as soon as somebody asks for the lease."""
        if self._asked:
            raise Superseded
        try:
            async with asyncio.timeout(None) as self._scope:
                return await wait()
        except TimeoutError:
            if self._asked:
                raise Superseded from None
            raise
        finally:
            self._scope = None


class Leases:
    """The leases of this process. `ask_others` asks the other processes to let go of an upload."""

    def __init__(self, storage: Storage, ask_others: Callable[[str], None], wait_seconds: float) -> None:
        self._storage = storage
        self._ask_others = ask_others
        self._wait_seconds = wait_seconds
        self._held: dict[str, Lease] = {}

    def ask(self, upload_id: str) -> None:
        """Have whoever holds it in this process let go."""
        if (lease := self._held.get(upload_id)) is not None:
            lease.ask()

    @asynccontextmanager
    async def hold(self, upload_id: str, *, patient: bool = True) -> AsyncIterator[Lease]:
        """Hold an unfinished upload. Raises `NotFound` when there is no unfinished file (any more), `Locked` when the
        holder does not let go in time, or at once if not `patient`: it is not even asked then."""
        deadline = asyncio.get_running_loop().time() + (self._wait_seconds if patient else 0)
        while (other := self._held.get(upload_id)) is not None:
            await self._released(other, deadline)
        lease = self._held[upload_id] = Lease()
        try:
            async with AsyncExitStack() as stack:
                lease.partial = await self._acquired(stack, upload_id, deadline)
                yield lease
        finally:
            del self._held[upload_id]
            lease.released.set()

    async def is_free(self, upload_id: str, until: float = 0.0) -> bool:
        """Whether there is an unfinished file that nobody is holding, or not for longer than `until`, by the loop's
        clock. Nobody is asked to let go."""
        try:
            if (other := self._held.get(upload_id)) is not None:
                async with asyncio.timeout_at(until):
                    await other.released.wait()
            async with self.hold(upload_id, patient=False):
                return True
        except (Locked, NotFound, TimeoutError):
            return False

    async def _released(self, other: Lease, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                if deadline > asyncio.get_running_loop().time():
                    other.ask()
                await other.released.wait()
        except TimeoutError:
            raise Locked("another request is writing this upload and does not let go") from None

    async def _acquired(self, stack: AsyncExitStack, upload_id: str, deadline: float) -> Partial:
        """What another process holds is asked for, and looked for, until the deadline."""
        pause = _FIRST_LOOK_SECONDS
        while True:
            try:
                return await stack.enter_async_context(self._storage.holding(upload_id))
            except Locked:
                if asyncio.get_running_loop().time() + pause > deadline:
                    raise
            self._ask_others(upload_id)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LAST_LOOK_SECONDS)
