"""The window of a stream grows while its path needs it, never beyond its largest size or its share of what is left, and
shrinks when that becomes less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.budget import Budget
from h2gate.wire.credit import NEAR_BYTES, OPEN_BYTES, Window

KIB, MIB = 1 << 10, 1 << 20
FIRST = 64 * KIB
ROUND_TRIP = 0.05


def opened(budget: Budget, first: int = FIRST, largest: int = 64 * MIB) -> Window:
    """A window that is charged as a stream that is admitted charges it."""
    assert budget.take(first)
    return Window(first, largest, budget)


def consume(window: Window, pace: float, seconds: float, start: float = 100.0, step: float = 0.002) -> list[int]:
    """Credit at `pace` bytes a second, a little at a time; the sizes it had."""
    sizes = []
    for n in range(int(seconds / step)):
        window.consumed(int(pace * step), start + n * step, ROUND_TRIP)
        sizes.append(window.size)
    return sizes


def test_a_window_grows_until_it_no_longer_holds_back() -> None:
    budget = Budget(1000 * MIB)
    window = opened(budget)
    pace = 20 * MIB
    sizes = consume(window, pace, seconds=2)
    assert sizes == sorted(sizes)
    assert 8 * pace * ROUND_TRIP <= window.size <= 32 * pace * ROUND_TRIP, "some round trips of this pace"
    assert budget.left == 1000 * MIB - window.size


def test_a_window_is_ahead_of_a_sender_who_takes_three_times_as_much_with_each_round_trip() -> None:
    window = opened(Budget(1000 * MIB))
    assert window.open()
    n_bytes, now = 14 << 10, 100.0
    while 3 * n_bytes < 20 * MIB:
        for _ in range(20):  # within one round trip
            window.consumed(n_bytes // 20, now, ROUND_TRIP)
            now += ROUND_TRIP / 20
        n_bytes *= 3
        assert window.size // 2 >= n_bytes, "half of it may wait here to be told"


def test_nearby_a_window_is_no_larger_than_disk_and_threads_need() -> None:
    window = opened(Budget(1000 * MIB))
    for n in range(1000):
        window.consumed(400 << 10, 100 + n / 1000, 0.0001)  # 400 MiB a second
    assert MIB <= window.size <= 8 * MIB


def test_nearby_a_window_ends_somewhere_however_much_is_credited_at_once() -> None:
    window = opened(Budget(1000 * MIB))
    for n in range(1000):
        window.consumed(32 * MIB, 100 + n / 1000, 0.0001)
    assert window.size == NEAR_BYTES
    for n in range(1000):
        window.consumed(32 * MIB, 200 + n / 1000, 0.05)
    assert window.size > NEAR_BYTES, "over a distance it goes on"


def test_a_body_that_is_not_small_has_a_window_worth_while_at_once() -> None:
    budget = Budget(1000 * MIB)
    window = opened(budget)
    assert window.open()
    assert (window.size, budget.left) == (OPEN_BYTES, 1000 * MIB - OPEN_BYTES)
    assert not window.open()


def test_a_slow_sender_keeps_its_window() -> None:
    budget = Budget(1000 * MIB)
    window = opened(budget, first=MIB)
    consume(window, pace=MIB, seconds=10)
    assert (window.size, budget.left) == (MIB, 999 * MIB)


def test_a_pause_does_not_count_as_pace() -> None:
    window = opened(Budget(1000 * MIB), first=MIB)
    for n in range(100):
        assert not window.consumed(900 * KIB, 100.0 + n * 40 * ROUND_TRIP, ROUND_TRIP)


def test_a_window_stops_at_its_largest_size_even_if_that_is_no_double() -> None:
    window = opened(Budget(1000 * MIB), first=MIB, largest=5 * MIB)
    sizes = consume(window, pace=10_000 * MIB, seconds=1)
    assert sorted(set(sizes)) in ([2 * MIB, 4 * MIB, 5 * MIB], [MIB, 2 * MIB, 4 * MIB, 5 * MIB])


@pytest.mark.parametrize("first", [MIB, 64 * KIB])
def test_a_window_that_may_not_grow_does_not(first: int) -> None:
    window = opened(Budget(1000 * MIB), first, largest=first)
    assert not window.open()
    assert set(consume(window, pace=10_000 * MIB, seconds=1)) == {first}


def test_greedy_windows_leave_room_for_as_many_small_ones_as_one_of_them_is_large() -> None:
    budget = Budget(100 * MIB)
    windows = [opened(budget) for _ in range(40)]
    for n in range(10):
        for window in windows:
            consume(window, pace=10_000 * MIB, seconds=0.1, start=100.0 + n)
    largest = max(window.size for window in windows)
    assert largest <= 2 * budget.share
    assert budget.left >= largest


def test_a_window_shrinks_when_others_come_and_gives_back_only_what_was_withheld() -> None:
    budget = Budget(128 * MIB)
    window = opened(budget)
    consume(window, pace=10_000 * MIB, seconds=1)
    before = window.size
    assert before >= 8 * MIB
    others = budget.left - 16 * MIB
    assert budget.take(others)
    assert window.consumed(MIB, 200.0, ROUND_TRIP)
    assert window.size <= 2 * MIB
    assert window.charged == before, "what was granted may still come"
    window.consumed(MIB, 200.1, ROUND_TRIP)
    assert window.charged == before - MIB
    consume(window, pace=10_000 * MIB, seconds=0.01, start=200.2)
    assert window.charged >= window.size
    budget.give_back(others)
    window.close()
    assert budget.left == 128 * MIB


def test_a_window_gives_back_once() -> None:
    budget = Budget(100 * MIB)
    window = opened(budget)
    consume(window, pace=10_000 * MIB, seconds=1)
    assert budget.left < 100 * MIB
    window.close()
    window.close()
    assert budget.left == 100 * MIB


CREDITS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 40 * MIB), st.floats(0, 1), st.floats(0, 1)), max_size=200
)


@given(CREDITS, st.integers(4 * FIRST, 300 * MIB), st.integers(FIRST, 64 * MIB))
def test_whatever_comes_the_budget_holds(
    credits_: list[tuple[int, int, float, float]], budget_bytes: int, largest: int
) -> None:
    budget = Budget(budget_bytes)
    windows = [opened(budget, largest=largest) for _ in range(4)]
    now = 1.0
    for index, n_bytes, pause, round_trip in credits_:
        now += pause
        window = windows[index]
        before = window.size
        assert window.consumed(n_bytes, now, round_trip) == (window.size != before)
        assert FIRST <= window.size <= largest
        assert window.size <= window.charged
        assert budget.left == budget_bytes - sum(window.charged for window in windows)
        assert budget.left >= 0
    for window in windows:
        window.close()
    assert budget.left == budget_bytes
