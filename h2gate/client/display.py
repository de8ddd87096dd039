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

from rich.filesize import decimal

from h2gate.client.listener import Item, Listener, Outcome
from h2gate.errors import GateError, Unauthenticated

FEW = 20
"""Up to so many files each gets a line of its own when there is no terminal."""

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
        self.dry_run = False
        """Nothing is moved, so all that would be is told."""
        self._quiet = quiet
        self._planned = 0
        self._failed = self._left = self._there = self._named = self._untold = 0
        self._unrecognised: set[str] = set()
        """What was said of that already."""
        self._dry: list[Item] = []
        """What would move, where nothing does."""
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

    def is_there(self, item: Item) -> None:
        self._there += 1
        self._planned -= 1
        if self.dry_run and not self._quiet:
            self.say(f"there already {item.name}")

    def would_move(self, item: Item) -> None:
        self._dry.append(item)
        if not self._quiet:
            size = f"  {decimal(item.size)}" if item.size is not None else ""
            self.say(f"would {self.verb} {item.name}{size}")

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
            self._say_failure(outcome.item, outcome.error)

    def _say_failure(self, item: Item, error: GateError) -> None:
        """Who is not recognised is told so once, however many files there are."""
        if isinstance(error, Unauthenticated) and str(error) in self._unrecognised:
            return
        if self._named < NAMED:
            self._named += 1
            self.say(f"failed  {item.name}: {error}")
        else:
            self._untold += 1
        if isinstance(error, Unauthenticated) and len(self._unrecognised) < NAMED:
            self._unrecognised.add(str(error))

    def summary(self) -> str:
        done, failed = len(self.outcomes) - len(self.errors), len(self.errors)
        rate = decimal(int(self.n_bytes / max(self.seconds, 1e-6)))
        text = f"{n_files(done)}, {decimal(self.n_bytes)} in {self.seconds:.1f} s, {rate}/s"
        if self.dry_run:
            text = f"would {self.verb} {n_files(len(self._dry))}, {decimal(sum(item.size or 0 for item in self._dry))}"
        text += f", {self._there:,} {'was' if self._there == 1 else 'were'} there already" if self._there else ""
        return f"{text}, {failed} failed" if failed else text

    def end(self) -> None:
        """The last lines; not called when the transfer was interrupted."""
        if self._untold:
            self.say(f"failed  {self._untold} more; --json names them all")
        if not self._quiet and (self.outcomes or self._there or self.dry_run):
            self.say(self.summary())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.end()
        if self._left and not self._quiet:
            files = n_files(self._left) if self._left > 1 else "the file"
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

    def looking(self, n: int) -> None:
        now = time.monotonic()
        if now - self._said >= LINE_SECONDS:
            self._said = now
            self.say(f"looking: {n_files(n)} so far")

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

    def is_there(self, item: Item) -> None:
        super().is_there(item)
        told = {"verb": self.verb, "name": item.name, "url": item.url, "skipped": "is there already"}
        print(json.dumps(told), flush=True)

    def would_move(self, item: Item) -> None:
        super().would_move(item)
        told = {"verb": self.verb, "name": item.name, "url": item.url, "bytes": item.size, "dry_run": True}
        print(json.dumps(told), flush=True)

    def skipped(self, name: str, why: str) -> None:
        print(json.dumps({"verb": self.verb, "name": name, "skipped": why}), flush=True)

    def end(self) -> None:
        failed = len(self.errors)
        counts = {"done": len(self.outcomes) - failed, "failed": failed, "bytes": self.n_bytes, "left": self._left}
        counts |= {"there": self._there} | ({"would": len(self._dry)} if self.dry_run else {})
        print(json.dumps({"summary": True, "verb": self.verb, **counts, "seconds": round(self.seconds, 3)}), flush=True)


def display(verb: str, *, as_json: bool, quiet: bool) -> Display:
    """The one that fits where we run."""
    if as_json:
        return Json(verb)
    if quiet:
        return Display(verb, quiet=True)
    if not sys.stderr.isatty():
        return Lines(verb)
    from h2gate.client.bars import Bars  # noqa: PLC0415 - a script need not wait for what draws

    return Bars(verb)


def n_files(n: int) -> str:
    return f"{n:,} {'file' if n == 1 else 'files'}"


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
