"""What was measured: each figure's median and spread over the rounds, and its ratio to a baseline within each round.

Ratios are taken inside a round, where both sides saw the machine in the same mood, and then the median of them.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. `figures` by name, the unit in the name."""

    candidate: str
    round: int
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class Summary:
    """One figure of one candidate over all rounds. `ratio` is to the baseline; None where that has none."""

    candidate: str
    figure: str
    median: float
    low: float
    high: float
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None


def summarise(samples: list[Sample], baseline: str) -> list[Summary]:
    base = {sample.round: sample.figures for sample in samples if sample.candidate == baseline}
    summaries = []
    for candidate in dict.fromkeys(sample.candidate for sample in samples):
        own = [sample for sample in samples if sample.candidate == candidate]
        for figure in dict.fromkeys(figure for sample in own for figure in sample.figures):
            values = [sample.figures[figure] for sample in own if figure in sample.figures]
            ratios = [
                sample.figures[figure] / base[sample.round][figure]
                for sample in own
                if figure in sample.figures and base.get(sample.round, {}).get(figure)
            ]
            ratio = (statistics.median(ratios), min(ratios), max(ratios)) if ratios else (None, None, None)
            summaries.append(
                Summary(candidate, figure, statistics.median(values), min(values), max(values), *ratio),
            )
    return summaries


def document(what: str, settings: dict[str, Any], samples: list[Sample], baseline: str, folder: Path) -> dict[str, Any]:
    """Everything a reader needs to judge the figures, as JSON."""
    return {
        "what": what,
        "command": " ".join(["python -m loadtest.run", *sys.argv[1:]]),
        "settings": settings,
        "machine": machine(folder),
        "baseline": baseline,
        "summary": [asdict(each) for each in summarise(samples, baseline)],
        "samples": [asdict(each) for each in samples],
    }


def machine(folder: Path) -> dict[str, Any]:
    """The machine in a few words; `folder` is where the servers store."""
    models = [line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    memory = next((int(line.split()[1]) for line in _lines(Path("/proc/meminfo")) if line.startswith("MemTotal")), 0)
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / (1 << 20), 1),
        "kernel": platform.release(),
        "file_system": _lines_of("df", "--output=fstype", str(folder))[-1],
        "python": platform.python_version(),
        "nginx": _lines_of("nginx", "-v")[0],
        "curl": _lines_of("curl", "--version")[0],
        "h2load": _lines_of("h2load", "--version")[0],
        "congestion_control": "".join(_lines(Path("/proc/sys/net/ipv4/tcp_congestion_control"))),
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _lines_of(*command: str) -> list[str]:
    if shutil.which(command[0]) is None:
        return ["not installed"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return (done.stdout or done.stderr).strip().splitlines() or [""]


def rows(saved: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table, one row a candidate."""
    figures = list(dict.fromkeys(each["figure"] for each in saved["summary"]))
    compared = {each["figure"] for each in saved["summary"] if each["ratio"] is not None}
    body: dict[str, list[str]] = {}
    for each in saved["summary"]:
        row = body.setdefault(each["candidate"], [each["candidate"]])
        row.append(f"{short(each['median'])} ({short(each['low'])}–{short(each['high'])})")  # noqa: RUF001
        if each["figure"] in compared:
            row.append("" if each["ratio"] is None else f"{each['ratio']:.2f}")
    heads = [[figure, "ratio"] if figure in compared else [figure] for figure in figures]
    return ["", *(head for pair in heads for head in pair)], list(body.values())


def short(value: float) -> str:
    """Three digits that matter."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def show(saved: dict[str, Any]) -> None:
    """The table on standard output."""
    heads, body = rows(saved)
    table = Table(*heads, caption=caption(saved), title=saved["what"])
    for row in body:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 130).print(table)


def caption(saved: dict[str, Any]) -> str:
    its = saved["machine"]
    return (
        f"median (lowest–highest) of {len({each['round'] for each in saved['samples']})} rounds; "  # noqa: RUF001
        f"ratio: to {saved['baseline']}, median of the ratios within a round. {its['cpu']}, {its['cores']} cores, "
        f"{its['memory_gib']} GiB, {its['file_system']}, Linux {its['kernel']}, Python {its['python']}, {its['nginx']}"
    )


def markdown(saved: dict[str, Any]) -> str:
    heads, body = rows(saved)
    lines = [heads, ["---"] * len(heads), *body]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"**{saved['what']}** (`{saved['command']}`)\n\n{table}\n\n{caption(saved)}\n"
