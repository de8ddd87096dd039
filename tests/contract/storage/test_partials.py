"""What every storage promises of unfinished files (`storage.base.Partial`)."""

from __future__ import annotations

import asyncio
import os

import pytest

from h2gate.errors import Locked, NotFound, PreconditionFailed
from h2gate.storage.base import Partial, Storage
from tests.conftest import n_descriptors
from tests.contract.storage.test_storage import Open, opened, read

__all__ = ["opened"]

BLOCK = 1 << 20


class Seen:
    """A tap that keeps what it saw."""

    def __init__(self) -> None:
        self.data = b""

    def update(self, data: memoryview | bytes, /) -> None:
        self.data += bytes(data)


async def fill(storage: Storage, key: str, data: bytes) -> None:
    await storage.begin(key)
    async with storage.holding(key) as partial:
        partial.begin([])
        await partial.write([data])
        await partial.finish()


async def content(partial: Partial, start: int = 0) -> bytes:
    seen = Seen()
    await partial.feed(start, partial.size, seen)
    return seen.data


async def test_begun_file_is_empty_listed_and_not_shown(opened: Open) -> None:
    async with opened() as storage:
        await storage.begin("k")
        assert await storage.partials() == {"k": 0}
        assert await storage.staged() == []
        assert await storage.entries("") == []
    async with opened() as storage, storage.holding("k") as partial:
        assert partial.size == 0


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 100_000, BLOCK, BLOCK + 1, 2 * BLOCK + 4097])
@pytest.mark.parametrize("before", [0, 1, 4096, 5000])
async def test_bytes_written_at_any_offset_are_there_after_reopening_and_the_tap_saw_just_them(
    opened: Open, before: int, size: int
) -> None:
    whole = os.urandom(before + size)
    seen = Seen()
    async with opened() as storage:
        await fill(storage, "k", whole[:before])
        async with storage.holding("k") as partial:
            partial.begin([seen], size)
            middle = before + size // 2
            await partial.write([whole[before:middle]])
            await partial.write([whole[middle:]])
            assert await partial.finish() == partial.size == len(whole)
    assert seen.data == whole[before:]
    async with opened() as storage, storage.holding("k") as partial:
        assert await content(partial) == whole


async def test_sync_tells_a_size_that_the_taps_have_seen_and_writing_goes_on(opened: Open) -> None:
    whole = os.urandom(50_000)
    seen = Seen()
    async with opened() as storage:
        await storage.begin("k")
        async with storage.holding("k") as partial:
            partial.begin([seen])
            for start in range(0, len(whole), 9999):
                await partial.write([whole[start : start + 9999]])
                size = await partial.sync()
                assert size == partial.size <= len(whole)
                assert seen.data == whole[:size]
            assert await partial.finish() == len(whole)
            assert await content(partial) == whole


async def test_finish_or_sync_without_bytes_changes_nothing(opened: Open) -> None:
    async with opened() as storage:
        await fill(storage, "k", b"abc")
        async with storage.holding("k") as partial:
            assert await partial.sync() == await partial.finish() == 3
            partial.begin([])
            await partial.write([])
            assert await partial.sync() == await partial.finish() == 3
            assert await content(partial) == b"abc"


@pytest.mark.parametrize("finishes", [True, False])
async def test_cut_file_can_be_read_and_written_from_there(opened: Open, finishes: bool) -> None:
    async with opened() as storage:
        await fill(storage, "k", bytes(10_000))
        async with storage.holding("k") as partial:
            partial.begin([])
            await partial.write([b"x" * 20_000])
            if finishes:
                await partial.finish()
            await partial.cut(5001)
            assert partial.size == 5001
            assert await content(partial) == bytes(5001)
            partial.begin([])
            await partial.write([b"new"])
            assert await partial.finish() == 5004
            assert await content(partial, 5000) == b"\0new"
        assert await storage.partials() == {"k": 5004}


