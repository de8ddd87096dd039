"""Who takes more CPU time than is usual waits while others are at work; the usual is free, and alone nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from h2gate import effort
from h2gate.server.efforts import HANDSHAKE_SECONDS, WORKED_OFF, Efforts
from h2gate.server.exchange import App, Exchange

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
    efforts = Efforts(print, clock)
    efforts.at_work(OTHER)
    efforts.at_work(DEAR)
    return efforts, clock


class Request:
    """A stand-in for an exchange."""

    def __init__(self, work: Callable[..., Awaitable[None]], *args: str) -> None:
        self.is_refused = False
        self._work, self._args = work, args

    async def run(self, app: object, scope: object) -> None:
        await self._work(*self._args)


async def serve(efforts: Efforts, address: str, work: Callable[..., Awaitable[None]], *args: str) -> None:
    await efforts.serve(address, cast(Exchange, Request(work, *args)), cast(App, None), {})


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
    efforts = Efforts(print, clock)
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


def test_small_things_and_refusals_are_charged_a_little_so_that_one_address_has_not_the_whole_loop_for_them() -> None:
    efforts, clock = start()

    async def nothing() -> None:
        pass

    async def ask(n_times: int, *, refused: bool) -> float:
        clock.now += 100
        efforts.at_work(OTHER)
        for _ in range(n_times):  # alone: nobody waits, but it is charged
            request = Request(nothing)
            request.is_refused = refused
            await efforts.serve(OTHER, cast(Exchange, request), cast(App, None), {})
        efforts.at_work(DEAR)
        return efforts.pause(OTHER)

    assert asyncio.run(ask(30, refused=False)) == 0
    few, many = asyncio.run(ask(100, refused=False)), asyncio.run(ask(100, refused=True))
    assert few == pytest.approx(0.05, rel=0.5)
    assert many == pytest.approx(4 * few, rel=0.5)


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

    asyncio.run(serve(efforts, DEAR, dear))


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
        task = asyncio.create_task(serve(efforts, OTHER, waits))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert seen == ["cancelled"]
    with pytest.raises(ValueError, match="as it is"):
        asyncio.run(serve(efforts, OTHER, fails))


def test_who_owes_is_begun_later_and_in_the_end() -> None:
    efforts = Efforts(print)
    efforts.at_work(OTHER)
    efforts.at_work(DEAR)
    efforts.spent(DEAR, 0.005)
    order: list[str] = []

    async def says(word: str) -> None:
        order.append(word)

    async def both() -> None:
        await asyncio.gather(serve(efforts, DEAR, says, "dear"), serve(efforts, OTHER, says, "other"))

    asyncio.run(both())
    assert order == ["other", "dear"], "whoever owes nothing did not wait for who does, though he came later"


def test_a_request_that_is_cancelled_and_goes_on_all_the_same_is_waited_for_to_its_end() -> None:
    efforts, _ = start()
    seen: list[str] = []

    async def stubborn() -> None:
        for word in ("once", "twice"):
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                seen.append(word)
        await asyncio.sleep(0)
        seen.append("ended")

    async def cancel() -> None:
        task = asyncio.create_task(serve(efforts, OTHER, stubborn))
        for _ in range(2):
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
        await task

    asyncio.run(cancel())
    assert seen == ["once", "twice", "ended"]
