"""Which plots a comparison has: throughput and files over the round trip, CPU, memory in the stall, windows, growth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadtest.report.plots import Bar, Line, Point, bars, lines
from loadtest.report.tables import summaries


def plots(saved: dict[str, Any]) -> list[str]:
    """As SVG; those without anything measured are left out."""
    cases = saved["cases"]
    made = [
        over(cases, "rtt", "MB/s", "Throughput over round trip, 256 MiB", "round trip in ms"),
        over(cases, "small", "files/s", "Small files over round trip, 10 KiB each", "round trip in ms"),
        *[_cpu(case) for case in cases if case["name"] in ("large-1g", "everybody")],
        over(cases, "loss", "MB/s", "Throughput over loss, 50 ms", "packets lost in %"),
        *[_stall(case) for case in cases if case["measure"] == "stall"],
        *[_window(case, who) for case in cases if case["measure"] == "trace" for who in case["series"]],
        over(cases, "grow", "server CPU s/GiB", "Server CPU as files grow", "GiB"),
        over(cases, "grow", "server MiB", "Server memory as files grow", "GiB"),
        over(cases, "streams", "server CPU s/GiB", "Server CPU as streams grow", "streams"),
        over(cases, "streams", "server MiB", "Server memory as streams grow", "streams"),
        _seed(saved),
    ]
    return [plot for plot in made if plot]


def over(cases: Sequence[dict[str, Any]], group: str, figure: str, title: str, x_label: str) -> str:
    """A figure over the `x` of a group's cases, a line for each contestant."""
    found: dict[str, list[Point]] = {}
    for case in cases:
        if case["group"] == group:
            for who, each in summaries(case).items():
                if (its := each.get(figure)) is not None:
                    label = _without_number(who) if group == "streams" else who
                    found.setdefault(label, []).append(Point(case["x"], its.median, its.low, its.high))
    if len({point.x for points in found.values() for point in points}) < 2:
        return ""
    return lines(title, x_label, figure, [Line(who, tuple(points)) for who, points in found.items()])


def _without_number(who: str) -> str:
    """`h2gate: HTTP/2, 16 streams, h2load` is one line with 64 streams: its server."""
    return who.partition(":")[0]


def _cpu(case: dict[str, Any]) -> str:
    figure = "server CPU s/GiB"
    found = {who: each[figure] for who, each in summaries(case).items() if figure in each}
    drawn = [Bar(who, its.median, its.low, its.high) for who, its in found.items()]
    return bars(f"Server CPU: {case['title']}", "s/GiB", drawn)


def _stall(case: dict[str, Any]) -> str:
    drawn = [Line(who, tuple(Point(row[0], row[1]) for row in rows)) for who, rows in case["series"].items()]
    return lines("Memory while the disk takes nothing", "seconds", "MiB resident", drawn, marks=False)


def _window(case: dict[str, Any], who: str) -> str:
    rows = case["series"][who]
    sent = Line("sent", tuple(Point(row[0], row[1]) for row in rows))
    allowed = Line("may have been sent: what lies between is the open window", tuple(Point(r[0], r[2]) for r in rows))
    return lines(f"Window of one upload, 50 ms: {who}", "seconds", "MiB", [sent, allowed], marks=False)


def _seed(saved: dict[str, Any]) -> str:
    """The sizes that the project was begun for, beside what the old stack took for them."""
    cases = [case for case in saved["cases"] if case["group"] == "seed" and case["samples"]]
    drawn = [
        Line(who, tuple(Point(case["x"], each[who]["seconds"].median) for case in cases if (each := summaries(case))))
        for who in dict.fromkeys(who for case in cases for who in summaries(case))
    ]
    if not drawn:
        return ""
    old = tuple(Point(float(gb), float(seconds)) for gb, seconds in saved["seed_seconds"].items())
    return lines("One large file", "GB", "seconds", [*drawn, Line("the Flask stack of old (its own table)", old)])
