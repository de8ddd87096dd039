"""Sums up HTTP/2 conformance in the report of every run that tested it: the cases by section, and what came of them."""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from itertools import groupby

import pytest

from tests.wire.catalogue import CASES

MISSED, FAILED = "*", "!"
OUTCOMES = {"passed": "", "xfailed": MISSED, "failed": FAILED, "error": FAILED}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    marks: dict[str, set[str]] = defaultdict(set)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome, mark in OUTCOMES.items():
        for report in terminalreporter.getreports(outcome):
            if (found := dict(getattr(report, "user_properties", ())).get("conformance")) is not None:
                wire, case = found
                counts[wire][outcome] += 1
                marks[case].add(mark)
    if marks:
        terminalreporter.section("HTTP/2 conformance")
        told = "; ".join(f"{wire} {_counted(counter)}" for wire, counter in counts.items())
        terminalreporter.line(f"HTTP/2 conformance: {len(marks)} cases; {told}")
        terminalreporter.line(f"{MISSED} is missed by the reference engine, {FAILED} has failed")
        for line in _by_section(marks):
            terminalreporter.line(line)


def _counted(counter: Counter[str]) -> str:
    words = {"passed": "passed", "xfailed": "misses", "failed": "FAILED", "error": "BROKE"}
    return ", ".join(f"{counter[outcome]} {word}" for outcome, word in words.items() if counter[outcome])


def _by_section(marks: dict[str, set[str]]) -> list[str]:
    lines: list[str] = []
    ran = sorted((case for case in CASES if case.id in marks), key=lambda case: _order(case.section))
    for section, cases in groupby(ran, key=lambda case: case.section):
        names = [case.id.removeprefix(f"{section}-") + "".join(sorted(marks[case.id])) for case in cases]
        title = f"{section.replace('rfc', 'RFC ').replace('-', ' section ')} ({len(names)}): "
        lines += textwrap.wrap(title + ", ".join(names), 120, subsequent_indent="    ", break_on_hyphens=False)
    return lines


def _order(section: str) -> tuple[bool, list[int]]:
    """RFC 9113 first; sections by number."""
    rfc, numbers = section.split("-")
    return rfc != "rfc9113", [int(number) for number in numbers.split(".")]
