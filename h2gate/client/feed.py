"""Items on their way from who decides that they go to who sends them; one end may be ahead of the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from h2gate.client.listener import Item


class Feed:
    """`add` and `close` at one end; `async for` or `several` at the other, for one taker."""

    def __init__(self, items: Iterable[Item] = (), *, closed: bool = False) -> None:
        self._items = deque(items)
        self._closed = closed
        self._stirred = asyncio.Event()

    def add(self, item: Item) -> None:
        self._items.append(item)
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
        """The next `n`; fewer only when no more will come, none at the end."""
        await self._until(n)
        return [self._items.popleft() for _ in range(min(n, len(self._items)))]

    async def _until(self, n: int) -> None:
        while len(self._items) < n and not self._closed:
            self._stirred.clear()
            await self._stirred.wait()
