"""The gate: ratios to nginx beside the last good ones, and no figure passes that was not measured."""

from __future__ import annotations

import json

import pytest

from loadtest import gate
from loadtest.comparison.cases import Case
from loadtest.gate import Verdict, cases, judge, ratios


def saved(h2gate: float, bare: float) -> dict[str, object]:
    def case(planned: Case, figure: str) -> dict[str, object]:
        samples = [
            {"candidate": contestant.label, "round": number, "figures": {figure: cost * number}}
            for number in (1, 2, 3)
            for contestant, cost in zip(planned.contestants, (h2gate, bare, 1.0), strict=True)
        ]
        return {"samples": samples, "baseline": planned.contestants[-1].label}

    large, small = cases(3)
    return {"cases": [case(large, gate.PER_GIB), case(small, gate.PER_FILE)]}


def test_ratios_are_to_nginx_within_a_round() -> None:
    assert ratios(saved(2.0, 1.25)) == {
        "h2gate, server CPU s/GiB": 2.0,
        "h2gate bare, server CPU s/GiB": 1.25,
        "h2gate, server CPU µs/file": 2.0,
        "h2gate bare, server CPU µs/file": 1.25,
    }


@pytest.mark.parametrize(
    ("good", "measured", "holds"),
    [(2.0, 2.0, True), (2.0, 2.29, True), (2.0, 2.31, False), (2.0, 1.0, True), (2.0, None, False), (None, 9.0, True)],
)
def test_what_costs_more_than_15_percent_more_shuts_the_gate(
    good: float | None, measured: float | None, holds: bool
) -> None:
    assert Verdict("a cost", good, measured).holds is holds


def test_a_verdict_says_what_was_measured_and_what_was_good() -> None:
    assert "BEYOND 15%" in str(Verdict("a cost", 2.0, 3.0))
    assert "--accept" in str(Verdict("a cost", 2.0, 1.0))
    assert "NOT MEASURED" in str(Verdict("a cost", 2.0, None))


def test_the_last_good_figures_are_those_that_the_gate_measures() -> None:
    good = json.loads(gate.GOOD.read_text())["ratios"]
    assert good.keys() == ratios(saved(1.0, 1.0)).keys()
    assert all(verdict.holds for verdict in judge(good, good))
