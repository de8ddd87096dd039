"""A comparison as it is saved, with made-up figures: what reports are made from in tests."""

from __future__ import annotations

from typing import Any

from loadtest.comparison.plan import SEED_SECONDS, full
from loadtest.report.bars import BARE, H1, H2, NGINX, PLAIN

MACHINE = {
    "cpu": "a <made-up> processor",
    "cores": 2,
    "memory_gib": 8.0,
    "kernel": "6.1",
    "file_system": "ext4",
    "python": "3.11",
    "congestion_control": "cubic",
}


def comparison(*cases: dict[str, Any], plan: str = "full") -> dict[str, Any]:
    return {
        "plan": plan,
        "fingerprint": "0",
        "begun": "2026-01-02T03:04:05+00:00",
        "command": "python -m loadtest.run compare",
        "machine": MACHINE,
        "network": "its own",
        "programs": {"curl": "curl 8"},
        "servers": {"nginx": {"durability": "no fsync", "version": "1.22"}},
        "seed_seconds": SEED_SECONDS,
        "cases": list(cases),
    }


def case(name: str, *samples: tuple[str, int, dict[str, float]], **changed: Any) -> dict[str, Any]:
    """As planned, with these samples: contestant, round, figures."""
    planned = next(each for each in full() if each.name == name)
    labels = {contestant.name: contestant.label for contestant in planned.contestants}
    made = {
        "name": name,
        "title": planned.title,
        "group": planned.group,
        "x": planned.x,
        "measure": planned.measure,
        "path": {"asked": planned.shape.label},
        "workload": {"files": planned.workload.count, "bytes": planned.workload.total_bytes},
        "rounds": max((number for _, number, _ in samples), default=0),
        "rounds_planned": planned.rounds,
        "cut_seconds": planned.cut_seconds,
        "baseline": labels.get(planned.baseline, ""),
        "contestants": list(labels.values()),
        "done": True,
        "out": {},
        "void": {},
        "series": {},
        "samples": [{"candidate": who, "round": number, "figures": found} for who, number, found in samples],
    }
    return made | changed


def large(nginx_mb: float = 400.0) -> dict[str, Any]:
    """Three rounds of 1 GiB: h2gate always 1.5 times as fast as nginx, the plain stack cut."""
    samples = []
    for number in (1, 2, 3):
        base = nginx_mb + 10 * number
        samples += [
            (NGINX, number, {"MB/s": base, "server CPU s/GiB": 1.0, "seconds": 2.0}),
            (H2, number, {"MB/s": 1.5 * base, "server CPU s/GiB": 1.4, "seconds": 1.5}),
            (BARE, number, {"MB/s": 2 * base, "server CPU s/GiB": 0.7, "seconds": 1.2}),
            (H1, number, {"MB/s": base, "server CPU s/GiB": 2.0, "seconds": 2.0}),
            (PLAIN, number, {"MB/s": base / 10, "server CPU s/GiB": 10.0, "seconds": 20.0, "cut": 1.0}),
        ]
    return case("large-1g", *samples)
