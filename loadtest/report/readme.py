"""The README's table, made from the last full run that was kept, between two markers; nobody writes it by hand."""

from __future__ import annotations

from typing import Any

from loadtest.report import bars
from loadtest.report.summary import short
from loadtest.report.tables import median
from loadtest.report.words import grid

BEGIN, END = "<!-- comparison: python -m loadtest.report --readme -->", "<!-- /comparison -->"
HEADS = ["what", "h2gate, one HTTP/2 connection", "h2gate, HTTP/1.1", "nginx, HTTP/2", "Quart on Hypercorn, HTTP/2"]
PUT_H1 = (bars.PUT, bars.H1X6, bars.NGINX, bars.PLAIN)
CURL = (bars.H2, bars.H1, bars.NGINX, bars.PLAIN)

ROWS: tuple[tuple[str, str, str, tuple[str, str, str, str]], ...] = (
    ("one file of 1 GiB, loopback, MB/s", "large-1g", "MB/s", CURL),
    ("the same, server CPU s/GiB", "large-1g", "server CPU s/GiB", CURL),
    ("256 MiB at 10 ms, MB/s", "rtt-10", "MB/s", CURL),
    ("256 MiB at 50 ms, MB/s", "rtt-50", "MB/s", CURL),
    ("256 MiB at 200 ms, MB/s", "rtt-200", "MB/s", CURL),
    ("64 files of 16 MiB at 50 ms, MB/s (HTTP/1.1: 6 connections)", "files-64", "MB/s", PUT_H1),
    ("10,000 files of 10 KiB at 50 ms, files/s (6 connections)", "files-10k", "files/s", PUT_H1),
    ("the same, a request for each file", "files-10k", "files/s", (bars.SINGLES, *PUT_H1[1:])),
    ("16 files of 2 MiB at 50 ms and 0.1 % loss, MB/s (6 connections)", "loss-0.1", "MB/s", PUT_H1),
    ("the same at 1 % loss", "loss-1", "MB/s", PUT_H1),
)
NOT_YET = (
    "No full run has been kept yet: `make bench` makes one, and `python -m loadtest.report --readme` puts it here."
)


def section(saved: dict[str, Any] | None) -> str:
    """What stands between the markers."""
    if saved is None:
        return NOT_YET
    cases = {case["name"]: case for case in saved["cases"]}
    rows = [[what, *(_cell(cases.get(name), who, figure) for who in columns)] for what, name, figure, columns in ROWS]
    its = saved["machine"]
    caption = (
        f"Medians; {its['cpu']}, {its['cores']} cores that client and server share, {its['file_system']}, "
        f"`{saved['command']}`, {saved['begun'][:10]}. Spread, CPU, memory, everybody else and what does not hold: "
        "[docs/results/comparison.md](docs/results/comparison.md)."
    )
    return f"{grid(HEADS, rows)}\n\n{caption}"


def _cell(case: dict[str, Any] | None, who: str, figure: str) -> str:
    value = median(case, who, figure)
    if value is None or case is None:
        return ""
    cut = any("cut" in sample["figures"] for sample in case["samples"] if sample["candidate"] == who)
    return short(value) + (" ✂" if cut else "")


def replaced(text: str, saved: dict[str, Any] | None) -> str:
    """The README with its table made anew. Raises `ValueError` when a marker is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the markers {BEGIN} and {END} are not there")
    return f"{before}{BEGIN}\n{section(saved)}\n{END}{after}"
