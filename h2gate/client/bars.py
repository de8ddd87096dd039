"""What a terminal shows of a transfer: a bar for the whole and one for each of the first files in flight."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as SpeedColumn

from h2gate.client.display import Display, n_files
from h2gate.client.listener import Item, Outcome

BARS = 8
"""Files with a bar of their own."""


class Bars(Display):
    """On standard error."""

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

    def looking(self, n: int) -> None:
        self._progress.update(self._total, note=f"looking: {n_files(n)} so far")

    def is_there(self, item: Item) -> None:
        super().is_there(item)
        total = self._progress.tasks[0].total
        if total is not None:
            self._progress.update(self._total, total=total - (item.size or 0), note=self._note())

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
        there = f", {self._there:,} there already" if self._there else ""
        return f"{len(self.outcomes)}/{self._planned} files{there}, {self.at_work()}"
