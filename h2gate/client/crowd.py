"""Many files at once: large ones up to `streams`, those that are little more than a round trip up to three times as
many, and so those that only wait for their answers; small ones beside them or in bundles. So neither memory nor the
gateway's patience depends on how many there are.
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
_LARGE_BYTES = 3 << 19
"""So many of a file are held at once, at most: a piece, and what is queued."""
_LEAST_BYTES = _LARGE_BYTES // 3
"""A file counts as so many though it be smaller, or all of it have left."""

Begin = Callable[[Item], Move]


class _Places:
    """For `n` large files, or up to three times as many that are less than that. One task enters, many leave."""

    def __init__(self, n: int) -> None:
        self._left = n * _LARGE_BYTES
        self._more = asyncio.Event()

    async def enter(self, item: Item) -> _Place:
        """Returns when there is a place."""
        size = _LARGE_BYTES if item.size is None else item.size
        weight = min(max(size, _LEAST_BYTES), _LARGE_BYTES)
        while self._left < weight:
            self._more.clear()
            await self._more.wait()
        self._left -= weight
        return _Place(self, weight)

    def give_back(self, weight: int) -> None:
        self._left += weight
        self._more.set()


class _Place:
    """One file's, while it moves."""

    def __init__(self, places: _Places, weight: int) -> None:
        self._places = places
        self._weight = weight

    def shrink(self) -> None:
        """Nothing more of the file is held here; what it waits for is its answer."""
        self._to(min(self._weight, _LEAST_BYTES))

    def leave(self) -> None:
        self._to(0)

    def _to(self, weight: int) -> None:
        self._places.give_back(self._weight - weight)
        self._weight = weight


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
            one = group.create_task(self._each(large, begin))
            other = group.create_task(self._each(small, begin))
        return one.result() + other.result()

    async def put(self, large: Feed, small: Feed, begin: Begin) -> list[Outcome]:
        """The small ones in bundles."""
        async with asyncio.TaskGroup() as group:
            alone = group.create_task(self._each(large, begin))
            together = group.create_task(self._small(small, begin))
        return alone.result() + together.result()

    async def _each(self, feed: Feed, begin: Begin) -> list[Outcome]:
        outcomes: list[Outcome] = []
        places = _Places(self._streams)

        async def one(item: Item, place: _Place) -> None:
            try:
                self._listener.started(item)
                move = begin(item)
                move.on_sent = place.shrink
                outcome = await self._patience.see_through(move)
                outcomes.append(outcome)
                self._listener.finished(outcome)
            finally:
                place.leave()

        async with asyncio.TaskGroup() as group:
            async for item in feed:
                group.create_task(one(item, await places.enter(item)))
        return outcomes

    async def _small(self, feed: Feed, begin: Begin) -> list[Outcome]:
        """Small files, some hundreds a request; those that were not answered, or are too few, go one by one."""
        if self._bundler is None:
            return await self._each(feed, begin)
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
            alone = group.create_task(self._each(again, begin))
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
