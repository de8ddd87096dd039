"""Looks for inputs that break a target, without knowing of coverage: mutation after mutation of its corpus.

An input that runs for `SECONDS_EACH` breaks it as well, and so does memory that grows by `MAX_GROWN_BYTES` in all.
"""

from __future__ import annotations

import hashlib
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz import known
from tests.fuzz.known import Target
from tests.fuzz.mutation import mutated

SECONDS_EACH = 10.0
MAX_GROWN_BYTES = 512 << 20


@dataclass
class Found:
    """What a search did."""

    n_runs: int = 0
    failures: dict[str, Path] = field(default_factory=dict)
    """Where it broke, with the first input that did it."""


def search(target: Target, seeds: Sequence[bytes], seconds: float, folder: Path, random: Random) -> Found:
    """Run the target until the time is over, the seeds first; inputs that break it are kept in `folder`."""
    found, deadline = Found(), time.monotonic() + seconds
    before = _peak_bytes()
    while found.n_runs < len(seeds) or time.monotonic() < deadline:
        data = (
            seeds[found.n_runs] if found.n_runs < len(seeds) else mutated(random.choice(seeds or [b""]), seeds, random)
        )
        found.n_runs += 1
        if (place := broken(target, data)) and place not in found.failures:
            found.failures[place] = keep(data, folder)
        if _peak_bytes() - before > MAX_GROWN_BYTES:
            found.failures["memory grew"] = keep(data, folder)
            break
    return found


def broken(target: Target, data: bytes) -> str:
    """Where the target breaks, "" where it does not."""
    try:
        with _alarm(SECONDS_EACH):
            target(data)
    except Exception as error:  # noqa: BLE001 - whatever it is
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
    return ""


def keep(data: bytes, folder: Path) -> Path:
    """Write an input down, under a name of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    return path


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main(name: str, seconds: str, folder: str) -> int:
    """One target, in a process of its own; what it did goes to standard output."""
    with known.TARGETS[name]() as target:
        found = search(target, known.seeds(name), float(seconds), Path(folder), Random())
    print(f"{found.n_runs} executions")
    for place, path in found.failures.items():
        print(f"FAILED {place}: {path}")
    return bool(found.failures)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
