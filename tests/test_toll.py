"""A toll: so many of each who pays are inside, and whoever owes comes in a few at a time, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from h2gate.effort import charge_to
from h2gate.toll import Toll


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


class Owes:
    """A payer who has to wait for so long."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def spent(self, seconds: float) -> None: ...

    def pause(self) -> float:
        return self.seconds


class Hall:
    """Behind a toll: who is in, until told to go."""

    def __init__(self, most: int) -> None:
        self.toll = Toll(most)
        self.inside: list[int] = []
        self.entered = asyncio.Semaphore(0)
        self.go = asyncio.Event()

    async def visit(self, payer: Owes | None, number: int = 0) -> None:
        if payer is not None:
            charge_to(payer)
        who = await self.toll.enter()
        try:
            self.inside.append(number)
            self.entered.release()
            await self.go.wait()
        finally:
            self.inside.remove(number)
            self.toll.leave(who)

    async def n_entered(self, count: int) -> None:
        for _ in range(count):
            await self.entered.acquire()

    @property
    def is_forgotten(self) -> bool:
        return not self.toll._lines


async def settled() -> None:
    """Whatever is ready has run."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_so_many_of_one_are_inside_and_others_are_not_kept_out_by_them() -> None:
    async def test() -> None:
        hall, many, other = Hall(3), Owes(), Owes()
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(hall.visit(many, number))
            group.create_task(hall.visit(other, 100))
            await hall.n_entered(4)
            await settled()
            assert hall.inside == [0, 1, 2, 100]
            hall.go.set()
        assert hall.is_forgotten

    run(test)


def test_who_pays_nothing_is_not_held_up() -> None:
    async def test() -> None:
        hall = Hall(1)
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(hall.visit(None, number))
            await hall.n_entered(5)
            hall.go.set()

    run(test)


def test_who_owes_comes_in_a_few_at_a_time_and_at_once_when_nothing_is_owed_any_more() -> None:
    async def test() -> None:
        hall, debtor = Hall(512), Owes(0.05)
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(hall.visit(debtor, number))
            await settled()
            assert hall.inside == []
            await hall.n_entered(16)
            await settled()
            assert hall.inside == list(range(16))
            debtor.seconds = 0.0
            hall.go.set()
        assert hall.is_forgotten

    run(test)


def test_who_is_cancelled_while_waiting_or_when_just_let_in_takes_nobodys_place() -> None:
    async def test() -> None:
        hall, payer = Hall(1), Owes()
        charge_to(payer)
        first = await hall.toll.enter()
        waits, let_in, last = (asyncio.create_task(hall.visit(payer, number)) for number in range(3))
        await settled()
        waits.cancel()
        await settled()
        hall.toll.leave(first)  # this lets one in, which has not run since
        let_in.cancel()
        await hall.n_entered(1)
        assert hall.inside == [2]
        hall.go.set()
        await asyncio.gather(waits, let_in, last, return_exceptions=True)
        assert (waits.cancelled(), let_in.cancelled(), last.cancelled()) == (True, True, False)
        assert hall.is_forgotten

    run(test)


def test_one_whose_tasks_are_all_cancelled_while_owing_is_forgotten() -> None:
    async def test() -> None:
        hall, debtor = Hall(1), Owes(0.01)
        visit = asyncio.create_task(hall.visit(debtor))
        await settled()
        visit.cancel()
        await asyncio.gather(visit, return_exceptions=True)
        await asyncio.sleep(0.02)  # the loop's timers fire in order, so the debtor's has
        assert hall.is_forgotten
        assert hall.inside == []

    run(test)
