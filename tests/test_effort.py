"""What is charged to whoever asked is what was done for him."""

from __future__ import annotations

import gc
import time

from h2gate import effort


def test_what_the_collector_takes_is_nobodys() -> None:
    made = [[number] for number in range(300_000)]
    began = time.thread_time()
    _, charged = effort.timed(gc.collect)
    assert 0 <= charged < (time.thread_time() - began) / 2
    del made


def test_what_is_done_is_charged_although_the_collector_runs_in_its_midst() -> None:
    def work() -> float:
        began = time.thread_time()
        sum(range(1_000_000))
        took = time.thread_time() - began
        gc.collect()
        return took

    took, charged = effort.timed(work)
    assert charged >= took
