"""Listings are made few at a time and held in the budget; who finds no room is told to come again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from h2gate.config import Settings
from h2gate.errors import Busy, NotFound
from h2gate.gateway import Gateway
from h2gate.transfer.listing import AT_ONCE, Listed

BUDGET = 32 << 20


def settings_with_files(tmp_path: Path) -> Settings:
    (tmp_path / "files" / "d").mkdir(parents=True)
    (tmp_path / "files" / "d" / "a").write_bytes(b"a")
    return Settings(data=tmp_path, memory_budget=BUDGET)


def test_no_more_than_a_few_are_made_at_once_and_all_get_theirs(tmp_path: Path) -> None:
    at_work: list[int] = []
    most = 0

    async def run() -> list[bytes]:
        nonlocal most
        async with Gateway(settings_with_files(tmp_path), upkeep=False) as gateway:
            listings, loop = gateway.listings, asyncio.get_running_loop()

            def render(entries: Listed) -> bytes:
                nonlocal most
                at_work.append(1)
                most = max(most, len(at_work))
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10)
                at_work.pop()
                return entries[0][0].name.encode()

            async def one() -> bytes:
                async with listings.page("d", render) as page:
                    return page

            pages = await asyncio.gather(*(one() for _ in range(20)))
            assert gateway.budget.left == BUDGET
            return pages

    assert asyncio.run(run()) == [b"a"] * 20
    assert 1 <= most <= AT_ONCE


def test_what_is_read_is_held_and_a_listing_without_room_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with Gateway(settings_with_files(tmp_path), upkeep=False) as gateway:
            size = BUDGET // 4
            async with gateway.listings.page("d", lambda _: bytes(size)):
                assert gateway.budget.left == BUDGET - size
                with pytest.raises(Busy):
                    async with gateway.listings.page("d", lambda _: bytes(size * 2)):
                        pass
            assert gateway.budget.left == BUDGET
            async with gateway.listings.page("d", lambda _: bytes(size)) as page:
                assert len(page) == size

    asyncio.run(run())


def test_a_folder_that_is_not_there_holds_no_turn(tmp_path: Path) -> None:
    async def run() -> None:
        async with Gateway(settings_with_files(tmp_path), upkeep=False) as gateway:
            for _ in range(AT_ONCE + 1):
                with pytest.raises(NotFound):
                    await gateway.listings.exists("none")
            await gateway.listings.exists("d")

    asyncio.run(run())
