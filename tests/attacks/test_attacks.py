"""Every attack of the catalogue is contained as the standards want it, counted, and hurts nobody but who makes it.

One room for all of them: what is promised is the same, and the catalogue says in which way each one ends.
"""

from __future__ import annotations

import pytest

from h2gate.logs import LINES
from loadtest.hostile.catalogue import ATTACKS, Attack
from tests.attacks.conftest import Besiege

KINDS = 4
"""Of lines in the log: each passes so often as `logs` lets it, in ten seconds."""
FIXED_BYTES = 128 << 20
"""Beside what was charged: threads, the allocator's leftovers, and the window of the honest upload."""
ROWS = {f"A{number}" for number in range(1, 27)}
ELSEWHERE = {
    "A22": "tests/attacks/test_protocols.py",
    "A23": "tests/attacks/test_protocols.py",
    "A24": "tests/attacks/test_protocols.py",
    "A26": "here: each attack has its lines counted",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=[f"{each.row}-{each.name}" for each in ATTACKS])
def test_an_attack_is_contained_while_an_honest_upload_is_stored(attack: Attack, besiege: Besiege) -> None:
    siege = besiege(attack)
    seen = siege.seen
    if attack.goaway is not None:
        assert seen.goaways[attack.goaway], seen
    if attack.reset is not None:
        assert seen.resets[attack.reset], seen
    if attack.status is not None:
        assert seen.statuses[attack.status], seen
    if attack.is_cut:
        assert seen.cuts, seen
    if attack.limits:
        assert set(attack.limits) & set(siege.limits), siege.limits
    assert siege.grown_bytes <= FIXED_BYTES + siege.held_bytes * 3 // 2, siege
    assert len(siege.log) <= KINDS * LINES * 3, siege.log
    assert not any("Traceback" in line for line in siege.log), "".join(siege.log)


def test_every_row_of_the_catalogue_has_an_attack_or_says_where_it_is_tested() -> None:
    assert {each.row for each in ATTACKS} | set(ELSEWHERE) == ROWS
