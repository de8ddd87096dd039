"""Listings of folders: made in a thread, two at a time, and held in the budget until they are read.

A folder may have any number of names, and each costs some 40 µs and, while the listing is made, 2 KiB; so a peer that
asks for a large one on every stream would hold up the event loop, and all others, for seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from h2gate import effort
from h2gate.budget import Budget
from h2gate.errors import Busy
from h2gate.ledger.base import Ledger
from h2gate.storage.base import Entry, Storage
from h2gate.transfer.file import File, known_by, listed
from h2gate.upload import Upload

AT_ONCE = 2
_WAIT_SECONDS = 30.0
"""For the others; then whoever asks is told to try again."""

Listed = Sequence[tuple[Entry, File | None]]
"""The names in a folder, sorted, each file with what is known of it (None for a folder)."""


class Listings:
    """For one event loop."""

    def __init__(self, storage: Storage, ledger: Ledger, budget: Budget) -> None:
        self._storage = storage
        self._ledger = ledger
        self._budget = budget
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._held = 0

    async def exists(self, folder: str) -> None:
        """Raises `NotFound`, or `BadPath`, unless there is such a folder."""
        async with self._turn():
            await self._storage.entries(folder)

    @asynccontextmanager
    async def page(self, folder: str, render: Callable[[Listed], bytes]) -> AsyncIterator[bytes]:
        """What `render` makes of the folder, in a thread; its memory is held inside the block. Raises `Busy` where
        there is none, and what the storage raises."""
        async with self._turn():
            page = await self._render(folder, render)
            self._take(len(page))
        try:
            yield page
        finally:
            self._held -= len(page)
            self._budget.give_back(len(page))

    async def _render(self, folder: str, render: Callable[[Listed], bytes]) -> bytes:
        entries = await self._storage.entries(folder)
        records = await self._ledger.under(folder)
        page, seconds = await asyncio.to_thread(effort.timed, lambda: render(_matched(folder, entries, records)))
        effort.spent(seconds)
        return page

    def _take(self, n_bytes: int) -> None:
        """All listings together hold no more than is left for everything else."""
        if self._held + n_bytes > self._budget.left - n_bytes or not self._budget.take(n_bytes):
            raise Busy("too many listings are being read")
        self._held += n_bytes

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._turns.acquire()
                while seconds := effort.pause():  # it has had several while this one waited
                    self._turns.release()
                    await asyncio.sleep(seconds)
                    await self._turns.acquire()
        except TimeoutError:
            raise Busy("too many folders are being listed") from None
        try:
            yield
        finally:
            self._turns.release()


def _matched(folder: str, entries: Sequence[Entry], found: Sequence[Upload]) -> Listed:
    records = {known_by(each.path, each): each for each in found}
    prefix = f"{folder}/" if folder else ""
    return [(each, None if each.is_folder else listed(prefix + each.name, each, records)) for each in entries]
