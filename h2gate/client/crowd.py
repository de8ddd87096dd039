"""Many files at once: large ones up to `streams`, small ones, whose cost is the round trip, three times as many beside
them or in bundles. So neither memory nor the gateway's patience depends on how many files there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from h2gate.client.bundling import FEW, MAX_FILES, Bundler
from h2gate.client.feed import Feed
from h2gate.client.listener import Item, Listener, Outcome
from h2gate.client.moving import SMALL
from h2gate.client.retrying import Move, Patience
from h2gate.errors import UnsupportedMediaType

BUNDLES_AT_ONCE = 4

Begin = Callable[[Item], Move]


class Crowd:
    """An outcome for each file, in the order they ended."""

    def __init__(self, patience: Patience, listener: Listener, bundler: Bundler | None, streams: int) -> None:
        self._patience = patience
        self._listener = listener
        self._bundler = bundler
        self._streams = streams

    async def run(self, items: Sequence[Item], begin: Begin) -> list[Outcome]:
        """Each by itself."""
        small = Feed((item for item in items if is_small(item)), closed=True)
        large = Feed((item for item in items if not is_small(item)), closed=True)
        async with asyncio.TaskGroup() as group:
            one = group.create_task(self._each(large, begin, self._streams))
            other = group.create_task(self._each(small, begin, 3 * self._streams))
        return one.result() + other.result()

    async def put(self, large: Feed, small: Feed, begin: Begin) -> list[Outcome]:
        """The small ones in bundles."""
        async with asyncio.TaskGroup() as group:
            alone = group.create_task(self._each(large, begin, self._streams))
            together = group.create_task(self._small(small, begin))
        return alone.result() + together.result()

    async def _each(self, feed: Feed, begin: Begin, at_once: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        places = asyncio.Semaphore(at_once)

        async def one(item: Item) -> None:
            try:
                self._listener.started(item)
                outcome = await self._patience.see_through(begin(item))
                outcomes.append(outcome)
                self._listener.finished(outcome)
            finally:
                places.release()

        async with asyncio.TaskGroup() as group:
            async for item in feed:
                await places.acquire()
                group.create_task(one(item))
        return outcomes

    async def _small(self, feed: Feed, begin: Begin) -> list[Outcome]:
        """Small files, some hundreds a request; those that were not answered, or are too few, go one by one."""
        if self._bundler is None:
            return await self._each(feed, begin, 3 * self._streams)
        outcomes: list[Outcome] = []
        again = Feed()
        places = asyncio.Semaphore(BUNDLES_AT_ONCE)

        async def one(bundle: Sequence[Item], bundler: Bundler) -> None:
            self._begin(bundle)
            try:
                async for outcome in bundler.put(bundle):
                    if outcome.error is not None and outcome.error.retry:
                        again.add(outcome.item)
                    else:
                        outcomes.append(outcome)
                        self._listener.finished(outcome)
            except UnsupportedMediaType:
                again.add(*bundle)
            finally:
                self._patience.in_flight -= 1
                places.release()

        async with asyncio.TaskGroup() as group:
            alone = group.create_task(self._each(again, begin, 3 * self._streams))
            async with asyncio.TaskGroup() as bundles:
                while bundle := await feed.several(MAX_FILES):
                    if len(bundle) < FEW:
                        again.add(*bundle)
                    else:
                        await places.acquire()
                        bundles.create_task(one(bundle, self._bundler))
            again.close()
        return outcomes + alone.result()

    def _begin(self, bundle: Sequence[Item]) -> None:
        self._patience.begin()
        for item in bundle:
            self._listener.started(item)


def is_small(item: Item) -> bool:
    return item.size is not None and item.size <= SMALL
