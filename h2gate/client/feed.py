"""Items on their way from who decides that they go to who sends them; one end may be ahead of the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from h2gate.client.listener import Item

MOMENT_SECONDS = 0.25


class Feed:
    """`add` and `close` at one end; `async for` or `several` at the other, for one taker."""

    def __init__(self, items: Iterable[Item] = (), *, closed: bool = False) -> None:
        self._items = deque(items)
        self._closed = closed
        self._stirred = asyncio.Event()

    def add(self, *items: Item) -> None:
        self._items.extend(items)
        self._stirred.set()

    def close(self) -> None:
        """No more will come."""
        self._closed = True
        self._stirred.set()

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> Item:
        await self._until(1)
        if not self._items:
            raise StopAsyncIteration
        return self._items.popleft()

    async def several(self, n: int) -> list[Item]:
        """The next `n`; fewer when no more came for a moment, none at the end."""
        await self._until(1)
        with suppress(TimeoutError):
            await self._until(n, MOMENT_SECONDS)
        return [self._items.popleft() for _ in range(min(n, len(self._items)))]

    async def _until(self, n: int, seconds: float | None = None) -> None:
        """Raises `TimeoutError` when nothing came for so long."""
        while len(self._items) < n and not self._closed:
            self._stirred.clear()
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
