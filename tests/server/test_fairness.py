"""Who is given credit when the server is the limit, with a server and senders that are arithmetic: steps of 1 ms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from h2gate.server.fairness import Fairness, urgency_of

MIB = 1 << 20
CAPACITY = 500 << 10
"""Bytes in a step, of which the server can take no more."""


class Clock:
    """As much of an event loop as is needed."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], object]) -> Callable[[], object]:
        self._timers.append((self.now + seconds, call))
        return call

    def step(self) -> None:
        self.now += 0.001
        due = [call for at, call in self._timers if at <= self.now]
        self._timers = [(at, call) for at, call in self._timers if at > self.now]
        for call in due:
            call()


class Upload:
    """A sender with a window, who sends at most `pace` bytes in a step."""

    def __init__(
        self, world: World, principal: str, connection: str, *, urgency: int = 3, window: int = MIB, pace: int = 1 << 40
    ) -> None:
        self.share = world.fairness.join(
            principal, connection, urgency, self.credited, worked_on=lambda: self.worked_on > 0
        )
        self.work: Callable[[int], int] = lambda number: 0
        """For how many steps the server has to do with what it has taken, by how often it has taken some."""
        self.worked_on = 0
        self._batch = self._n_batches = 0
        self.granted = window
        self.arrived = 0
        self.taken = 0
        self.pace = pace
        self.is_stalled = False
        self._uncredited = 0
        world.uploads.append(self)

    def send(self) -> None:
        n_bytes = min(self.granted, self.pace)
        self.granted -= n_bytes
        self.arrived += n_bytes

    def take(self, n_bytes: int) -> None:
        self.arrived -= n_bytes
        self.taken += n_bytes
        self._batch += n_bytes
        self._n_batches += 1
        self.worked_on = self.work(self._n_batches)
        self.step()

    def step(self) -> None:
        if self.worked_on:
            self.worked_on -= 1
        if not self.worked_on and self._batch:
            n_bytes, self._batch = self._batch, 0
            self._consume(n_bytes)

    def _consume(self, n_bytes: int) -> None:
        self._uncredited += n_bytes
        if self.share.consumed(n_bytes):
            self.credited()

    def credited(self) -> None:
        self.granted += self._uncredited
        self._uncredited = 0


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.fairness = Fairness(cast(asyncio.AbstractEventLoop, self.clock))
        self.uploads: list[Upload] = []

    def run(self, seconds: float) -> float:
        """Let time pass; how much of what the server could do it has done."""
        before = sum(each.taken for each in self.uploads)
        for _ in range(int(seconds * 1000)):
            for each in self.uploads:
                each.send()
            for each in self.uploads:
                each.step()
            there = [each for each in self.uploads if each.arrived and not each.is_stalled and not each.worked_on]
            all_of_it = sum(each.arrived for each in there)
            for each in there:  # what came first is taken first
                each.take(min(each.arrived, each.arrived * CAPACITY // all_of_it + 1))
            self.clock.step()
        return (sum(each.taken for each in self.uploads) - before) / (CAPACITY * seconds * 1000)


def part_of(one: Upload, world: World) -> float:
    return one.taken / sum(each.taken for each in world.uploads)


@pytest.mark.parametrize("connections", [1, 63])
def test_one_upload_gets_as_much_as_sixty_three_of_another_principal(connections: int) -> None:
    world = World()
    for number in range(63):
        Upload(world, "many", f"connection {number % connections}")
    one = Upload(world, "one", "connection", window=4 * MIB)
    used = world.run(5)
    assert part_of(one, world) > 0.45
    assert used > 0.9


def test_a_connection_of_one_upload_gets_as_much_as_one_of_sixty_three() -> None:
    world = World()
    for _ in range(63):
        Upload(world, "same", "crowded")
    one = Upload(world, "same", "other", window=4 * MIB)
    world.run(5)
    assert part_of(one, world) > 0.45


def test_uploads_of_one_connection_get_alike_whatever_their_windows_are() -> None:
    world = World()
    large = Upload(world, "same", "same", window=16 * MIB)
    small = Upload(world, "same", "same", window=MIB)
    world.run(5)
    assert 0.8 < large.taken / small.taken < 1.25


@pytest.mark.parametrize("slowest", ["slow", "stalled"])
def test_whoever_cannot_use_his_share_keeps_it_from_nobody(slowest: str) -> None:
    world = World()
    for _ in range(8):
        Upload(world, "many", "connection")
    one = Upload(world, "one", "connection", pace=2000)
    world.run(1)
    one.is_stalled = slowest == "stalled"
    before = one.taken
    assert world.run(5) > 0.9
    if slowest == "slow":
        assert one.taken - before > 0.95 * 5000 * 2000, "he gets all that he brings"


def test_more_urgent_uploads_of_a_principal_go_first() -> None:
    world = World()
    Upload(world, "same", "same", urgency=3, window=4 * MIB)
    world.run(1)
    urgent = Upload(world, "same", "same", urgency=1, window=4 * MIB)
    other = Upload(world, "same", "another", urgency=3, window=4 * MIB)
    before = other.taken
    world.run(2)
    assert urgent.taken > 0.85 * 2000 * CAPACITY
    urgent.share.leave()
    world.uploads.remove(urgent)
    assert world.run(1) > 0.9
    assert other.taken - before > 0.4 * 1000 * CAPACITY


def test_an_urgent_upload_that_is_slow_leaves_the_rest_to_the_others() -> None:
    world = World()
    Upload(world, "same", "same", urgency=3, window=4 * MIB)
    world.run(1)
    urgent = Upload(world, "same", "same", urgency=0, pace=5000)
    assert world.run(5) > 0.85
    assert urgent.taken > 0.95 * 5000 * 5000


def test_urgency_of_one_principal_is_nothing_to_another() -> None:
    world = World()
    urgent = Upload(world, "a", "same", urgency=0, window=4 * MIB)
    Upload(world, "b", "same", urgency=7, window=4 * MIB)
    world.run(5)
    assert 0.45 < part_of(urgent, world) < 0.55


def test_who_is_alone_is_never_held_back() -> None:
    world = World()
    alone = Upload(world, "one", "connection", window=64 * MIB)
    for _ in range(2000):
        assert alone.share.consumed(8 * MIB)
        world.clock.step()


def test_nothing_is_kept_of_who_has_left() -> None:
    world = World()
    uploads = [Upload(world, f"principal {n}", "connection") for n in range(10)]
    world.run(0.5)
    for each in uploads:
        each.share.leave()
    assert not world.fairness.held
    assert not world.fairness._root.children
    world.uploads.clear()
    world.run(0.1)
    assert world.fairness._timer is None


@pytest.mark.parametrize(
    ("fields", "urgency"),
    [
        ([], 3),
        ([b"u=0"], 0),
        ([b"i, u=7"], 7),
        ([b"u=8"], 3),
        ([b"u=-1"], 3),
        ([b"u"], 3),
        ([b"urgent=1, u=2"], 2),
        ([b"i", b"u=5"], 5),
        ([b"\xff" * 100], 3),
    ],
)
def test_urgency_is_read_from_the_priority_field(fields: list[bytes], urgency: int) -> None:
    assert urgency_of(fields) == urgency


def test_nobody_waits_for_who_is_made_to_wait_elsewhere() -> None:
    world = World()
    slow, fast = Upload(world, "slow", "s", pace=1), Upload(world, "fast", "f")
    world.run(0.5)
    began = fast.taken
    slow.share.parent.parent.addresses.add("address")  # type: ignore[union-attr]
    for _ in range(100):
        world.fairness.step_back("address")
        world.run(0.001)
    assert fast.taken - began > 0.9 * 100 * CAPACITY


def test_who_is_made_to_step_back_now_and_then_keeps_most_of_his_claim() -> None:
    world = World()
    one = Upload(world, "one", "o", window=4 * MIB)
    one.share.parent.parent.addresses.add("address")  # type: ignore[union-attr]
    crowd = [Upload(world, "crowd", f"c{number}") for number in range(63)]
    for _ in range(20):
        world.run(0.25)
        world.fairness.step_back("address")
    assert one.taken > 0.45 * (one.taken + sum(each.taken for each in crowd))


def test_who_is_late_now_and_then_gets_what_he_missed() -> None:
    world = World()
    one = Upload(world, "one", "o", window=4 * MIB)
    crowd = [Upload(world, "crowd", f"c{number}", window=MIB // 4) for number in range(63)]
    for _ in range(20):
        world.run(0.45)
        one.pace = 0
        world.run(0.05)
        one.pace = 1 << 40
    assert one.taken > 0.42 * (one.taken + sum(each.taken for each in crowd))


def test_what_was_let_go_on_before_is_no_head_start_for_who_comes_later() -> None:
    world = World()
    before = [Upload(world, "slow", "s", pace=1000), Upload(world, "fast", "f")]
    world.run(5.0)
    for each in before:
        each.share.leave()
        world.uploads.remove(each)
    crowd = [Upload(world, "crowd", f"c{number}") for number in range(63)]
    world.run(0.02)
    one = Upload(world, "one", "o", window=4 * MIB)
    world.run(2.0)
    assert one.taken > 0.45 * (one.taken + sum(each.taken for each in crowd))


def test_who_is_worked_on_for_long_now_and_then_is_waited_for() -> None:
    world = World()
    for number in range(63):
        Upload(world, "many", f"connection {number}")
    one = Upload(world, "one", "connection", window=8 * MIB)
    one.work = lambda number: 60 if number % 8 == 0 else 4
    world.run(10)
    assert part_of(one, world) > 0.45


def test_whose_sink_is_slow_keeps_his_share_from_nobody() -> None:
    world = World()
    for number in range(63):
        Upload(world, "many", f"connection {number}")
    one = Upload(world, "one", "connection", window=MIB // 4)
    one.work = lambda number: 50
    world.run(2)
    assert world.run(5) > 0.9
    assert part_of(one, world) < 0.1
