"""The window of a stream grows while its path needs it, never beyond its largest size or the budget of all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.wire.credit import Budget, Window

KIB, MIB = 1 << 10, 1 << 20
ROUND_TRIP = 0.05


def consume(window: Window, pace: float, seconds: float, start: float = 100.0, step: float = 0.002) -> list[int]:
    """Credit at `pace` bytes a second, a little at a time; the sizes it had."""
    sizes = []
    for n in range(int(seconds / step)):
        window.grown(int(pace * step), start + n * step, ROUND_TRIP)
        sizes.append(window.size)
    return sizes


def test_a_window_grows_until_it_no_longer_holds_back() -> None:
    budget = Budget(1000 * MIB)
    window = Window(MIB, 64 * MIB, budget)
    pace = 100 * MIB
    sizes = consume(window, pace, seconds=2)
    assert sizes == sorted(sizes)
    assert 2 * pace * ROUND_TRIP <= window.size <= 8 * pace * ROUND_TRIP, "some round trips of this pace"
    assert budget.left == 1000 * MIB - (window.size - MIB)


def test_a_slow_sender_keeps_its_first_window() -> None:
    budget = Budget(1000 * MIB)
    window = Window(MIB, 64 * MIB, budget)
    consume(window, pace=MIB, seconds=10)
    assert (window.size, budget.left) == (MIB, 1000 * MIB)


def test_a_pause_does_not_count_as_pace() -> None:
    window = Window(MIB, 64 * MIB, Budget(1000 * MIB))
    for n in range(100):
        assert not window.grown(900 * KIB, 100.0 + n * 10 * ROUND_TRIP, ROUND_TRIP)


def test_a_window_stops_at_its_largest_size_even_if_that_is_no_double() -> None:
    window = Window(MIB, 5 * MIB, Budget(1000 * MIB))
    sizes = consume(window, pace=10_000 * MIB, seconds=1)
    assert sorted(set(sizes)) in ([2 * MIB, 4 * MIB, 5 * MIB], [MIB, 2 * MIB, 4 * MIB, 5 * MIB])


@pytest.mark.parametrize("first", [MIB, 64 * KIB])
def test_a_window_that_may_not_grow_does_not(first: int) -> None:
    window = Window(first, first, Budget(1000 * MIB))
    assert set(consume(window, pace=10_000 * MIB, seconds=1)) == {first}


def test_windows_share_a_budget_and_what_one_gives_back_another_takes() -> None:
    budget = Budget(3 * MIB)
    greedy, late = (Window(MIB, 64 * MIB, budget) for _ in range(2))
    consume(greedy, pace=10_000 * MIB, seconds=1)
    assert (greedy.size, budget.left) == (4 * MIB, 0)
    consume(late, pace=10_000 * MIB, seconds=1)
    assert late.size == MIB
    greedy.close()
    assert budget.left == 3 * MIB
    consume(late, pace=10_000 * MIB, seconds=1, start=200.0)
    assert (late.size, budget.left) == (4 * MIB, 0)


def test_a_window_gives_back_once() -> None:
    budget = Budget(100 * MIB)
    window = Window(MIB, 64 * MIB, budget)
    consume(window, pace=10_000 * MIB, seconds=1)
    assert budget.left < 100 * MIB
    window.close()
    window.close()
    assert (window.size, budget.left) == (MIB, 100 * MIB)


CREDITS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 40 * MIB), st.floats(0, 1), st.floats(0, 1)), max_size=200
)


@given(CREDITS, st.integers(0, 100 * MIB), st.integers(MIB, 64 * MIB))
def test_whatever_comes_the_budget_holds(
    credits_: list[tuple[int, int, float, float]], budget_bytes: int, largest: int
) -> None:
    budget = Budget(budget_bytes)
    windows = [Window(MIB, largest, budget) for _ in range(4)]
    now = 1.0
    for index, n_bytes, pause, round_trip in credits_:
        now += pause
        before = windows[index].size
        assert windows[index].grown(n_bytes, now, round_trip) == (windows[index].size > before)
        assert before <= windows[index].size <= largest
        assert budget.left == budget_bytes - sum(window.size - MIB for window in windows)
        assert budget.left >= 0
    for window in windows:
        window.close()
    assert budget.left == budget_bytes
