"""A case: one workload over one path, with everybody who takes part in it.

`seconds` is what all its rounds take on two cores that write 500 MB/s; a run's time is shared out by it, so that a
slower machine measures fewer rounds, never fewer cases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from loadtest.comparison.contestants import Contestant
from loadtest.route import Shape

ROUNDS = 5
LOOPBACK = Shape()
ROOM_BYTES = 512 << 20
"""To be left free."""

Make = Literal["many", "alike", "day", "sparse"]
Measure = Literal["transfer", "beside", "stall", "trace"]


@dataclass(frozen=True, slots=True)
class Workload:
    """`count` files of `size` bytes each; of a `day`, on average."""

    make: Make
    count: int
    size: int

    @property
    def total_bytes(self) -> int:
        return self.count * self.size


@dataclass(frozen=True, slots=True)
class Case:
    """`group` and `x` say where its figures go in plots; ratios are to `baseline`."""

    name: str
    title: str
    group: str
    workload: Workload
    contestants: tuple[Contestant, ...]
    baseline: str
    seconds: float
    shape: Shape = LOOPBACK
    x: float = 0.0
    rounds: int = ROUNDS
    warm_up: bool = True
    cut_seconds: float | None = None
    measure: Measure = "transfer"

    @property
    def disk_bytes(self) -> int:
        """What has to be free: the source, and what is stored of it at the same time, or until the case is over."""
        rounds = (self.rounds + self.warm_up) * len(self.contestants) if self.kept else 1
        source = 0 if self.workload.make == "sparse" else self.workload.total_bytes
        return source + rounds * self.workload.total_bytes + ROOM_BYTES

    @property
    def warm(self) -> bool:
        """Whether page cache is made at hand before each measurement: what that costs is not the servers' doing."""
        return self.kept or self.group == "gate"

    @property
    def kept(self) -> bool:
        """Whether what was stored stays until the case is over: deleting thousands of files slows the next ones."""
        return self.workload.count >= 2_000


def by(names: str) -> tuple[Contestant, ...]:
    return tuple(Contestant(name) for name in names.split())


def with_rounds(case: Case, rounds: int) -> Case:
    return replace(case, rounds=rounds, seconds=case.seconds * (rounds + case.warm_up) / (case.rounds + case.warm_up))


def fingerprint(cases: Sequence[Case]) -> str:
    """Of the plan: what was measured by another one is not gone on with."""
    return hashlib.sha256(repr(cases).encode()).hexdigest()[:16]
