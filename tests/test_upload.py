"""Ids of records."""

from __future__ import annotations

import multiprocessing
import re
from multiprocessing.connection import Connection

from h2gate.upload import fresh_id


def test_ids_are_all_different_and_look_alike() -> None:
    found = [fresh_id() for _ in range(1000)]
    assert len(set(found)) == 1000
    assert all(re.fullmatch("[0-9a-f]{24}", each) for each in found)


def _tell_some(pipe: Connection) -> None:
    pipe.send([fresh_id() for _ in range(300)])


def test_a_process_that_was_forked_has_none_of_those_that_its_parent_has_next() -> None:
    fresh_id()
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=_tell_some, args=(theirs,))
    child.start()
    found = set(ours.recv())
    child.join(60)
    assert len(found) == 300
    assert found.isdisjoint(fresh_id() for _ in range(300))
