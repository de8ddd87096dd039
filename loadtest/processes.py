"""What a process and all its descendants cost, read from /proc, and how to end just those.

Processor time counts children that already ended (their parent inherits it when it reaps them); work the kernel does
on its own threads, such as writing pages back, is nobody's and is not in it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stat:
    """One line of /proc/PID/stat. `started` tells a process from a later one with the same id."""

    pid: int
    parent: int
    state: str
    cpu_seconds: float
    started: int


def read_stat(pid: int) -> Stat | None:
    """None when there is no such process (any more)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    ticks = sum(int(each) for each in fields[11:15])
    return Stat(pid, int(fields[1]), fields[0], ticks / TICKS, int(fields[19]))


def tree(root: int) -> list[Stat]:
    """The process and its living descendants, parents first."""
    every = [read_stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    known = [stat for stat in every if stat is not None]
    found = [stat for stat in known if stat.pid == root]
    for parent in found:
        found.extend(stat for stat in known if stat.parent == parent.pid)
    return found


def cpu_seconds(root: int) -> float:
    """User and system time of the tree since it started."""
    return sum(stat.cpu_seconds for stat in tree(root))


def settled_cpu_seconds(root: int, *, quiet_seconds: float = 0.1, limit_seconds: float = 5.0) -> float:
    """`cpu_seconds` once it stands still, so that what follows an answer is counted with the request."""
    end_at = time.monotonic() + limit_seconds
    before = cpu_seconds(root)
    while time.monotonic() < end_at:
        time.sleep(quiet_seconds)
        after = cpu_seconds(root)
        if after == before:
            break
        before = after
    return before


def peak_bytes(root: int) -> int:
    """Highest resident memory, summed over the tree; pages its processes share count for each of them."""
    return _memory_bytes(root, "VmHWM:")


def resident_bytes(root: int) -> int:
    """Resident memory now, summed in the same way."""
    return _memory_bytes(root, "VmRSS:")


def _memory_bytes(root: int, what: str) -> int:
    total = 0
    for stat in tree(root):
        with suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{stat.pid}/status").read_text().splitlines():
                if line.startswith(what):
                    total += int(line.split()[1]) * 1024
    return total


def forget_peak(root: int) -> None:
    """Start `peak_bytes` over from what is resident now."""
    for stat in tree(root):
        with suppress(FileNotFoundError, ProcessLookupError):
            Path(f"/proc/{stat.pid}/clear_refs").write_text("5")


def end(process: subprocess.Popen[Any], *, patience_seconds: float = 10.0) -> None:
    """SIGTERM, a bounded wait, then SIGKILL for those of its tree that are left."""
    if process.poll() is not None:
        return
    family = tree(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience_seconds)
    for stat in reversed(family):
        now = read_stat(stat.pid)
        if now is not None and now.started == stat.started and now.state != "Z":
            with suppress(ProcessLookupError):
                os.kill(stat.pid, signal.SIGKILL)
    process.wait(patience_seconds)


def wait_until(true: Callable[[], bool], what: str, *, seconds: float, every: float = 0.02) -> None:
    """Ask again and again; raises `TimeoutError` naming `what` when it has not come true in time."""
    end_at = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end_at:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(every)
