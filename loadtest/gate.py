"""`python -m loadtest.run gate`: what an upload costs beside nginx in the same rounds, and no more than it did.

CPU seconds differ from machine to machine and from day to day; their ratio to nginx's, taken within a round, differs
less. It is compared with the last good one, which is committed (`gate.json`); beyond 15 % the gate is shut.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from h2gate.config import KIB, MIB
from loadtest import network
from loadtest.asked import bounded
from loadtest.comparison.cases import Case, Workload, by
from loadtest.comparison.record import Record
from loadtest.comparison.results import document, header, is_void
from loadtest.comparison.runner import Runner
from loadtest.report.tables import summaries

GOOD = Path(__file__).with_name("gate.json")
TOLERANCE = 0.15
PER_GIB, PER_FILE = "server CPU s/GiB", "server CPU µs/file"
LARGE = by("h2gate/curl2 bare/curl2 nginx/curl2")
SMALL = by("h2gate/h2load100 bare/h2load100 nginx/h2load100")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One cost as a ratio to nginx: the last good one, and the one measured. `None`: not known."""

    what: str
    good: float | None
    measured: float | None

    @property
    def holds(self) -> bool:
        """What was not measured does not hold; what has no last good figure does."""
        if self.measured is None:
            return False
        return self.good is None or self.measured <= self.good * (1 + TOLERANCE)

    def __str__(self) -> str:
        if self.measured is None:
            return f"{self.what}: NOT MEASURED"
        if self.good is None:
            return f"{self.what}: {self.measured:.2f} × nginx; no last good figure"  # noqa: RUF001
        change = (self.measured / self.good - 1) * 100
        better = ", better than the last good: --accept keeps it" if change < -TOLERANCE * 100 else ""
        said = "" if self.holds else f", BEYOND {TOLERANCE:.0%}"
        return f"{self.what}: {self.measured:.2f} × nginx, last good {self.good:.2f} ({change:+.0f} %){said}{better}"  # noqa: RUF001


def cases(rounds: int) -> list[Case]:
    large, small = Workload("many", 1, 512 * MIB), Workload("alike", 5_000, 10 * KIB)
    nginx_large, nginx_small, seconds = LARGE[-1].name, SMALL[-1].name, 20.0 * rounds
    return [
        Case("gate-large", "One file of 512 MiB", "gate", large, LARGE, nginx_large, seconds, rounds=rounds),
        Case("gate-small", "5,000 files of 10 KiB", "gate", small, SMALL, nginx_small, seconds, rounds=rounds),
    ]


def ratios(saved: dict[str, Any]) -> dict[str, float]:
    """`who, figure` → its ratio to nginx."""
    found = {}
    for case, figure in zip(saved["cases"], (PER_GIB, PER_FILE), strict=True):
        for who, figures in summaries(case).items():
            server = who.partition(":")[0]
            its = figures.get(figure)
            if server != "nginx" and its is not None and its.ratio is not None:
                found[f"{server}, {figure}"] = round(its.ratio, 3)
    return found


def judge(good: Mapping[str, float], measured: Mapping[str, float]) -> list[Verdict]:
    return [Verdict(what, good.get(what), measured.get(what)) for what in sorted({*good, *measured})]


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Rounds that count.")
@click.option("--accept", is_flag=True, help="Keep what was measured as the last good figures.")
@click.option("--minutes", type=float, default=12.0, show_default=True, help="Give up after this time.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to store.  [default: for temporary files]")
def gate(*, rounds: int, accept: bool, minutes: float, folder: Path | None) -> None:
    """Compare what an upload costs, as a ratio to nginx, with the last good figures; exit code 1 beyond 15 %."""
    why_uncounted = network.enter_own()
    measured_cases = cases(rounds)
    with bounded(minutes), tempfile.TemporaryDirectory(prefix="h2gate-loadtest-", dir=folder) as made:
        place = Path(made)
        record = Record(place / "gate.jsonl", header("gate", measured_cases, place, why_uncounted))
        Runner(measured_cases, record, place, counted=why_uncounted is None, seconds=minutes * 54).run()
        saved = document(record, measured_cases)
    measured = ratios(saved)
    verdicts = judge(json.loads(GOOD.read_text())["ratios"], measured)
    for verdict in verdicts:
        click.echo(str(verdict))
    if is_void(saved):
        raise click.ClickException("the run is void: bytes were lost")
    if accept and len(measured) == len(verdicts):
        its = {"date": datetime.now(UTC).date().isoformat(), "machine": saved["machine"]["cpu"], "ratios": measured}
        GOOD.write_text(json.dumps(its, indent=1, ensure_ascii=False) + "\n")
        return
    if not all(verdict.holds for verdict in verdicts):
        raise click.ClickException("an upload costs more than it did")
