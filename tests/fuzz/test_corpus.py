"""Every input of the corpus, and as many made from them as there is time for, keep what the targets promise."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import known
from tests.fuzz.known import Target
from tests.fuzz.mutation import mutated

EXAMPLES = {
    "agreement": 400,
    "archive": 1000,
    "coding": 400,
    "form": 1000,
    "frame": 500,
    "gateway": 60,
    "target": 2000,
    "value": 2000,
}


@pytest.fixture(scope="module", params=list(known.TARGETS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def target(name: str) -> Iterator[Target]:
    with known.TARGETS[name]() as opened:
        yield opened


def test_every_input_of_the_corpus_is_fine(name: str, target: Target) -> None:
    inputs = known.inputs(name)
    assert inputs, "a target has seeds"
    for each in inputs:
        try:
            target(each.read_bytes())
        except Exception as error:
            error.add_note(f"the input is {each}")
            raise


def test_what_is_made_of_the_corpus_is_fine(name: str, target: Target) -> None:
    seeds = known.seeds(name)

    @settings(max_examples=EXAMPLES[name], deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(seeds), st.integers(0, 2**64), st.binary(max_size=8))
    def check(seed: bytes, number: int, end: bytes) -> None:
        target(mutated(seed, seeds, Random(number)) + end)

    check()


def test_no_input_is_there_for_a_target_that_is_gone() -> None:
    assert {each.name for each in known.CORPUS.iterdir()} == set(known.TARGETS)


def test_all_inputs_together_are_small() -> None:
    sizes = [each.stat().st_size for name in known.TARGETS for each in known.inputs(name)]
    assert max(sizes) <= 16384
    assert sum(sizes) < 1 << 20
