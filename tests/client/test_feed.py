"""Items wait for their taker, and the taker for items, but not for a full bundle."""

from __future__ import annotations

import asyncio

from h2gate.client.feed import Feed
from h2gate.client.listener import Item

ITEMS = [Item(str(number), None, f"https://h/{number}") for number in range(5)]


async def test_items_come_in_order_and_end_when_it_is_closed() -> None:
    feed = Feed(ITEMS[:1])

    async def fill() -> None:
        for item in ITEMS[1:]:
            await asyncio.sleep(0)
            feed.add(item)
        feed.close()

    filling = asyncio.create_task(fill())
    assert [item async for item in feed] == ITEMS
    await filling


async def test_several_come_together_and_the_rest_at_the_end() -> None:
    feed = Feed(ITEMS, closed=True)
    assert [await feed.several(3), await feed.several(3), await feed.several(3)] == [ITEMS[:3], ITEMS[3:], []]


async def test_several_do_not_wait_for_more_that_is_long_in_coming() -> None:
    feed = Feed(ITEMS)
    assert await feed.several(500) == ITEMS
    waiting = asyncio.create_task(feed.several(500))
    await asyncio.sleep(0)
    assert not waiting.done()
    feed.close()
    assert await waiting == []
