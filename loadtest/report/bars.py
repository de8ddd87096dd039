"""What the project said it would show, and whether a run shows it. What was not measured is called so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loadtest.report.tables import median, summaries

LINK_MB_PER_SECOND = 125.0
PUT, SINGLES = "h2gate: HTTP/2, h2gate put", "h2gate: HTTP/2, single PUTs, h2gate's client"
H2, H1X6 = "h2gate: HTTP/2, curl", "h2gate: HTTP/1.1, 6 connections, curl"
H1, BARE = "h2gate: HTTP/1.1, 1 connection, curl", "h2gate bare: HTTP/2, curl"
NGINX, PLAIN = "nginx: HTTP/2, curl", "Hypercorn: HTTP/2, curl"

Cases = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Bar:
    """`found(cases)` is None where something of it was not measured."""

    what: str
    wanted: float
    found: Callable[[Cases], float | None]
    at_most: bool = False

    def verdict(self, cases: Cases) -> tuple[str, str]:
        """What was found, and whether it holds."""
        found = self.found(cases)
        if found is None:
            return "not measured", "?"
        holds = found <= self.wanted if self.at_most else found >= self.wanted
        return f"{found:.2f}", "holds" if holds else "**does not hold**"


def ratio(case: str, one: str, other: str, figure: str) -> Callable[[Cases], float | None]:
    """The median of the ratios within a round."""

    def found(cases: Cases) -> float | None:
        if case not in cases:
            return None
        rows: dict[int, dict[str, float]] = {}
        for sample in cases[case]["samples"]:
            if figure in sample["figures"]:
                rows.setdefault(sample["round"], {})[sample["candidate"]] = sample["figures"][figure]
        ratios = sorted(row[one] / row[other] for row in rows.values() if row.get(other) and one in row)
        middle = len(ratios) // 2
        return (ratios[middle] + ratios[-middle - 1]) / 2 if ratios else None

    return found


def of_link(case: str, who: str) -> Callable[[Cases], float | None]:
    def found(cases: Cases) -> float | None:
        value = median(cases.get(case), who, "MB/s")
        return value / LINK_MB_PER_SECOND if value is not None else None

    return found


def spread_over(group: str, figure: str, server: str) -> Callable[[Cases], float | None]:
    """The largest of a group's medians by the smallest."""

    def found(cases: Cases) -> float | None:
        values = [
            each[figure].median
            for case in cases.values()
            if case["group"] == group
            for who, each in summaries(case).items()
            if who.startswith(f"{server}:") and figure in each
        ]
        return max(values) / min(values) if len(values) > 1 else None

    return found


BARS = (
    Bar("64 × 16 MiB at 50 ms: one HTTP/2 connection, of the link", 0.85, of_link("files-64", PUT)),  # noqa: RUF001
    Bar("the same, by HTTP/1.1 with 6 connections", 1.0, ratio("files-64", PUT, H1X6, "MB/s")),
    Bar("10,000 × 10 KiB at 50 ms: single PUTs by HTTP/1.1 with 6", 10, ratio("files-10k", SINGLES, H1X6, "files/s")),  # noqa: RUF001
    Bar("the same: bundles by HTTP/1.1 with 6", 25, ratio("files-10k", PUT, H1X6, "files/s")),
    Bar("1 GiB, loopback: MB/s by nginx", 1.0, ratio("large-1g", H2, NGINX, "MB/s")),
    Bar("the same: MB/s by the plain stack", 3.0, ratio("large-1g", H2, PLAIN, "MB/s")),
    Bar(
        "the same: server CPU by nginx, equal durability",
        0.8,
        ratio("large-1g", BARE, NGINX, "server CPU s/GiB"),
        at_most=True,
    ),
    *(
        Bar(f"256 MiB at {rtt} ms: HTTP/2 by HTTP/1.1", 0.9, ratio(f"rtt-{rtt}", H2, H1, "MB/s"))
        for rtt in (0, 10, 50, 100, 200)
    ),
    Bar("1, 4, 16 GiB: CPU per GiB, most by least", 1.15, spread_over("grow", "server CPU s/GiB", "h2gate"), True),
    Bar("the same: memory, most by least", 1.15, spread_over("grow", "server MiB", "h2gate"), True),
    Bar(
        "1 to 256 streams: CPU per GiB, most by least", 1.15, spread_over("streams", "server CPU s/GiB", "h2gate"), True
    ),
    Bar("the same: memory, most by least", 1.15, spread_over("streams", "server MiB", "h2gate"), True),
)


def rows(saved: dict[str, Any]) -> list[list[str]]:
    """What, wanted, found, verdict."""
    cases = {case["name"]: case for case in saved["cases"]}
    return [[bar.what, f"{'≤' if bar.at_most else '≥'} {bar.wanted:g}", *bar.verdict(cases)] for bar in BARS]
