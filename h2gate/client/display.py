"""What a person sees of a transfer: bars on a terminal, plain lines elsewhere, JSON for programs, or nothing.

Everything goes to standard error except JSON, which is for pipes. A display also keeps the summary.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as SpeedColumn

from h2gate.client.listener import Item, Listener, Outcome
from h2gate.errors import GateError

FEW = 20
"""Up to so many files each gets a line of its own when there is no terminal."""

BARS = 8
"""Files with a bar of their own on a terminal."""

NAMED = 20
"""Failures told one by one; the rest is counted."""

LINE_SECONDS = 2.0


class Display(Listener, AbstractContextManager["Display"]):
    """Prints failures and a summary; the base of the others, and what `--quiet` leaves (failures only)."""

    def __init__(self, verb: str, *, quiet: bool = False) -> None:
        self.verb = verb
        self.outcomes: list[Outcome] = []
        self.at_work: Callable[[], str] = str
        """Says what the transfer is doing, e.g. how many streams are open."""
        self.n_bytes = 0
        self._quiet = quiet
        self._planned = 0
        self._failed = self._left = 0
        self._start = time.monotonic()

    @property
    def errors(self) -> list[GateError]:
        return [each.error for each in self.outcomes if each.error is not None]

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def planned(self, items: Sequence[Item]) -> None:
        self._planned += len(items)

    def skipped(self, name: str, why: str) -> None:
        if not self._quiet:
            self.say(f"skipped {name}: {why}")

    def retried(self, item: Item, error: GateError, seconds: float) -> None:
        if not self._quiet:
            self.say(f"again   {item.name} in {seconds:.1f} s: {error}")

    def left(self, item: Item) -> None:
        self._left += 1

    def noted(self, text: str) -> None:
        if not self._quiet:
            self.say(text)

    def finished(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.n_bytes += outcome.n_bytes
        if outcome.error is not None:
            self._failed += 1
            if self._failed <= NAMED:
                self.say(f"failed  {outcome.item.name}: {outcome.error}")

    def summary(self) -> str:
        done, failed = len(self.outcomes) - len(self.errors), len(self.errors)
        rate = decimal(int(self.n_bytes / max(self.seconds, 1e-6)))
        text = f"{done} {'file' if done == 1 else 'files'}, {decimal(self.n_bytes)} in {self.seconds:.1f} s, {rate}/s"
        return f"{text}, {failed} failed" if failed else text

    def end(self) -> None:
        """The last lines; not called when the transfer was interrupted."""
        if self._failed > NAMED:
            self.say(f"failed  {self._failed - NAMED} more; --json names them all")
        if not self._quiet and self.outcomes:
            self.say(self.summary())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.end()
        if self._left and not self._quiet:
            files = f"{self._left} files" if self._left > 1 else "the file"
            self.say(f"the same command goes on where {files} broke off")


class Lines(Display):
    """A line a file when they are few, else one about every two seconds."""

    def __init__(self, verb: str) -> None:
        super().__init__(verb)
        self._said = time.monotonic()
        self._moved = 0

    def moved(self, item: Item, n_bytes: int) -> None:
        self._moved += n_bytes
        now = time.monotonic()
        if now - self._said >= LINE_SECONDS:
            self._said = now
            rate = decimal(int(self._moved / max(self.seconds, 1e-6)))
            self.say(
                f"{len(self.outcomes)} of {self._planned} files, {decimal(self._moved)}, {rate}/s, {self.at_work()}"
            )

    def resumed(self, item: Item, at: int) -> None:
        if at and self._planned <= FEW:
            self.say(f"goes on {item.name} at {decimal(at)}")

    def finished(self, outcome: Outcome) -> None:
        super().finished(outcome)
        if outcome.error is None and self._planned <= FEW:
            rate = decimal(int(outcome.n_bytes / max(outcome.seconds, 1e-6)))
            size = "" if self.verb == "rm" else f"  {decimal(outcome.n_bytes)}, {rate}/s"
            self.say(f"{self.verb:7} {outcome.item.name}{size}")


class Json(Display):
    """An object a line for each file, and one with `"summary": true` at the end, on standard output."""

    def __init__(self, verb: str) -> None:
        super().__init__(verb, quiet=True)

    def finished(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.n_bytes += outcome.n_bytes
        print(json.dumps(_described(self.verb, outcome)), flush=True)

    def skipped(self, name: str, why: str) -> None:
        print(json.dumps({"verb": self.verb, "name": name, "skipped": why}), flush=True)

    def end(self) -> None:
        failed = len(self.errors)
        counts = {"done": len(self.outcomes) - failed, "failed": failed, "bytes": self.n_bytes, "left": self._left}
        print(json.dumps({"summary": True, "verb": self.verb, **counts, "seconds": round(self.seconds, 3)}), flush=True)


class Bars(Display):
    """A bar for the whole and one for each of the first files in flight."""

    def __init__(self, verb: str) -> None:
        super().__init__(verb)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            DownloadColumn(),
            SpeedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._total = self._progress.add_task(verb, total=None, note="")
        self._bars: dict[Item, TaskID] = {}
        self._attempt: dict[Item, int] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        super().__exit__(kind, error, trace)

    def say(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def planned(self, items: Sequence[Item]) -> None:
        super().planned(items)
        sizes = [item.size for item in items]
        total = sum(size for size in sizes if size is not None) if None not in sizes else None
        self._progress.update(self._total, total=total)

    def started(self, item: Item) -> None:
        self._attempt[item] = 0
        if len(self._bars) < BARS and (item.size is None or item.size > 1 << 20):
            name = item.name if len(item.name) <= 32 else "…" + item.name[-31:]
            self._bars[item] = self._progress.add_task(name, total=item.size, note="")

    def moved(self, item: Item, n_bytes: int) -> None:
        self._attempt[item] += n_bytes
        if item in self._bars:
            self._progress.advance(self._bars[item], n_bytes)
        self._progress.update(self._total, advance=n_bytes, note=self._note())

    def resumed(self, item: Item, at: int) -> None:
        self._progress.advance(self._total, at - self._attempt[item])
        self._attempt[item] = at
        if item in self._bars:
            self._progress.update(self._bars[item], completed=at)

    def finished(self, outcome: Outcome) -> None:
        super().finished(outcome)
        self._attempt.pop(outcome.item, None)
        bar = self._bars.pop(outcome.item, None)
        if bar is not None:
            self._progress.remove_task(bar)
        self._progress.update(self._total, note=self._note())

    def _note(self) -> str:
        return f"{len(self.outcomes)}/{self._planned} files, {self.at_work()}"


def display(verb: str, *, as_json: bool, quiet: bool) -> Display:
    """The one that fits where we run."""
    if as_json:
        return Json(verb)
    if quiet:
        return Display(verb, quiet=True)
    return Bars(verb) if sys.stderr.isatty() else Lines(verb)


def _described(verb: str, outcome: Outcome) -> dict[str, object]:
    found: dict[str, object] = {"verb": verb, "name": outcome.item.name, "url": outcome.item.url}
    if outcome.error is not None:
        error = outcome.error
        failure = {"code": error.code, "detail": error.detail, "retry": error.retry, "status": outcome.status}
        return {**found, "error": failure, "attempts": outcome.attempts}
    if verb != "rm":
        found |= {"bytes": outcome.n_bytes, "sha256": outcome.sha256, "seconds": round(outcome.seconds, 3)}
        found |= {"kept": outcome.kept} if outcome.kept else {}
    return {**found, "status": outcome.status, "attempts": outcome.attempts}
