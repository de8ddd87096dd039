"""`python -m loadtest.run compare`: the whole comparison, which can be stopped and gone on with.

What is measured is written to a record at once; the report is written anew after each case. Only a full run that has
come to its end goes to `docs/results/`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from loadtest import network
from loadtest.asked import bounded
from loadtest.comparison import plan as plans
from loadtest.comparison.cases import Case, with_rounds
from loadtest.comparison.record import Record
from loadtest.comparison.results import document, header, is_void
from loadtest.comparison.runner import Runner
from loadtest.peers import REPOSITORY
from loadtest.report.files import write

FULL_MINUTES, QUICK_MINUTES = 57.0, 4.7
RESULTS = REPOSITORY / "docs" / "results"


def chosen(names: str, of: Sequence[Case]) -> list[Case]:
    """Those that are named, or whose group is; all of them without a name. Raises `click.BadParameter`."""
    wanted = set(filter(None, names.split(",")))
    if unknown := wanted - {case.name for case in of} - {case.group for case in of}:
        raise click.BadParameter(f"no such case: {', '.join(sorted(unknown))}")
    return [case for case in of if not wanted or case.name in wanted or case.group in wanted]


@click.command()
@click.option("--quick", is_flag=True, help="Smaller workloads, one round, five minutes: no figure to quote.")
@click.option("--cases", "names", default="", help="Names or groups, separated by commas.  [default: all]")
@click.option("--rounds", type=click.IntRange(1), help="Rounds of each case.  [default: the plan's]")
@click.option("--minutes", type=float, help="Share out this time.  [default: 57, quick 4.7]")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to store.  [default: for temporary files]")
@click.option("--record", "record_folder", type=click.Path(path_type=Path), default=Path(".bench"), show_default=True)
@click.option("--fresh", is_flag=True, help="Begin anew, whatever was measured before.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be measured, and measure nothing.")
def compare(
    *,
    quick: bool,
    names: str,
    rounds: int | None,
    minutes: float | None,
    folder: Path | None,
    record_folder: Path,
    fresh: bool,
    only_plan: bool,
) -> None:
    """HTTP/2 against HTTP/1.1, and h2gate against what people would use instead. As root with links and counters."""
    cases = chosen(names, plans.quick() if quick else plans.full())
    if rounds is not None:
        cases = [with_rounds(case, rounds) for case in cases]
    if only_plan:
        show(cases)
        return
    minutes = minutes or (QUICK_MINUTES if quick else FULL_MINUTES)
    plan = "quick" if quick else "full"
    home = record_folder.resolve()
    file = home / f"{plan}.jsonl"
    if fresh:
        file.unlink(missing_ok=True)
    why_uncounted = network.enter_own()
    so_far = "what was measured is kept, and the same command goes on with it"
    with (
        bounded(minutes * 1.05 + 0.2, so_far=so_far),
        tempfile.TemporaryDirectory(prefix="h2gate-loadtest-", dir=folder) as place,
    ):
        record = Record(file, header(plan, cases, Path(place), why_uncounted))
        if record.resumed:
            click.echo(f"going on with {file} (--fresh begins anew)", err=True)
        if why_uncounted:
            click.echo(why_uncounted, err=True)

        def report() -> None:
            write(document(record, cases), home, plan)

        counted = why_uncounted is None
        Runner(cases, record, Path(place), counted=counted, seconds=minutes * 60, after_case=report).run()
        record.finish()
    saved = document(record, cases)
    if plan == "full" and not names and not is_void(saved):
        write(saved, RESULTS, "comparison")
        click.echo(f"written to {RESULTS}", err=True)
    click.echo((home / f"{plan}.md").read_text(), nl=False)
    if is_void(saved):
        raise click.ClickException("the run is void: bytes were lost")


def show(cases: Sequence[Case]) -> None:
    for case in cases:
        who = " ".join(contestant.name for contestant in case.contestants)
        click.echo(f"{case.name}: {case.title}; {case.rounds} rounds, {case.seconds:.0f} s: {who}")
    total = sum(case.seconds for case in cases)
    click.echo(json.dumps({"cases": len(cases), "minutes": round(total / 60, 1)}))
