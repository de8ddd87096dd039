"""The comparison as a run: what is planned and remembered, how it goes on, and the arithmetic of one sample."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest import compare
from loadtest.clients import SendFailed
from loadtest.comparison import once, runner
from loadtest.comparison.cases import Case, Workload, by, fingerprint, with_rounds
from loadtest.comparison.contestants import Contestant
from loadtest.comparison.plan import full, quick
from loadtest.comparison.record import Record
from loadtest.comparison.results import document, is_void
from loadtest.comparison.runner import Runner
from loadtest.network import Counters
from loadtest.peers.catalogue import KINDS
from loadtest.senders import Sent
from loadtest.workloads import BytesLost, make_day, make_folder

ROOT = Path(__file__).parents[2]
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
GIB = 1 << 30
SMALL = Case(
    "small",
    "Two files",
    "large",
    Workload("many", 2, 100_000),
    by("h2gate/curl2 bare/curl1"),
    "bare/curl1",
    10,
    rounds=2,
)
FIGURES = {"MB/s": 1.0}


def header(*cases: Case) -> dict[str, object]:
    return {"plan": "test", "fingerprint": fingerprint(cases)}


def test_the_plans_keep_their_time() -> None:
    assert sum(case.seconds for case in full()) <= compare.FULL_MINUTES * 60
    assert sum(case.seconds for case in quick()) <= compare.QUICK_MINUTES * 60
    assert compare.FULL_MINUTES * 1.05 + 0.2 <= 60.1
    assert compare.QUICK_MINUTES * 1.05 + 0.2 <= 5.2


def test_the_plan_has_every_server_and_at_least_five_rounds_of_what_is_compared() -> None:
    servers = {contestant.kind.key for case in full() for contestant in case.contestants}
    assert servers == {kind.key for kind in KINDS}
    assert all(case.rounds >= 5 for case in full() if case.baseline)
    assert len({case.name for case in full()}) == len(full())
    assert {case.group for case in quick()} >= {"large", "rtt", "files", "small", "loss", "beside", "stall", "trace"}


def test_every_baseline_takes_part() -> None:
    assert all(case.baseline in {each.name for each in case.contestants} for case in full() if case.baseline)


def test_cost_is_counted_by_gib_and_by_file() -> None:
    sent = Sent(seconds=2.0, cpu_seconds=0.5, peak_bytes=3 << 20)
    found = once.figures(sent, 1000, GIB // 2, 1.0, 64 << 20, Counters(GIB // 2 + GIB // 64, 6), several=True)
    assert found["MB/s"] == pytest.approx(GIB / 4e6)
    assert found["files/s"] == 500
    assert found["server CPU s/GiB"] == 2.0
    assert found["client CPU s/GiB"] == 1.0
    assert found["server CPU µs/file"] == 1000
    assert (found["server MiB"], found["client MiB"], found["connections"]) == (64, 3, 6)
    assert found["wire bytes/byte"] == 1 + 1 / 32
    assert "cut" not in found


def test_what_was_cut_before_anything_arrived_has_no_cost_but_is_told() -> None:
    found = once.figures(Sent(5.0, 0.1, 1 << 20, cut=True), 0, 0, 0.2, 1 << 20, None, several=True)
    assert found["cut"] == 1.0
    assert found["files/s"] == 0.0
    assert not any("CPU" in name or name == "MB/s" for name in found)


def test_what_was_cut_in_the_midst_of_a_file_is_told_by_what_went_over_the_wire() -> None:
    found = once.figures(
        Sent(4.0, 0.1, 1 << 20, cut=True), 0, 8_000_000, 1.0, 1 << 20, Counters(8_000_000, 1), several=False
    )
    assert (found["MB/s"], found["connections"], found["cut"]) == (2.0, 1, 1.0)
    assert "wire bytes/byte" not in found


def test_the_same_bytes_are_made_each_time(tmp_path: Path) -> None:
    one, other = make_folder(tmp_path / "one", 3, 3_000_000), make_folder(tmp_path / "other", 3, 3_000_000)
    assert [file.read_bytes() for file in one.files()] == [file.read_bytes() for file in other.files()]
    assert len({file.read_bytes() for file in one.files()}) == 3


def test_a_day_has_many_small_files_and_few_large_ones(tmp_path: Path) -> None:
    day = make_day(tmp_path / "day", 500, 10_000)
    sizes = sorted(file.stat().st_size for file in day.files())
    assert sum(sizes) == day.size == pytest.approx(5_000_000, rel=0.01)
    assert sizes[250] * 50 < sizes[-5]


def test_a_record_goes_on_with_whole_rounds_only(tmp_path: Path) -> None:
    record = Record(tmp_path / "r.jsonl", header(SMALL))
    names = [contestant.name for contestant in SMALL.contestants]
    for number, name in ((1, names[0]), (1, names[1]), (2, names[0])):
        record.add("small", contestant=name, round=number, figures=FIGURES)
    again = Record(tmp_path / "r.jsonl", header(SMALL))
    assert again.resumed
    assert again.whole_rounds("small", names) == [1]
    again.add("small", contestant=names[1], out="failed")
    assert again.whole_rounds("small", names) == [1, 2]


def test_a_record_with_half_a_line_is_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    record = Record(file, header(SMALL))
    record.add("small", contestant="h2gate/curl2", round=1, figures=FIGURES)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"case": "small", "contest')
    assert Record(file, header(SMALL)).of("small").rounds == {1: {"h2gate/curl2": FIGURES}}
    assert file.read_bytes() == whole


@pytest.mark.parametrize("change", ["finished", "another plan"])
def test_a_record_that_is_finished_or_of_another_plan_is_begun_anew(tmp_path: Path, change: str) -> None:
    record = Record(tmp_path / "r.jsonl", header(SMALL))
    record.add("small", contestant="h2gate/curl2", round=1, figures=FIGURES)
    if change == "finished":
        record.finish()
    asked = header(SMALL) if change == "finished" else header(with_rounds(SMALL, 9))
    again = Record(tmp_path / "r.jsonl", asked)
    assert not again.resumed
    assert again.cases == {}


@needs_curl
def test_a_round_has_everybody_and_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    record = Record(tmp_path / "r.jsonl", header(SMALL))
    Runner([SMALL], record, place, counted=False, seconds=60).run()
    (case,) = document(record, [SMALL])["cases"]
    first, second = (contestant.label for contestant in SMALL.contestants)
    taken = [(each["candidate"], each["round"]) for each in case["samples"]]
    assert taken == [(second, 1), (first, 1), (first, 2), (second, 2)]  # each begins one of them
    assert all(each["figures"]["MB/s"] > 0 for each in case["samples"])
    assert list(place.iterdir()) == []


def test_who_loses_a_byte_is_void_and_who_fails_is_out_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = replace(SMALL, contestants=by("h2gate/curl2 h2gate/curl1 bare/curl1"))
    calls = []

    def measure(_: Case, __: object, contestant: Contestant) -> once.Measured:
        calls.append(contestant.name)
        if contestant.name == "h2gate/curl2":
            raise BytesLost("one byte less")
        if contestant.name == "h2gate/curl1":
            raise SendFailed("no answer")
        return once.Measured(FIGURES)

    monkeypatch.setitem(runner.MEASURES, "transfer", measure)
    record = Record(tmp_path / "r.jsonl", header(case))
    Runner([case], record, tmp_path, counted=False, seconds=60).run()
    saved = document(record, [case])
    (found,) = saved["cases"]
    assert calls == ["h2gate/curl2", "h2gate/curl1", "bare/curl1", "bare/curl1", "bare/curl1"]
    assert is_void(saved)
    assert found["void"] == {case.contestants[0].label: "one byte less"}
    assert found["out"] == {case.contestants[1].label: "failed: no answer"}
    assert {each["candidate"] for each in found["samples"]} == {case.contestants[2].label}
    assert found["rounds"] == 2


def test_a_case_whose_time_is_up_keeps_one_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runner.MEASURES, "transfer", lambda *_: once.Measured(FIGURES))
    case = with_rounds(SMALL, 50)
    record = Record(tmp_path / "r.jsonl", header(case))
    Runner([case], record, tmp_path, counted=False, seconds=0).run()
    (found,) = document(record, [case])["cases"]
    assert (found["rounds"], found["rounds_planned"], found["done"]) == (1, 50, True)


def test_a_case_without_room_on_the_disk_is_skipped_with_the_reason(tmp_path: Path) -> None:
    case = replace(SMALL, workload=Workload("sparse", 1, 1 << 60))
    record = Record(tmp_path / "r.jsonl", header(case))
    Runner([case], record, tmp_path, counted=False, seconds=60).run()
    (found,) = document(record, [case])["cases"]
    assert "GB of disk" in found["out"]["*"]
    assert found["samples"] == []


@needs_curl
@pytest.mark.timeout(240)
def test_a_run_that_is_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    place, home = tmp_path / "place", tmp_path / "record"
    place.mkdir()
    command = [sys.executable, "-m", "loadtest.run", "compare", "--quick", "--cases=rtt-0", "--rounds=2", "--minutes=2"]
    command += [f"--folder={place}", f"--record={home}"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert first.stderr is not None
    for line in first.stderr:
        if "round 2 of 2" in line:
            os.kill(first.pid, signal.SIGTERM)
            break
    said = first.communicate(timeout=60)[1]
    assert first.returncode == 1
    assert "the same command goes on with it" in said
    assert list(place.iterdir()) == []

    second = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=110, check=False)
    assert second.returncode == 0, second.stderr
    assert "going on with" in second.stderr
    assert "round 1 of 2" not in second.stderr
    assert "round 2 of 2" in second.stderr
    (case,) = json.loads((home / "quick.json").read_text())["cases"]
    assert case["rounds"] == 2
    assert "Comparison (quick run)" in second.stdout
