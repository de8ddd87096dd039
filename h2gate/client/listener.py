"""What a transfer tells while it runs: `Item` is one file that is to move, `Outcome` what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from h2gate.errors import GateError


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One file on its way. `local` is None for standard input and output, `size` None while it is unknown."""

    name: str
    local: Path | None
    url: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`error` is None when the file is in its place, whole and verified. `status` is the last HTTP status seen."""

    item: Item
    n_bytes: int = 0
    seconds: float = 0.0
    sha256: str = ""
    status: int = 0
    attempts: int = 1
    kept: int = 0
    """Bytes that an earlier run had moved already."""
    error: GateError | None = None
    receipt: str = ""
    """What the gateway signed, if it was asked to."""


class Listener:
    """Deaf; a subclass overrides what it wants to hear. Called on the event loop: be quick."""

    def looking(self, n: int) -> None:
        """So many files were found so far; told now and then while it takes long."""

    def planned(self, items: Sequence[Item]) -> None:
        """These are going to move."""

    def skipped(self, name: str, why: str) -> None:
        """This will not be moved, and that is no failure."""

    def is_there(self, item: Item) -> None:
        """It was planned, but the gateway has it already: it will not be sent."""

    def would_move(self, item: Item) -> None:
        """It would be moved, if this were not only asked."""

    def started(self, item: Item) -> None:
        """Its first attempt begins."""

    def moved(self, item: Item, n_bytes: int) -> None:
        """So many more bytes of it were sent or received."""

    def retried(self, item: Item, error: GateError, seconds: float) -> None:
        """An attempt failed; the next one begins after `seconds`."""

    def resumed(self, item: Item, at: int) -> None:
        """An attempt moves bytes from here on: of what was told to have `moved`, only so many count."""

    def left(self, item: Item) -> None:
        """It is not done, and another run of the same command goes on where it is."""

    def noted(self, text: str) -> None:
        """Something that a person may want to know."""

    def finished(self, outcome: Outcome) -> None:
        """Once an item."""
