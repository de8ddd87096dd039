"""Lanes and threads: every job that was given is done, in order, and its giver hears of it even when cancelled."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import pytest

from h2gate import effort
from h2gate.errors import LedgerFailed
from h2gate.lane import FEW_THREADS, Lane, Threads
from tests.payers import Purse


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


class Work:
    """Doubles numbers in a lane, remembering the batches; fails for negative ones. May be held up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, jobs: list[int]) -> list[int | BaseException]:
        assert self.go.wait(20)
        self.batches.append(list(jobs))
        if 0 in jobs:
            raise ZeroDivisionError("the whole batch")
        return [ValueError(str(job)) if job < 0 else 2 * job for job in jobs]


def test_jobs_of_one_turn_are_one_batch_in_their_order() -> None:
    async def test() -> None:
        work = Work()
        lane: Lane[int, int] = Lane("test", work)
        assert await asyncio.gather(*[lane.submit(job) for job in range(1, 50)]) == list(range(2, 100, 2))
        assert work.batches == [list(range(1, 50))]
        await lane.close()

    run(test)


def test_jobs_that_come_while_one_is_done_are_the_next_batches_of_bounded_size() -> None:
    async def test() -> None:
        work = Work()
        work.go.clear()
        lane: Lane[int, int] = Lane("test", work, max_batch=4)
        waiting = []
        for job in range(1, 12):
            waiting.append(lane.submit(job))
            await asyncio.sleep(0)  # a turn of the loop for each
        work.go.set()
        await asyncio.gather(*waiting)
        assert [job for batch in work.batches for job in batch] == list(range(1, 12))
        assert max(map(len, work.batches)) == 4
        await lane.close()

    run(test)


def test_failed_job_fails_alone_and_a_failed_batch_fails_all_of_it_and_no_other() -> None:
    async def test() -> None:
        lane: Lane[int, int] = Lane("test", Work())
        found = await asyncio.gather(*map(lane.submit, [1, -1, 2]), return_exceptions=True)
        assert [found[0], str(found[1]), found[2]] == [2, "-1", 4]
        found = await asyncio.gather(*map(lane.submit, [1, 0]), return_exceptions=True)
        assert [type(each) for each in found] == [ZeroDivisionError, ZeroDivisionError]
        assert await lane.submit(3) == 6
        await lane.close()

    run(test)


def test_close_finishes_what_was_given_and_takes_nothing_more() -> None:
    async def test() -> None:
        work = Work()
        lane: Lane[int, int] = Lane("test-close", work)
        given = [lane.submit(job) for job in (1, 2)]
        await lane.close()
        assert [future.result() for future in given] == [2, 4]
        assert "test-close" not in {thread.name for thread in threading.enumerate()}
        with pytest.raises(RuntimeError):
            lane.submit(3)

    run(test)


def test_cancelled_waiter_is_told_when_its_job_is_done_and_the_others_have_their_results() -> None:
    async def test() -> None:
        work = Work()
        work.go.clear()
        lane: Lane[int, int] = Lane("test", work)

        async def wait(job: int) -> int:
            return await lane.submit(job)

        cancelled, other = asyncio.create_task(wait(1)), asyncio.create_task(wait(2))
        await asyncio.sleep(0)
        for _ in range(3):  # however often
            cancelled.cancel()
            await asyncio.sleep(0)
            assert not cancelled.done()
        work.go.set()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert work.batches == [[1, 2]]
        assert await other == 4
        await lane.close()

    run(test)


class Payer(NamedTuple):
    name: str

    def spent(self, seconds: float) -> None:
        pass

    def pause(self) -> float:
        return 0.0


def test_who_has_few_jobs_does_not_wait_for_all_of_who_has_many() -> None:
    async def test() -> None:
        work = Work()
        work.go.clear()
        lane: Lane[int, int] = Lane("test", work, max_batch=8)

        async def give(name: str, jobs: range) -> list[int]:
            effort.charge_to(Payer(name))
            return await asyncio.gather(*[lane.submit(job) for job in jobs])

        first = asyncio.create_task(give("first", range(1, 2)))
        await asyncio.sleep(0)  # its batch is the one that is held up, with or without others in it
        many = asyncio.create_task(give("many", range(100, 200)))
        await asyncio.sleep(0)
        few = asyncio.create_task(give("few", range(10, 14)))
        for _ in range(3):  # given, and handed over to the thread
            await asyncio.sleep(0)
        work.go.set()
        await few
        of_few = [number for number, batch in enumerate(work.batches) if any(10 <= job < 14 for job in batch)]
        assert of_few[-1] <= 2, work.batches
        await asyncio.gather(first, many)
        of_many = [job for batch in work.batches for job in batch if job >= 100]
        assert of_many == list(range(100, 200)), "each one's jobs keep their order"
        assert max(map(len, work.batches)) <= 8
        await lane.close()

    run(test)


