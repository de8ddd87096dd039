"""A case as a table: a row for each contestant, also for those who took no part, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.report.summary import Sample, Summary, short, summarise

FIGURES = (
    "MB/s",
    "files/s",
    "seconds",
    "small p50 ms",
    "small p99 ms",
    "server CPU s/GiB",
    "client CPU s/GiB",
    "server CPU µs/file",
    "client CPU µs/file",
    "server MiB",
    "MiB before",
    "MiB in the stall",
    "MiB after",
    "MiB sent",
    "largest window MiB",
    "connections",
    "wire bytes/byte",
)
"""In this order; those that nobody has are left out."""
COMPARED = ("MB/s", "files/s", "small p99 ms", "server CPU s/GiB", "server CPU µs/file")
"""With a ratio beside them."""


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` begin with who; `notes` stand below."""

    heads: list[str]
    rows: list[list[str]]
    notes: list[str]


def summaries(case: dict[str, Any]) -> dict[str, dict[str, Summary]]:
    """Contestant → figure → summary."""
    samples = [Sample(each["candidate"], each["round"], each["figures"]) for each in case["samples"]]
    found: dict[str, dict[str, Summary]] = {}
    for each in summarise(samples, case["baseline"]):
        found.setdefault(each.candidate, {})[each.figure] = each
    return found


def median(case: dict[str, Any] | None, contestant: str, figure: str) -> float | None:
    """None where it was not measured."""
    found = summaries(case).get(contestant, {}).get(figure) if case is not None else None
    return found.median if found is not None else None


def table(case: dict[str, Any]) -> Table:
    found = summaries(case)
    figures = _figures(case, found)
    rows, notes = [], _notes(case)
    for contestant in case["contestants"]:
        if (reason := case["void"].get(contestant)) is not None:
            rows.append([contestant, f"VOID: {reason}"])
        elif (reason := case["out"].get(contestant)) is not None:
            rows.append([contestant, f"skipped: {reason}"])
        elif contestant in found:
            rows.append(_row(contestant, figures, found[contestant], _compared(case)))
        else:
            rows.append([contestant, "not measured"])
    compared = _compared(case)
    heads = ["", *(head for figure in figures for head in ((figure, "ratio") if figure in compared else (figure,)))]
    return Table(heads, [row + [""] * (len(heads) - len(row)) for row in rows], notes)


def _figures(case: dict[str, Any], found: dict[str, dict[str, Summary]]) -> list[str]:
    """Seconds only where nothing else tells how long it took."""
    known = {figure for figures in found.values() for figure in figures}
    if case["group"] != "seed":
        known.discard("seconds")
    if case["measure"] == "stall":
        known.discard("server MiB")
    small = case["workload"]["files"] >= 500
    known -= {f"{who} {unit}" for who in ("server CPU", "client CPU") for unit in [("µs/file", "s/GiB")[small]]}
    return [figure for figure in FIGURES if figure in known]


def _compared(case: dict[str, Any]) -> Sequence[str]:
    return COMPARED if case["baseline"] else ()


def _row(contestant: str, figures: Sequence[str], found: dict[str, Summary], compared: Sequence[str]) -> list[str]:
    cut = " ✂" if "cut" in found else ""
    row = [contestant + cut]
    for figure in figures:
        each = found.get(figure)
        row.append(spread(each) if each is not None else "")
        if figure in compared:
            row.append(f"{each.ratio:.2f}" if each is not None and each.ratio is not None else "")
    return row


def spread(each: Summary) -> str:
    if each.low == each.high:
        return short(each.median)
    return f"{short(each.median)} ({short(each.low)}–{short(each.high)})"  # noqa: RUF001


def _notes(case: dict[str, Any]) -> list[str]:
    rounds = f"{case['rounds']} round{'s' * (case['rounds'] != 1)}"
    asked = "" if case["rounds"] >= case["rounds_planned"] else f" of {case['rounds_planned']} (no time for more)"
    base = f"; ratio: to {case['baseline']}, within a round" if case["baseline"] else ""
    notes = [f"Median (lowest–highest) of {rounds}{asked}{base}."]  # noqa: RUF001
    if any("cut" in sample["figures"] for sample in case["samples"]):
        notes.append(f"✂: cut after {case['cut_seconds']:g} s; what had arrived by then counts.")
    if (reason := case["out"].get("*")) is not None:
        notes.append(f"Skipped: {reason}.")
    path = ", ".join(f"{key} {value}" for key, value in case["path"].items() if key != "asked")
    return [*notes, *([f"Path: {path}."] if path else [])]
