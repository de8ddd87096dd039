"""A record as one document: all that a reader needs to judge the figures, and what report and gate are made from."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtest.comparison.cases import Case, fingerprint
from loadtest.comparison.plan import SEED_SECONDS
from loadtest.comparison.record import WARM_UP, Record
from loadtest.peers.catalogue import KINDS, programs
from loadtest.report import machine


def header(plan: str, cases: Sequence[Case], folder: Path, network: str | None) -> dict[str, Any]:
    """What is known before anything is measured. `network`: why nothing on the wire is counted, or None."""
    return {
        "plan": plan,
        "fingerprint": fingerprint(cases),
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "loadtest.run", *sys.argv[1:]]),
        "machine": machine(folder),
        "network": network or "a network namespace of its own, buffers of up to 64 MiB at both ends",
        "programs": programs(),
        "servers": {kind.name: {"durability": kind.durability, "version": kind.version()} for kind in KINDS},
    }


def document(record: Record, cases: Sequence[Case]) -> dict[str, Any]:
    return {**record.header, "seed_seconds": SEED_SECONDS, "cases": [_case(record, case) for case in cases]}


def is_void(saved: dict[str, Any]) -> bool:
    """Whether somebody lost a byte."""
    return any(case["void"] for case in saved["cases"])


def _case(record: Record, case: Case) -> dict[str, Any]:
    found = record.of(case.name)
    labels = {contestant.name: contestant.label for contestant in case.contestants}
    whole = set(record.whole_rounds(case.name, list(labels))) - {WARM_UP}
    return {
        "name": case.name,
        "title": case.title,
        "group": case.group,
        "x": case.x,
        "measure": case.measure,
        "path": {"asked": case.shape.label, **found.path},
        "workload": {"files": case.workload.count, "bytes": case.workload.total_bytes},
        "rounds": len(whole),
        "rounds_planned": case.rounds,
        "cut_seconds": case.cut_seconds,
        "baseline": labels.get(case.baseline, ""),
        "contestants": list(labels.values()),
        "done": found.done,
        "out": {labels.get(name, name): reason for name, reason in found.out.items()},
        "void": {labels[name]: reason for name, reason in found.void.items()},
        "series": {labels[name]: rows for name, rows in found.series.items() if name not in found.void},
        "samples": [
            {"candidate": labels[name], "round": number, "figures": figures}
            for number, who in sorted(found.rounds.items())
            if number in whole
            for name, figures in who.items()
            if name not in found.void and name not in found.out
        ],
    }
