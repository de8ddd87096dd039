"""Blocking work off the event loop: a `Lane` is one thread that takes what has queued up as one batch.

A batch costs one wake-up of the thread and one of the loop however many jobs it holds, and jobs that end in the same
expensive step (an fsync, a commit) share it. One thread also means: jobs are done in the order they were given, by each
who pays for them (`effort`); of those who have more than fits, each has as much of a batch as the others.
`Threads` does jobs one by one, a few side by side. In both, a job that was given is done, and waited for; both have a
thread from the beginning, so a system that gives no more of them makes them slower and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import copy
from queue import SimpleQueue
from typing import Generic, ParamSpec, TypeAlias, TypeVar

from h2gate import effort
from h2gate.errors import GateError

_NICE = 5
"""Who computes over bodies gives way to the event loop, on which everybody waits."""
FEW_THREADS = (os.cpu_count() or 1) + 2
"""That compute and write side by side, where none is held up."""
HELD_UP_SECONDS = 0.02
"""After so long, another thread takes the next job."""


def give_way() -> None:
    """Of the thread that calls it."""
    if sys.platform == "linux":  # elsewhere it would be the whole process
        os.nice(_NICE)


Given = ParamSpec("Given")
Job = TypeVar("Job")
Result = TypeVar("Result")


class Kept(asyncio.Future[Result]):
    """Cannot be cancelled, since the thread cannot: a task that awaits it and is cancelled, however often, hears of
    that when the job is done. Until then the job may hold a descriptor or a name of the task's."""

    def cancel(self, msg: object = None) -> bool:
        return False


_Given: TypeAlias = tuple[Job, asyncio.Future[Result], effort.Payer | None]
"""A job, who waits for it, and who pays."""


