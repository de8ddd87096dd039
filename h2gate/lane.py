"""Blocking work off the event loop: a `Lane` is one thread that takes what has queued up as one batch.

A batch costs one wake-up of the thread and one of the loop however many jobs it holds, and jobs that end in the same
expensive step (an fsync, a commit) share it. One thread also means: jobs are done in the order they were given.
`Threads` does jobs one by one, side by side. In both, a job that was given is done, and waited for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Generic, ParamSpec, TypeVar

Given = ParamSpec("Given")
Job = TypeVar("Job")
Result = TypeVar("Result")


class Kept(asyncio.Future[Result]):
    """Cannot be cancelled, since the thread cannot: a task that awaits it and is cancelled, however often, hears of
    that when the job is done. Until then the job may hold a descriptor or a name of the task's."""

    def cancel(self, msg: object = None) -> bool:
        return False


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
        self._fresh: list[tuple[Job, asyncio.Future[Result]]] = []
        self._queue: SimpleQueue[list[tuple[Job, asyncio.Future[Result]]] | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> asyncio.Future[Result]:
        """Give a job; the future has its result (see `Kept`). Raises `RuntimeError` after `close`."""
        if self._closed:
            raise RuntimeError("a job was given to a lane that is closed")
        future: Kept[Result] = Kept(loop=self._loop)
        if not self._fresh:
            self._loop.call_soon(self._hand_over)
        self._fresh.append((job, future))
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
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while (jobs := self._queue.get()) is not None:
            ended = False
            while len(jobs) < self._max_batch and not self._queue.empty():
                more = self._queue.get()
                if more is None:
                    ended = True
                    break
                jobs += more
            self._do(jobs)
            if ended:
                return

    def _do(self, jobs: list[tuple[Job, asyncio.Future[Result]]]) -> None:
        results: Sequence[Result | BaseException]
        try:
            results = self._work([job for job, _ in jobs])
        except Exception as error:  # noqa: BLE001 - every waiter gets it; none would hear of it otherwise
            results = [error] * len(jobs)
        self._loop.call_soon_threadsafe(_resolve, [future for _, future in jobs], results)


def _resolve(futures: list[asyncio.Future[Result]], results: Sequence[Result | BaseException]) -> None:
    for future, result in zip(futures, results, strict=True):
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


class Threads:
    """Up to `count` threads, each with one job at a time."""

    def __init__(self, name: str, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)

    def submit(self, work: Callable[Given, Result], *args: Given.args, **named: Given.kwargs) -> asyncio.Future[Result]:
        """Call `work` in a thread; the future has its result (see `Kept`). Raises `RuntimeError` after `close`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = Kept(loop=loop)

        def run() -> None:
            results: list[Result | BaseException]
            try:
                results = [work(*args, **named)]
            except Exception as error:  # noqa: BLE001 - the waiter gets it
                results = [error]
            loop.call_soon_threadsafe(_resolve, [future], results)

        self._pool.submit(run)
        return future

    async def close(self) -> None:
        """Finish what was given, then end the threads."""
        await asyncio.to_thread(self._pool.shutdown)
