"""Ids of records."""

from __future__ import annotations

import re
import subprocess
import sys

from h2gate.upload import fresh_id


def test_ids_are_all_different_and_look_alike() -> None:
    found = [fresh_id() for _ in range(1000)]
    assert len(set(found)) == 1000
    assert all(re.fullmatch("[0-9a-f]{24}", each) for each in found)


FORK = """
import os
from h2gate.upload import fresh_id
fresh_id()
child = os.fork()
os.write(1, "".join(f"{fresh_id()} " for _ in range(300)).encode())
if child:
    os.waitpid(child, 0)
"""


def test_a_process_that_was_forked_has_none_of_those_that_its_parent_has_next() -> None:
    told = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=True).stdout
    assert len(told.split()) == len(set(told.split())) == 600
