"""`make fuzz`: every target for its share of the time, and the state machine of the uploads; what breaks one is kept.

Guided by coverage (atheris) where that is installed. What it learns stays in `.fuzz/` for the next run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz import known

FOLDER = Path(".fuzz")
MACHINE = "machine"
UNGUIDED = ("gateway",)
"""What runs in threads: what code it reaches is chance."""
LATE_SECONDS = 300
_DONE = re.compile(r"^Done (\d+) runs", re.MULTILINE)
_COVERED = re.compile(r"cov: (\d+) ft: \d+ corp: (\d+)")


def main(arguments: Sequence[str] | None = None) -> int:
    names = (*known.TARGETS, MACHINE)
    parser = argparse.ArgumentParser(prog="make fuzz", description="Search for what breaks.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(names)}; all, if none is named")
    parser.add_argument("--seconds", type=float, default=600.0, help="for all together; 600 if not given")
    parser.add_argument("--unguided", action="store_true", help="without atheris, even where it is installed")
    options = parser.parse_args(arguments)
    if unknown := set(options.targets) - set(names):
        parser.error(f"no target is called {' or '.join(sorted(unknown))}")
    chosen = options.targets or names
    is_guided = not options.unguided and find_spec("atheris") is not None
    failed = [each for each in chosen if not search(each, options.seconds / len(chosen), is_guided)]
    print(f"broken: {', '.join(failed)}" if failed else "nothing broke", flush=True)
    return bool(failed)


def search(name: str, seconds: float, is_guided: bool) -> bool:
    """One target in a process of its own; prints what it did. Whether nothing broke."""
    kept, failures = FOLDER / name, FOLDER / "failures" / name
    for each in (kept, failures):
        each.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if name == MACHINE:
        environment |= {"H2GATE_LONG": "1", "H2GATE_FUZZ_SECONDS": str(seconds)}
        command = ["-m", "pytest", "-q", "tests/transfer/test_machine.py"]
    elif is_guided and name not in UNGUIDED:
        limits = ["-timeout=20", "-rss_limit_mb=2048", "-max_len=16384", f"-max_total_time={max(1, int(seconds))}"]
        where = [f"-artifact_prefix={failures}/", str(kept), str(known.CORPUS / name)]
        command = ["-m", "tests.fuzz.guided", name, str(failures), *limits, *where]
    else:
        command = ["-m", "tests.fuzz.search", name, str(seconds), str(failures)]
    print(f"{name}: ", end="", flush=True)
    began = time.monotonic()
    text, is_fine = _ran([sys.executable, *command], seconds + LATE_SECONDS, environment)
    print(f"{_told(text)} in {time.monotonic() - began:.0f} s", flush=True)
    (FOLDER / f"{name}.log").write_text(text)
    if not is_fine:
        what = text[text.rfind("=== Uncaught") :][-4000:]
        print(f"{what}\n{name} broke; see {failures} and {FOLDER / name}.log", flush=True)
    return is_fine


def _ran(command: Sequence[str], seconds: float, environment: dict[str, str]) -> tuple[str, bool]:
    """What it printed, and whether it ended in time and well."""
    try:
        done = subprocess.run(
            command,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        return f"{(error.output or b'').decode(errors='replace')}\nit did not end", False
    return done.stdout.decode(errors="replace"), done.returncode == 0


def _told(text: str) -> str:
    """The figures in what a search printed."""
    if done := _DONE.search(text):
        told = _COVERED.findall(text) or [("0", "0")]
        (edges, inputs), (edges_now, inputs_now) = told[0], told[-1]
        return f"{done[1]} executions, {edges} to {edges_now} edges, {inputs} to {inputs_now} inputs"
    found = re.search(r"\d+ executions|\d+ examples, .*kills", text)
    return found[0] if found else "broken off"


if __name__ == "__main__":
    sys.exit(main())
