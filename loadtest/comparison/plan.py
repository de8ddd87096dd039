"""What is compared: large files, many files, distance, loss, small requests beside large ones, a stall, growth.

`full` is measured in an hour on two cores that write 500 MB/s; `quick` shows in five minutes that all of it works.
"""

from __future__ import annotations

from dataclasses import replace

from h2gate.config import GIB, KIB, MIB
from loadtest.comparison.cases import Case, Workload, by
from loadtest.route import Shape

GB = 10**9
CHECK_SECONDS = 5.0
"""For a link to be measured before it is used."""
RTTS_MS = (0.0, 10.0, 50.0, 100.0, 200.0)
SEED_SECONDS = {2: 10, 3: 40, 4: 55, 5: 75, 6: 85, 7: 98, 8: 114, 9: 132, 10: 180}
"""Seconds that the Flask stack took which this project was begun for; the key is GB."""

ONE_GIB = Workload("many", 1, GIB)
QUARTER = Workload("many", 1, 256 * MIB)
EIGHTH = Workload("many", 1, 128 * MIB)
LARGE_FILES = Workload("many", 64, 16 * MIB)
SMALL_FILES = Workload("many", 10_000, 10 * KIB)
FEWER_SMALL = Workload("many", 2_000, 10 * KIB)
LOSSY = Workload("many", 16, 2 * MIB)
DAY = Workload("day", 1_000, 256 * KIB)


def large() -> list[Case]:
    base = "nginx/curl2"
    who = by("h2gate/curl2 h2gate/curl1 bare/curl2 nginx/curl2 nginx/curl1 plain/curl2")
    everybody = by(
        "h2gate/curl2 nginx/curl2 tuned/curl2 apache/curl2 apache/curl1 rclone/curl2 plain/curl2 plain/curl1 "
        "gunicorn/curl2 gunicorn/curl1 granian/curl2 granian/curl1 tus/curl2 tus/curl1"
    )
    pipes = by(
        "h2gate/pipe2 h2gate/pipe1 nginx/pipe2 nginx/pipe1 apache/pipe2 plain/pipe2 gunicorn/pipe2 granian/pipe2"
    )
    return [
        Case("large-1g", "One file of 1 GiB, loopback", "large", ONE_GIB, who, base, 180, cut_seconds=20),
        Case("everybody", "One file of 128 MiB, loopback", "large", EIGHTH, everybody, base, 150, cut_seconds=20),
        Case("pipe", "128 MiB of unknown length, loopback", "large", EIGHTH, pipes, "nginx/pipe2", 80, cut_seconds=20),
    ]


def distance() -> list[Case]:
    cases = []
    for rtt in RTTS_MS:
        plain = " plain/curl2 plain/curl1" if rtt in (0.0, 50.0) else ""
        who = by(f"h2gate/curl2 h2gate/curl1 nginx/curl2 nginx/curl1{plain}")
        shape, seconds = Shape(rtt), 80 + 0.25 * rtt + 70 * (rtt == 50)
        title = f"One file of 256 MiB, {shape.label}"
        cases.append(
            Case(f"rtt-{rtt:g}", title, "rtt", QUARTER, who, "h2gate/curl1", seconds, shape, rtt, cut_seconds=8)
        )
    return cases


def many() -> list[Case]:
    far = Shape(50)
    who = by("h2gate/put h2gate/curl2 h2gate/curl1x6 h2gate/curl1x16 h2gate/curl1 nginx/curl2")
    small = by("h2gate/put h2gate/singles h2gate/curl2 h2gate/curl1x6 h2gate/curl1x16 plain/curl2")
    close = by("h2gate/put h2gate/singles h2gate/curl2 h2gate/curl1x6 plain/curl2 rclone/rclone")
    base = "h2gate/curl1x6"
    cases = [
        Case(
            "files-64", f"64 files of 16 MiB, {far.label}", "files", LARGE_FILES, who, base, 250, far, 50,
            cut_seconds=15,
        ),
        Case(
            "files-10k", f"10,000 files of 10 KiB, {far.label}", "files", SMALL_FILES, small, base, 300, far, 50,
            cut_seconds=8,
        ),
        Case(
            "files-10k-near", "10,000 files of 10 KiB, loopback", "files", SMALL_FILES, close, base, 250,
            cut_seconds=8,
        ),
        Case(
            "day", f"An instrument's day: 1,000 files, 250 MiB, {far.label}", "files", DAY,
            by("h2gate/put h2gate/curl2 h2gate/curl1x6 rclone/rclone"), base, 140, far, 50, cut_seconds=15,
        ),
    ]  # fmt: skip
    for rtt in (0.0, 10.0, 50.0, 100.0):
        who, title = by("h2gate/put h2gate/singles h2gate/curl1x6"), f"2,000 files of 10 KiB, {Shape(rtt).label}"
        cases.append(Case(f"small-{rtt:g}", title, "small", FEWER_SMALL, who, base, 70, Shape(rtt), rtt, cut_seconds=5))
    return cases


