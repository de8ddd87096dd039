"""Who is cut off again and again is not let in for a while; nobody else is kept out, and nobody for ever."""

from __future__ import annotations

import pytest

from h2gate.budget import Budget
from h2gate.server.callers import OFFENCE_SECONDS, Callers


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def offend(callers: Callers, host: str, n_times: int) -> None:
    for _ in range(n_times):
        caller = callers.admit(host)
        assert caller is not None
        callers.offended(caller.address)
        caller.leave()


def test_an_address_that_was_cut_off_too_often_waits_and_comes_in_again() -> None:
    clock = Clock()
    callers = Callers(Budget(1 << 20), 0, 3, clock)
    offend(callers, "192.0.2.1", 2)
    assert not callers.is_barred("192.0.2.1")
    clock.now += OFFENCE_SECONDS - 1
    offend(callers, "192.0.2.1", 1)
    assert callers.is_barred("192.0.2.1")
    assert not callers.is_barred("192.0.2.2")
    clock.now += OFFENCE_SECONDS - 1
    assert callers.is_barred("192.0.2.1"), "counted from the last offence"
    clock.now += 1
    assert not callers.is_barred("192.0.2.1")
    offend(callers, "192.0.2.1", 1)
    assert not callers.is_barred("192.0.2.1"), "counted anew"


def test_offences_far_apart_bar_nobody() -> None:
    clock = Clock()
    callers = Callers(Budget(1 << 20), 0, 3, clock)
    for _ in range(10):
        offend(callers, "192.0.2.1", 1)
        clock.now += OFFENCE_SECONDS / 2
    assert not callers.is_barred("192.0.2.1")


@pytest.mark.parametrize(("other", "barred"), [("2001:db8::2", True), ("2001:db8:0:1::1", False)])
def test_an_ipv6_site_is_barred_as_one(other: str, barred: bool) -> None:
    callers = Callers(Budget(1 << 20), 0, 3, Clock())
    offend(callers, "2001:db8::1", 3)
    assert callers.is_barred(other) is barred


def test_without_a_limit_nobody_is_barred() -> None:
    callers = Callers(Budget(1 << 20), 0, 0, Clock())
    offend(callers, "192.0.2.1", 1000)
    assert not callers.is_barred("192.0.2.1")