def test_a_lane_that_waits_keeps_nothing_of_what_its_last_jobs_held() -> None:
    class Job:
        pass

    async def test() -> None:
        lane: Lane[Job, None] = Lane("test", lambda jobs: [None] * len(jobs))
        job = Job()
        gone, loop = asyncio.Event(), asyncio.get_running_loop()
        weakref.finalize(job, loop.call_soon_threadsafe, gone.set)
        await lane.submit(job)
        del job
        await gone.wait()  # the thread is on its way to its next wait
        await lane.close()

    run(test)


def test_threads_give_results_and_exceptions_side_by_side() -> None:
    async def test() -> None:
        threads = Threads("test", 2)
        barrier = threading.Barrier(2)
        side_by_side = [threads.submit(barrier.wait, 20) for _ in range(2)]
        assert sorted(await asyncio.gather(*side_by_side)) == [0, 1]
        with pytest.raises(FileNotFoundError):
            await threads.submit(os.stat, "/nowhere/at/all")
        await threads.close()
        with pytest.raises(RuntimeError):
            threads.submit(os.getpid)

    run(test)


def names_of(threads: str) -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(threads)}


def test_few_threads_do_many_jobs_that_get_on() -> None:
    async def test() -> None:
        threads = Threads("few", FEW_THREADS + 8)
        jobs = [threads.submit(threading.get_ident) for _ in range(1000)]
        assert len(set(await asyncio.gather(*jobs))) <= FEW_THREADS
        await threads.close()

    run(test)


def test_jobs_that_are_held_up_hold_up_no_other_while_there_may_be_threads() -> None:
    async def test() -> None:
        threads = Threads("held", 2 * FEW_THREADS + 1)
        go = threading.Event()
        held_up = [threads.submit(go.wait, 20) for _ in range(2 * FEW_THREADS)]
        for number in range(10):  # one after the other, by the one thread that is left
            assert await threads.submit(str, number) == str(number)
        assert len(names_of("held")) == 2 * FEW_THREADS + 1
        too_many = [threads.submit(go.wait, 20), threads.submit(go.wait, 20)]
        go.set()
        await asyncio.gather(*held_up, *too_many)
        while len(names_of("held")) > FEW_THREADS:  # who is not wanted any more leaves with the next jobs
            await threads.submit(os.getpid)
        await threads.close()
        assert not names_of("held")

    run(test)


def test_threads_that_are_held_up_while_they_are_closed_are_waited_for() -> None:
    async def test() -> None:
        threads = Threads("closing", 2 * FEW_THREADS)
        go = threading.Event()
        jobs = [threads.submit(go.wait, 20) for _ in range(4 * FEW_THREADS)]
        closing = asyncio.create_task(threads.close())
        await asyncio.sleep(0)
        assert not closing.done()
        go.set()
        assert await asyncio.gather(*jobs) == [True] * len(jobs)
        await closing
        assert not names_of("closing")

    run(test)


def test_cancelled_waiter_of_a_thread_is_told_when_the_job_is_done() -> None:
    async def test() -> None:
        threads = Threads("test", 1)
        go = threading.Event()
        done: list[int] = []

        def job() -> None:
            assert go.wait(20)
            done.append(1)

        async def wait() -> None:
            await threads.submit(job)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == [1]
        await threads.close()

    run(test)


def test_threads_that_cannot_be_started_leave_their_jobs_to_those_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def test() -> None:
        threads = Threads("test", 8)
        done: list[int] = []
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            jobs = [threads.submit(done.append, number) for number in range(20)]
            await asyncio.gather(*jobs)
        assert done == list(range(20)), "each once, and one after the other"
        await threads.close()

    run(test)


def test_jobs_that_fail_together_get_an_error_each_to_which_one_may_add_what_is_its_own() -> None:
    def work(jobs: list[int]) -> list[int | BaseException]:
        raise LedgerFailed("no disk", state="x")

    async def test() -> None:
        lane: Lane[int, int] = Lane("test", work)
        one, other = await asyncio.gather(lane.submit(1), lane.submit(2), return_exceptions=True)
        assert isinstance(one, LedgerFailed)
        assert isinstance(other, LedgerFailed)
        one.headers.append((b"location", b"/tus/secret"))
        one.members["offset"] = 1
        assert (other.headers, other.members, str(other)) == ([], {"state": "x"}, "no disk")
        await lane.close()

    run(test)


def test_each_who_has_jobs_in_a_batch_pays_for_his_part_of_it() -> None:
    async def test() -> None:
        def work(jobs: list[int]) -> list[int]:
            began = time.thread_time()
            while time.thread_time() - began < 0.03:
                pass
            return jobs

        lane: Lane[int, int] = Lane("test", work)
        one, other = Purse(), Purse()

        async def give(payer: Purse, n_jobs: int) -> None:
            effort.charge_to(payer)
            await asyncio.gather(*[lane.submit(job) for job in range(n_jobs)])

        async with asyncio.TaskGroup() as group:
            group.create_task(give(one, 2))
            group.create_task(give(other, 1))
        assert one.seconds == pytest.approx(2 * other.seconds)
        assert one.seconds + other.seconds >= 0.03
        await lane.close()

    run(test)