def loss() -> list[Case]:
    """With the congestion control that most have, and with one that takes no single loss for a full path."""
    who, cases = by("h2gate/put h2gate/put4 h2gate/curl1x6"), []
    for percent, congestion, seconds in ((0.1, "cubic", 80), (1.0, "cubic", 150), (1.0, "bbr", 80)):
        shape = Shape(50, 1000, percent, congestion)
        name = f"loss-{percent:g}" if congestion == "cubic" else f"loss-{percent:g}-{congestion}"
        group = "loss" if congestion == "cubic" else f"loss-{congestion}"
        title = f"16 files of 2 MiB, {shape.label}"
        base = "h2gate/curl1x6"
        cases.append(Case(name, title, group, LOSSY, who, base, seconds, shape, percent, cut_seconds=30))
    return cases


def alongside() -> list[Case]:
    body, path = Workload("many", 1, KIB), Shape(10, 200)
    who = by("h2gate/beside2 h2gate/beside1 nginx/beside2 plain/beside2")
    stalled = by("h2gate/curl2 nginx/curl2 plain/curl2 gunicorn/curl2 granian/curl2")
    sink, traced = Workload("many", 8, 64 * MIB), Workload("many", 1, 64 * MIB)
    return [
        Case(
            "beside", f"Small requests beside a large upload of 5 s, {path.label}", "beside", body, who,
            "h2gate/beside1", 132, path, measure="beside",
        ),
        Case(
            "stall", "Eight uploads of 64 MiB while the disk takes nothing for 5 s", "stall", sink, stalled,
            "", 70, rounds=1, warm_up=False, measure="stall",
        ),
        Case(
            "trace", f"The window of one upload of 64 MiB, {Shape(50).label}", "trace", traced,
            by("h2gate/trace nginx/trace plain/trace"), "", 20, Shape(50), rounds=1, warm_up=False, measure="trace",
            cut_seconds=6,
        ),
    ]  # fmt: skip


def growth() -> list[Case]:
    cases = [
        Case(
            f"grow-{gib}", f"One file of {gib} GiB, loopback", "grow", Workload("sparse", 1, gib * GIB),
            by("h2gate/curl2"), "", 8 * gib, x=gib, rounds=2, warm_up=False,
        )
        for gib in (1, 4, 16)
    ]  # fmt: skip
    for streams in (1, 16, 64, 256):
        who, alike = by(f"h2gate/h2load{streams} nginx/h2load{streams}"), Workload("alike", 256, 2 * MIB)
        title, base = f"256 files of 2 MiB, {streams} at once", f"nginx/h2load{streams}"
        cases.append(Case(f"streams-{streams}", title, "streams", alike, who, base, 30, x=streams, cut_seconds=20))
    for gb in SEED_SECONDS:
        work = Workload("sparse", 1, gb * GB)
        cases.append(
            Case(
                f"seed-{gb}", f"One file of {gb} GB, loopback", "seed", work, by("h2gate/curl2"), "", 3.5 * gb, x=gb,
                rounds=1, warm_up=False,
            )
        )  # fmt: skip
    return cases


def requests() -> list[Case]:
    who = by("h2gate/h2load100 bare/h2load100 nginx/h2load100 plain/h2load100 gunicorn/h2load100 granian/h2load100")
    alike = Workload("alike", 5_000, 10 * KIB)
    title = "5,000 files of 10 KiB, 100 at once, loopback"
    return [Case("requests", title, "requests", alike, who, "nginx/h2load100", 130, cut_seconds=15)]


def full() -> list[Case]:
    """At most an hour."""
    cases = [*large(), *requests(), *distance(), *many(), *loss(), *alongside(), *growth()]
    return [replace(case, seconds=case.seconds + CHECK_SECONDS * (case.shape.rtt_ms > 0)) for case in cases]


def quick() -> list[Case]:
    """Each kind of case once, smaller: whether all works, and roughly how it stands. At most five minutes."""
    wanted = {"everybody": 16, "rtt-0": 8, "rtt-50": 16, "files-64": 20, "files-10k": 24, "small-0": 10, "small-50": 14}
    wanted |= {"loss-1": 18, "beside": 40, "stall": 25, "trace": 12, "requests": 16, "grow-1": 5, "streams-64": 5}
    return [_smaller(case, wanted[case.name]) for case in full() if case.name in wanted]


def _smaller(case: Case, seconds: float) -> Case:
    work = case.workload
    if case.measure == "transfer" and case.name != "grow-1":
        least = {"files-10k": 500, "requests": 500, "small-0": 500, "small-50": 500}.get(case.name, work.count)
        size = work.size if least < work.count or work.size < MIB else max(work.size // 16, MIB)
        work = replace(work, count=least, size=size)
    cut = None if case.cut_seconds is None else min(case.cut_seconds, 4)
    who = case.contestants[:3] if case.measure == "stall" else case.contestants
    shown = f"{work.size // MIB} MiB" if work.size >= MIB else f"{work.size // KIB} KiB"
    title = f"{case.title} (in small: {work.count} × {shown})"  # noqa: RUF001
    case = replace(case, contestants=who, workload=work, seconds=seconds, cut_seconds=cut)
    return replace(case, title=title, rounds=1, warm_up=False)
