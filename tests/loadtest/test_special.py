"""Small requests beside a large upload, a disk that takes nothing for a while, the trace of a window: each in small."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from loadtest.comparison import disk, special
from loadtest.comparison.cases import Case, Workload, by, fingerprint
from loadtest.comparison.record import Record
from loadtest.comparison.results import document
from loadtest.comparison.runner import Runner

MIB = 1 << 20
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_disk = pytest.mark.skipif(disk.why_not() is not None, reason=f"NOT TESTED: {disk.why_not()}")


def go(tmp_path: Path, case: Case) -> dict[str, Any]:
    record = Record(tmp_path / "r.jsonl", {"fingerprint": fingerprint([case])})
    place = tmp_path / "place"
    place.mkdir()
    Runner([case], record, place, counted=False, seconds=60).run()
    (found,) = document(record, [case])["cases"]
    assert (found["out"], found["void"]) == ({}, {})
    assert list(place.iterdir()) == []
    return dict(found)


def test_small_requests_are_timed_beside_a_large_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(special, "BESIDE_SECONDS", 0.5)
    who = by("h2gate/beside2 h2gate/beside1")
    work = Workload("many", 1, 1024)
    case = Case("beside", "beside", "beside", work, who, "", 1, rounds=1, warm_up=False, measure="beside")
    for sample in go(tmp_path, case)["samples"]:
        figures = sample["figures"]
        assert figures["MB/s"] > 0
        assert figures["small requests"] >= 1
        assert 0 < figures["small p50 ms"] <= figures["small p99 ms"]


def test_a_trace_ends_with_all_that_was_sent_and_never_sends_more_than_it_may(tmp_path: Path) -> None:
    work = Workload("many", 1, 3 * MIB)
    case = Case("trace", "trace", "trace", work, by("h2gate/trace"), "", 1, rounds=1, warm_up=False, measure="trace")
    found = go(tmp_path, case)
    (rows,) = found["series"].values()
    assert rows[-1][1:] == [3, 3]
    assert all(sent <= allowed for _, sent, allowed in rows)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert found["samples"][0]["figures"]["largest window MiB"] > 0


@needs_curl
@needs_disk
def test_memory_is_watched_while_the_disk_takes_nothing_and_all_arrives_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(special, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(special, "AT_WORK_SECONDS", 0.02)
    work = Workload("many", 2, 16 * MIB)
    case = Case("stall", "stall", "stall", work, by("h2gate/curl2"), "", 1, rounds=1, warm_up=False, measure="stall")
    found = go(tmp_path, case)
    (rows,) = found["series"].values()
    assert rows[-1][0] >= 0.5
    assert found["samples"][0]["figures"]["MiB in the stall"] == max(row[1] for row in rows) > 1
