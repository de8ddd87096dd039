"""Readiness: each part is asked in bounded time, and not again while it does not answer."""

from __future__ import annotations

import asyncio

import pytest

from h2gate.errors import StorageFull
from h2gate.transfer import readiness
from h2gate.transfer.readiness import FRESH_SECONDS, Readiness


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Part:
    """Counts how often it is asked; answers when it may."""

    def __init__(self) -> None:
        self.n_asked = 0
        self.error: Exception | None = None
        self.free = asyncio.Event()
        self.free.set()

    async def __call__(self) -> None:
        self.n_asked += 1
        await self.free.wait()
        if self.error is not None:
            raise self.error


def test_a_part_that_fails_is_named_with_its_reason_and_the_others_are_not() -> None:
    async def run() -> None:
        good, bad = Part(), Part()
        bad.error = StorageFull("no space left")
        found = Readiness({"ledger": good, "storage": bad})
        assert await found.faults() == {"storage": "no space left"}
        await found.close()

    asyncio.run(run())


def test_many_who_ask_within_a_second_cost_one_question_and_later_ones_another() -> None:
    async def run() -> None:
        part, clock = Part(), Clock()
        found = Readiness({"storage": part}, clock)
        await asyncio.gather(*(found.faults() for _ in range(50)))
        assert part.n_asked == 1
        clock.now += FRESH_SECONDS
        part.error = StorageFull("no space left")
        assert await found.faults() == {"storage": "no space left"}
        assert part.n_asked == 2
        await found.close()

    asyncio.run(run())


def test_a_part_that_hangs_is_told_so_and_not_asked_again_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "ANSWER_SECONDS", 0.01)

    async def run() -> None:
        part, clock = Part(), Clock()
        part.free.clear()
        found = Readiness({"storage": part}, clock)
        for _ in range(3):
            assert await found.faults() == {"storage": "no answer"}
            clock.now += 10 * FRESH_SECONDS
        assert part.n_asked == 1
        part.free.set()
        assert part.n_asked == 1
        monkeypatch.setattr(readiness, "ANSWER_SECONDS", 30)
        assert await found.faults() == {}
        await found.close()

    asyncio.run(run())
