"""The run: case after case, in each of them round after round, everybody once in each round.

Who cannot be had, fails or loses a byte is recorded with the reason and takes no further part in that case; nobody is
dropped silently. The time is shared out among the cases that are left, in proportion to what each is expected to take.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from loadtest.clients import SendFailed
from loadtest.comparison import disk, once, special
from loadtest.comparison.cases import Case
from loadtest.comparison.contestants import Contestant
from loadtest.comparison.record import WARM_UP, Record
from loadtest.comparison.stage import NotHere, Stage, set_up
from loadtest.peers import PeerFailed
from loadtest.rounds import in_turn
from loadtest.wan import LinkUnavailable
from loadtest.workloads import BytesLost

MEASURES: dict[str, Callable[[Case, Stage, Contestant], once.Measured]] = {
    "transfer": once.transfer,
    "beside": special.beside,
    "stall": special.stall,
    "trace": special.trace,
}
SHOWN = ("MB/s", "files/s", "server CPU s/GiB", "small p99 ms", "MiB in the stall", "cut")


class Runner:
    """`counted`: the run has a network of its own. `after_case` is called whenever a case is over."""

    def __init__(
        self,
        cases: Sequence[Case],
        record: Record,
        place: Path,
        *,
        counted: bool,
        seconds: float,
        after_case: Callable[[], None] = lambda: None,
    ) -> None:
        self._cases = cases
        self._record = record
        self._place = place
        self._counted = counted
        self._began = time.monotonic()
        self._seconds = seconds
        self._after_case = after_case

    def run(self) -> None:
        left = [case for case in self._cases if not self._record.of(case.name).done]
        for index, case in enumerate(left):
            remaining = self._began + self._seconds - time.monotonic()
            share = remaining * case.seconds / sum(each.seconds for each in left[index:])
            position = len(self._cases) - len(left) + index + 1
            self._say(f"[{position}/{len(self._cases)}] {case.name}: {case.title}")
            self._measure(case, time.monotonic() + share)
            self._record.add(case.name, done=True)
            self._after_case()

    def _measure(self, case: Case, end_at: float) -> None:
        if case.measure == "stall" and (reason := disk.why_not()):
            self._leave_out(case, "*", reason)
            return
        try:
            with set_up(case, self._place, counted=self._counted) as stage:
                self._record.add(case.name, path=stage.route.described())
                for name, reason in stage.out.items():
                    self._leave_out(case, name, reason)
                self._rounds(case, stage, end_at)
            self._record.add(case.name, path=stage.route.afterwards())
        except (NotHere, LinkUnavailable, subprocess.SubprocessError) as failure:
            self._leave_out(case, "*", str(failure))

    def _rounds(self, case: Case, stage: Stage, end_at: float) -> None:
        names = [contestant.name for contestant in case.contestants]
        whole = self._record.whole_rounds(case.name, names)
        counted = [number for number in whole if number != WARM_UP]
        first = WARM_UP if case.warm_up else 1
        longest = 0.0
        for number in [each for each in range(first, case.rounds + 1) if each == WARM_UP or each not in counted]:
            began = time.monotonic()
            if counted and began + longest > end_at:
                self._say(f"  no time for round {number} of {case.rounds}")
                return
            self._round(case, stage, number)
            longest = max(longest, time.monotonic() - began)
            if number != WARM_UP:
                counted.append(number)

    def _round(self, case: Case, stage: Stage, number: int) -> None:
        found = self._record.of(case.name)
        shown = f"round {number} of {case.rounds}" if number != WARM_UP else "warm-up"
        for contestant in in_turn(case.contestants, number):
            name = contestant.name
            if name in found.out or name in found.void:
                continue
            try:
                measured = MEASURES[case.measure](case, stage, contestant)
            except BytesLost as failure:
                self._record.add(case.name, contestant=name, void=str(failure))
                self._say(f"  VOID: {contestant.label}: {failure}")
            except (SendFailed, PeerFailed, subprocess.SubprocessError) as failure:
                self._leave_out(case, name, f"failed: {failure}")
            else:
                self._record.add(case.name, contestant=name, round=number, figures=measured.figures)
                if measured.series:
                    self._record.add(case.name, contestant=name, series=measured.series)
                told = ", ".join(f"{key} {value:.4g}" for key, value in measured.figures.items() if key in SHOWN)
                self._say(f"  {shown}: {contestant.label}: {told}")

    def _leave_out(self, case: Case, name: str, reason: str) -> None:
        self._record.add(case.name, contestant=name, out=reason)
        self._say(f"  skipped: {name}: {reason}" if name != "*" else f"  skipped: {reason}")

    def _say(self, line: str) -> None:
        seconds = time.monotonic() - self._began
        click.echo(f"{int(seconds // 60):3}:{int(seconds % 60):02} of {self._seconds / 60:g} min  {line}", err=True)
