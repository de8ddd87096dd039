"""Who takes more CPU time than is usual waits while others are at work; the usual is free, and alone nobody waits."""

from __future__ import annotations

import asyncio
import time

import pytest

from h2gate import effort
from h2gate.server.efforts import HANDSHAKE_SECONDS, WORKED_OFF, Efforts

DEAR, OTHER = "192.0.2.1", "192.0.2.2"
THREE = 3.0
"""Seconds that nobody's wait exceeds."""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def start() -> tuple[Efforts, Clock]:
    clock = Clock()
    efforts = Efforts(clock)
    efforts.at_work(OTHER)
    efforts.at_work(DEAR)
    return efforts, clock


def test_what_goes_beyond_the_usual_is_waited_for_and_worked_off_in_time() -> None:
    efforts, clock = start()
    efforts.spent(DEAR, 0.030, usual=0.010)
    assert efforts.pause(DEAR) == pytest.approx(0.020 / WORKED_OFF)
    clock.now += 0.1
    assert efforts.pause(DEAR) == pytest.approx(0.020 / WORKED_OFF - 0.1)
    assert efforts.pause(OTHER) == 0
    efforts.at_work(OTHER)
    clock.now += 0.1
    assert efforts.pause(DEAR) == 0


def test_the_usual_is_free_however_much_of_it_there_is() -> None:
    efforts, _ = start()
    for _ in range(100_000):
        efforts.spent(DEAR, 0.001, usual=0.001)
    assert efforts.pause(DEAR) == 0


def test_alone_nobody_waits_and_debts_are_kept_for_when_others_come() -> None:
    clock = Clock()
    efforts = Efforts(clock)
    efforts.at_work(DEAR)
    efforts.spent(DEAR, 0.2)
    assert efforts.pause(DEAR) == 0
    efforts.at_work(OTHER)
    efforts.at_work(DEAR)
    assert efforts.pause(DEAR) > 0
    clock.now += 0.5
    efforts.at_work(DEAR)
    assert efforts.pause(DEAR) == 0, "the other one has nothing to do any more"


def test_no_wait_is_longer_than_three_seconds_and_none_is_for_next_to_nothing() -> None:
    efforts, _ = start()
    efforts.spent(DEAR, HANDSHAKE_SECONDS)
    assert efforts.pause(DEAR) == 0
    efforts.spent(DEAR, 3600)
    assert efforts.pause(DEAR) == pytest.approx(THREE)


def test_so_many_addresses_are_remembered_and_no_more() -> None:
    efforts, _ = start()
    for number in range(25_000):
        efforts.spent(str(number), 1)
    assert len(efforts._debts) <= 10_000


def test_a_request_is_charged_for_its_first_step_and_for_what_it_says_that_it_had_done() -> None:
    efforts, clock = start()
    efforts.at_work(OTHER)

    async def dear() -> None:
        sum(range(1_000_000))
        first = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(first.set_result, None)
        await first
        assert efforts.pause(DEAR) > 0, "the sum"
        clock.now += 10
        efforts.at_work(OTHER)
        efforts.at_work(DEAR)
        assert efforts.pause(DEAR) == effort.pause() == 0
        _, seconds = effort.timed(lambda: sum(range(1_000_000)))
        effort.spent(seconds)
        assert efforts.pause(DEAR) == effort.pause() > 0

    asyncio.run(efforts.serve(DEAR, dear))


def test_a_request_that_is_cancelled_or_fails_does_so_as_if_nobody_watched() -> None:
    efforts, _ = start()
    seen: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("as it is")

    async def cancel() -> None:
        task = asyncio.create_task(efforts.serve(OTHER, waits))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert seen == ["cancelled"]
    with pytest.raises(ValueError, match="as it is"):
        asyncio.run(efforts.serve(OTHER, fails))


def test_who_owes_is_begun_later_and_in_the_end() -> None:
    efforts = Efforts()
    efforts.at_work(OTHER)
    efforts.at_work(DEAR)
    efforts.spent(DEAR, 0.005)
    order: list[str] = []

    async def says(word: str) -> None:
        order.append(word)

    async def both() -> float:
        began = time.monotonic()
        await asyncio.gather(efforts.serve(DEAR, says, "dear"), efforts.serve(OTHER, says, "other"))
        return time.monotonic() - began

    assert asyncio.run(both()) >= 0.03, (
        "what was owed takes fifty milliseconds to work off, less what it took to get here"
    )
    assert order == ["other", "dear"]
