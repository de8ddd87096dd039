"""Aligned blocks of memory, and threads that hash one while it is being written."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue

from h2gate.upload import Tap

ALIGNMENT = 4096
BLOCK = 1 << 20
_WORTH_BYTES = 128 << 10
"""Waking another thread takes as long as hashing a tenth of that."""
_PROCESSORS = max(1, (os.cpu_count() or 1) - 1)
"""For hashing."""


class Hashed:
    """What `taps` are to see; `wait` for it."""

    def __init__(self, taps: Sequence[Tap], view: memoryview) -> None:
        self._taps = taps
        self._view: memoryview | None = view
        self._error: BaseException | None = None
        self._running = threading.Lock()
        self._running.acquire()

    def run(self, computing: threading.Semaphore) -> None:
        """In whatever thread, which holds `computing` and does not any more then. Nothing is kept here of the block."""
        view, self._view = self._view, None
        assert view is not None
        try:
            with view:
                for tap in self._taps:
                    tap.update(view)
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            self._error = error
        computing.release()  # first: whoever waits may have more
        self._running.release()

    def wait(self) -> None:
        """Until they have seen it. Raises what one of them raised."""
        self._running.acquire()
        if self._error is not None:
            raise self._error


class Pair:
    """The blocks of a job that runs: one, and another when that is full. See `Blocks.pair`."""

    def __init__(self, free: list[memoryview]) -> None:
        self._free = free
        self._blocks: list[memoryview] = []

    def next(self) -> memoryview:
        """The block to fill: a fresh one, or, from the third call on, the one that is not being filled. Raises
        `OSError` where there is no memory."""
        if len(self._blocks) < 2:
            self._blocks.append(self._take())
        else:
            self._blocks.reverse()
        return self._blocks[-1]

    def _take(self) -> memoryview:
        with suppress(IndexError):
            return self._free.pop()
        one, two = _two_blocks()
        self._free.append(two)
        return one

    def give_back(self) -> None:
        """All of them."""
        self._free += self._blocks


class Blocks:
    """Of one storage: as many as the jobs fill that run at once, kept for the next."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []
        """The one used last is taken first, so that no more are touched than it takes."""
        self._computing = threading.Semaphore(_PROCESSORS)
        """Held while hashing: as many threads as wait for the disk would leave the event loop no processor."""
        self._jobs: SimpleQueue[Hashed | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()

    @contextmanager
    def pair(self) -> Iterator[Pair]:
        """Blocks for a job: what is in them is lost behind this."""
        pair = Pair(self._free)
        try:
            yield pair
        finally:
            pair.give_back()

    def hash(self, taps: Sequence[Tap], view: memoryview) -> Hashed:
        """Let `taps` see `view`, which is released then; what it shows must not change until that was waited for.

        Where many hash at once nothing is gained by another thread, and whoever has much would wait for each of them
        with each of his blocks: then whoever writes hashes as well.
        """
        job = Hashed(taps, view)
        has_place = self._computing.acquire(blocking=False)
        if has_place and len(view) >= _WORTH_BYTES and self._has_threads():
            self._jobs.put(job)
        else:
            if not has_place:
                self._computing.acquire()
            job.run(self._computing)
        return job

    def _has_threads(self) -> bool:
        """False where the system gives none."""
        with self._starting:
            if len(self._threads) < _PROCESSORS:
                thread = threading.Thread(target=self._run, name=f"h2gate-hash_{len(self._threads)}", daemon=True)
                with suppress(RuntimeError):  # can't start new thread
                    thread.start()
                    self._threads.append(thread)
            return bool(self._threads)

    def _run(self) -> None:
        # No nicer than the thread that writes, which made it: that one waits for the hash, and its sender for both.
        while (job := self._jobs.get()) is not None:
            job.run(self._computing)
            del job  # and the block, before the next wait

    def close(self) -> None:
        """End the threads; what was given is done."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()


def _two_blocks() -> tuple[memoryview, memoryview]:
    """On one huge page if the system gives any: O_DIRECT has to look up each page, and to the disk each is a piece by
    itself. (Memory that is shared, as that of `mmap` by default is, gets none.)"""
    memory = mmap.mmap(-1, 2 * BLOCK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    view = memoryview(memory)
    return view[:BLOCK], view[BLOCK:]