async def test_second_holder_is_locked_out_until_the_first_lets_go(opened: Open) -> None:
    async with opened() as storage, opened() as other:
        await storage.begin("k")
        async with storage.holding("k"):
            for each in (storage, other):
                with pytest.raises(Locked):
                    await each.holding("k").__aenter__()
        async with other.holding("k"):
            pass


async def test_file_that_is_not_there_is_not_found(opened: Open) -> None:
    async with opened() as storage:
        with pytest.raises(NotFound):
            await storage.holding("k").__aenter__()
        await storage.begin("k")
        await storage.drop("k")
        await storage.drop("k")
        with pytest.raises(NotFound):
            await storage.holding("k").__aenter__()
        assert await storage.partials() == {}


@pytest.mark.parametrize("may_replace", [True, False])
async def test_committed_file_is_shown_with_its_time_and_unfinished_no_more(opened: Open, may_replace: bool) -> None:
    async with opened() as storage:
        await fill(storage, "k", b"abc")
        async with storage.holding("k") as partial:
            stamped = await partial.stamp(123 * 10**9)
            assert await storage.commit("k", "d/a", may_replace=may_replace, partial=True) is None
        assert (stamped.size, stamped.modified_ns) == (3, 123 * 10**9)
        assert await storage.stat("d/a") == stamped
        assert await read(storage, "d/a") == b"abc"
        assert await storage.partials() == {}


async def test_commit_that_may_not_replace_leaves_the_file_unfinished(opened: Open) -> None:
    async with opened() as storage:
        for key in ("k", "l"):
            await fill(storage, key, key.encode())
        async with storage.holding("k"):
            await storage.commit("k", "a", may_replace=True, partial=True)
        async with storage.holding("l"):
            with pytest.raises(PreconditionFailed):
                await storage.commit("l", "a", may_replace=False, partial=True)
        assert await storage.partials() == {"l": 1}
        assert await read(storage, "a") == b"k"


async def test_joined_files_lie_behind_each_other_and_stay(opened: Open) -> None:
    parts = {"a": os.urandom(BLOCK + 5), "b": b"", "c": os.urandom(4096), "d": b"x"}
    seen = Seen()
    async with opened() as storage:
        for key, data in parts.items():
            await fill(storage, key, data)
        await fill(storage, "k", b"begun ")
        async with storage.holding("k") as partial:
            partial.begin([seen])
            await partial.join(["a", "b", "c", "d", "a"])
            await partial.finish()
            assert seen.data == b"".join([*parts.values(), parts["a"]])
            assert await content(partial) == b"begun " + seen.data
        sizes = {key: len(data) for key, data in parts.items()}
        assert await storage.partials() == {**sizes, "k": 6 + len(seen.data)}


async def test_join_of_a_file_that_is_gone_is_not_found(opened: Open) -> None:
    async with opened() as storage:
        await fill(storage, "a", b"abc")
        await storage.begin("k")
        async with storage.holding("k") as partial:
            partial.begin([])
            with pytest.raises(NotFound):
                await partial.join(["a", "gone"])


async def test_cancelled_join_leaves_no_descriptor_and_no_lock(opened: Open) -> None:
    async with opened() as storage:
        await fill(storage, "a", bytes(4096))
        await storage.begin("k")
        before = n_descriptors()
        for turns in range(30):
            joins = asyncio.Event()
            task = asyncio.create_task(_join_many(storage, joins))
            await joins.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        assert n_descriptors() == before
        async with storage.holding("k"):
            pass


async def _join_many(storage: Storage, joins: asyncio.Event) -> None:
    class Told:
        loop = asyncio.get_running_loop()

        def update(self, data: memoryview | bytes, /) -> None:
            self.loop.call_soon_threadsafe(joins.set)

    async with storage.holding("k") as partial:
        partial.begin([Told()])
        await partial.join(["a"] * 500)
