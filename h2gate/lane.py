"""Blocking work off the event loop: a `Lane` is one thread that takes what has queued up as one batch.

A batch costs one wake-up of the thread and one of the loop however many jobs it holds, and jobs that end in the same
expensive step (an fsync, a commit) share it. One thread also means: jobs are done in the order they were given.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


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
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> asyncio.Future[Result]:
        """Give a job; the future has its result. Cancelling the future does not take the job back."""
        future: asyncio.Future[Result] = self._loop.create_future()
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
        if future.cancelled():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