class _Backlog(Generic[Job, Result]):
    """Jobs that wait, by who pays for them; those who had something taken are behind the others then."""

    def __init__(self) -> None:
        self._waiting: dict[effort.Payer | None, deque[_Given[Job, Result]]] = {}

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    def add(self, jobs: Iterable[_Given[Job, Result]] | None) -> bool:
        """Whether there were any; None says that there will be no more."""
        for each in jobs or ():
            self._waiting.setdefault(each[2], deque()).append(each)
        return jobs is not None

    def take(self, n_jobs: int) -> list[_Given[Job, Result]]:
        """So many at most: of each as many as of the others, as far as he has them."""
        taken: list[_Given[Job, Result]] = []
        while self._waiting and len(taken) < n_jobs:
            payer = next(iter(self._waiting))
            jobs = self._waiting.pop(payer)
            n_fair = max(1, (n_jobs - len(taken)) // (len(self._waiting) + 1))
            taken += [jobs.popleft() for _ in range(min(n_fair, len(jobs)))]
            if jobs:
                self._waiting[payer] = jobs
        return taken


class Lane(Generic[Job, Result]):
    """Runs `work(jobs)` in its thread; `work` returns a result or an exception for each job, in order.

    Jobs given in one turn of the loop go together. `close` waits for what was given.
    """

    def __init__(
        self, name: str, work: Callable[[list[Job]], Sequence[Result | BaseException]], max_batch: int = 256
    ) -> None:
        self._work = work
        self._max_batch = max_batch
        self._loop = asyncio.get_running_loop()
        self._fresh: list[_Given[Job, Result]] = []
        self._queue: SimpleQueue[list[_Given[Job, Result]] | None] = SimpleQueue()
        self._closed = False
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> asyncio.Future[Result]:
        """Give a job; the future has its result (see `Kept`). Raises `RuntimeError` after `close`."""
        if self._closed:
            raise RuntimeError("a job was given to a lane that is closed")
        future: Kept[Result] = Kept(loop=self._loop)
        if not self._fresh:
            self._loop.call_soon(self._hand_over)
        self._fresh.append((job, future, effort.payer()))
        return future

    def _hand_over(self) -> None:
        if self._fresh:
            self._queue.put(self._fresh)
            self._fresh = []

    async def close(self) -> None:
        """Finish what was given, then end the thread."""
        self._hand_over()
        self._closed = True
        self._queue.put(None)
        await self._ended.wait()
        self._thread.join()

    def _run(self) -> None:
        backlog: _Backlog[Job, Result] = _Backlog()
        ended = False
        while not (ended and backlog.is_empty):
            while not ended and (backlog.is_empty or not self._queue.empty()):
                ended = not backlog.add(self._queue.get())  # nothing is kept here of what a job holds
            if not backlog.is_empty:
                self._do(backlog.take(self._max_batch))
        self._loop.call_soon_threadsafe(self._ended.set)

    def _do(self, jobs: list[_Given[Job, Result]]) -> None:
        results: Sequence[Result | BaseException]
        began = effort.clock()
        try:
            results = self._work([job for job, _, _ in jobs])
        except Exception as error:  # noqa: BLE001 - every waiter gets it; none would hear of it otherwise
            results = [error] * len(jobs)
        seconds = (effort.clock() - began) / len(jobs)
        self._loop.call_soon_threadsafe(_settle, jobs, results, seconds)


def _settle(
    jobs: Sequence[_Given[Job, Result]], results: Sequence[Result | BaseException], seconds_each: float
) -> None:
    """Whoever gave a job pays for it and has its result."""
    for payer, n_jobs in Counter(payer for _, _, payer in jobs).items():
        if payer is not None:
            payer.spent(n_jobs * seconds_each)
    _resolve([future for _, future, _ in jobs], results)


def _resolve(futures: list[asyncio.Future[Result]], results: Sequence[Result | BaseException]) -> None:
    for future, result in zip(futures, results, strict=True):
        if isinstance(result, GateError):
            future.set_exception(copy(result))  # jobs of a batch may share it, and each giver adds what is his
        elif isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


class Threads:
    """Up to `count` threads, each with one job at a time. A few as long as these get on: many that wake up in turn cost
    a tenth more than few. For each that is held up (by a disk, by a long job) there is one more. Where the system gives
    no further thread, the job waits for one of those that are there. To be made in the loop that uses it."""

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._few = min(count, FEW_THREADS)
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread | None] = [None] * count
        self._gone: list[threading.Thread] = []
        """Those that have told that they end, and have not yet."""
        self._since = [0.0] * count
        """Since when a thread has its job; 0 if it has none."""
        self._n_jobs = 0
        """Given, and not done yet."""
        self._n_running = self._n_leaving = 0
        """Threads, and of those the ones that were told to end."""
        self._look: asyncio.TimerHandle | None = None
        self._closed = False
        self._ended = asyncio.Event()
        self._start_one()

    def submit(self, work: Callable[Given, Result], *args: Given.args, **named: Given.kwargs) -> asyncio.Future[Result]:
        """Call `work` in a thread; the future has its result (see `Kept`). Raises `RuntimeError` after `close`."""
        if self._closed:
            raise RuntimeError("a job was given to threads that are closed")
        future: asyncio.Future[Result] = Kept(loop=self._loop)

        def run() -> None:
            results: list[Result | BaseException]
            try:
                results = [work(*args, **named)]
            except Exception as error:  # noqa: BLE001 - the waiter gets it
                results = [error]
            self._loop.call_soon_threadsafe(self._done, future, results)

        self._n_jobs += 1
        self._start_if_worth()
        self._queue.put(run)
        return future

    @property
    def _n_staying(self) -> int:
        return self._n_running - self._n_leaving

    @property
    def _n_wanted(self) -> int:
        long_ago = time.monotonic() - HELD_UP_SECONDS
        return min(self._few + sum(0.0 < since < long_ago for since in self._since), len(self._threads))

    def _start_if_worth(self) -> None:
        """Now, and again after a moment if jobs wait."""
        with suppress(RuntimeError):  # can't start new thread
            while self._n_staying < self._n_jobs and self._n_running < len(self._threads):
                if self._n_staying >= self._n_wanted:
                    break
                self._start_one()
        if self._look is None and self._n_staying < self._n_jobs and not self._closed:
            self._look = self._loop.call_later(HELD_UP_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self._start_if_worth()

    def _start_one(self) -> None:
        number = self._threads.index(None)
        thread = threading.Thread(target=self._run, args=[number], name=f"{self._name}_{number}", daemon=True)
        thread.start()
        self._threads[number] = thread
        self._n_running += 1

    def _done(self, future: asyncio.Future[Result], results: list[Result | BaseException]) -> None:
        self._n_jobs -= 1
        if self._n_staying > self._few and self._n_staying > self._n_wanted:
            self._end_one()
        _resolve([future], results)

    def _end_one(self) -> None:
        """Whichever comes to it, behind the jobs that were given before."""
        self._n_leaving += 1
        self._queue.put(None)

    def _run(self, number: int) -> None:
        give_way()
        while (run := self._queue.get()) is not None:
            self._since[number] = time.monotonic()
            run()
            del run  # and what it holds, before the next wait
            self._since[number] = 0.0
        self._loop.call_soon_threadsafe(self._left, number)

    def _left(self, number: int) -> None:
        thread, self._threads[number] = self._threads[number], None
        self._gone = [each for each in (*self._gone, thread) if each is not None and each.is_alive()]
        self._n_running -= 1
        self._n_leaving -= 1
        if not self._n_running:
            self._ended.set()

    async def close(self) -> None:
        """Finish what was given, then end the threads."""
        self._closed = True
        if self._look is not None:
            self._look.cancel()
        for _ in range(self._n_staying):
            self._end_one()
        await self._ended.wait()
        for thread in self._gone:
            thread.join()
