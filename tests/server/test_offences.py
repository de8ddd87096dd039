"""Who is cut off again and again is let in slowly for a while; nobody else waits, and nobody for long."""

from __future__ import annotations

import pytest

from h2gate.budget import Budget
from h2gate.server.callers import MAX_DELAY_SECONDS, OFFENCE_SECONDS, OFFENDER_PAUSE_SECONDS, Callers


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


def test_an_address_that_was_cut_off_too_often_is_let_in_slowly_for_a_while() -> None:
    clock = Clock()
    callers = Callers(Budget(1 << 20), 0, 3, clock)
    offend(callers, "192.0.2.1", 2)
    assert callers.delay("192.0.2.1") == 0
    clock.now += OFFENCE_SECONDS - 1
    offend(callers, "192.0.2.1", 1)
    assert callers.delay("192.0.2.1") == pytest.approx(OFFENDER_PAUSE_SECONDS)
    assert callers.delay("192.0.2.2") == 0
    clock.now += OFFENCE_SECONDS - 1
    assert callers.delay("192.0.2.1") > 0, "counted from the last offence"
    clock.now += 1
    assert callers.delay("192.0.2.1") == 0
    offend(callers, "192.0.2.1", 1)
    assert callers.delay("192.0.2.1") == 0, "counted anew"


def test_connections_of_an_offender_queue_up_but_none_waits_for_long() -> None:
    callers = Callers(Budget(1 << 20), 0, 1, Clock())
    offend(callers, "192.0.2.1", 1)
    delays = [callers.delay("192.0.2.1") for _ in range(1000)]
    assert delays[:3] == pytest.approx([n * OFFENDER_PAUSE_SECONDS for n in (1, 2, 3)])
    assert max(delays) == pytest.approx(MAX_DELAY_SECONDS)


def test_offences_far_apart_slow_nobody_down() -> None:
    clock = Clock()
    callers = Callers(Budget(1 << 20), 0, 3, clock)
    for _ in range(10):
        offend(callers, "192.0.2.1", 1)
        clock.now += OFFENCE_SECONDS / 2
    assert callers.delay("192.0.2.1") == 0


@pytest.mark.parametrize(("other", "slowed"), [("2001:db8::2", True), ("2001:db8:0:1::1", False)])
def test_an_ipv6_site_is_one(other: str, slowed: bool) -> None:
    callers = Callers(Budget(1 << 20), 0, 3, Clock())
    offend(callers, "2001:db8::1", 3)
    assert (callers.delay(other) > 0) is slowed


def test_without_a_limit_nobody_is_slowed_down() -> None:
    callers = Callers(Budget(1 << 20), 0, 0, Clock())
    offend(callers, "192.0.2.1", 1000)
    assert callers.delay("192.0.2.1") == 0
