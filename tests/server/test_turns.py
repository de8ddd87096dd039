"""In one turn of the loop so much is read and no more; who rests goes on in his order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from h2gate.server.turns import BULK_BYTES, TURN_BYTES, Turns

READ = TURN_BYTES // 4


class Loop:
    def __init__(self) -> None:
        self.planned: list[Callable[[], object]] = []

    def call_soon(self, call: Callable[[], object]) -> None:
        self.planned.append(call)

    def turn(self) -> None:
        planned, self.planned = self.planned, []
        for call in planned:
            call()


class Connection:
    def __init__(self) -> None:
        self.is_resting = False
        self.can_rest = True

    def rest(self) -> bool:
        self.is_resting = self.can_rest
        return self.can_rest

    def go_on(self) -> None:
        self.is_resting = False


def start() -> tuple[Loop, Turns]:
    loop = Loop()
    return loop, Turns(cast(asyncio.AbstractEventLoop, loop), READ)


def test_one_connection_reads_a_turn_full_rests_and_goes_on_in_the_next() -> None:
    loop, turns = start()
    connection = Connection()
    for _ in range(3):
        turns.read(connection, READ)
        assert not connection.is_resting
    turns.read(connection, READ)
    assert connection.is_resting
    loop.turn()
    assert not connection.is_resting
    assert loop.planned == [], "nobody waits: the loop may sleep"


def test_of_many_no_more_go_on_than_fill_a_turn_and_each_in_his_order() -> None:
    loop, turns = start()
    connections = [Connection() for _ in range(20)]
    for each in connections:
        turns.read(each, READ)
    resting = [each for each in connections if each.is_resting]
    assert resting == connections[3:], "three have read before the turn was full"
    order = []
    while any(each.is_resting for each in connections):
        before = [each for each in connections if each.is_resting]
        loop.turn()
        order.append([each for each in before if not each.is_resting])
    assert [each for some in order for each in some] == resting
    assert max(map(len, order)) == 4


def test_small_reads_are_never_made_to_rest() -> None:
    _, turns = start()
    greedy, small = Connection(), Connection()
    turns.read(greedy, 2 * TURN_BYTES)
    turns.read(small, BULK_BYTES - 1)
    assert greedy.is_resting
    assert not small.is_resting


def test_who_cannot_rest_is_not_woken_either() -> None:
    loop, turns = start()
    closing = Connection()
    closing.can_rest = False
    turns.read(closing, 2 * TURN_BYTES)
    loop.turn()
    assert loop.planned == []
