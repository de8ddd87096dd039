"""Tiny runs from end to end: the table, the saved figures, and nothing left behind. No figure is judged here."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from loadtest.processes import tree, wait_until
from loadtest.report import Sample, markdown, summarise
from loadtest.run import main
from loadtest.wan import why_not

HAVE_NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin") is not None
SERVERS = ["h2gate", "bare", *(["nginx"] if HAVE_NGINX else [])]
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_h2load = pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed")
needs_rclone = pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not installed")
needs_link = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def go(tmp_path: Path, *arguments: str) -> dict[str, list[dict[str, str]]]:
    place, saved = tmp_path / "place", tmp_path / "saved.json"
    place.mkdir()
    shared = ["--rounds=1", f"--servers={','.join(SERVERS)}", f"--folder={place}", f"--json={saved}", "--minutes=1"]
    outcome = CliRunner().invoke(main, [*arguments, *shared])
    assert outcome.exit_code == 0, outcome.output
    assert list(place.iterdir()) == []
    document: dict[str, list[dict[str, str]]] = json.loads(saved.read_text())
    assert "median" in markdown(document)
    return document


@needs_curl
def test_upload_measures_every_server_on_both_protocols(tmp_path: Path) -> None:
    samples = go(tmp_path, "upload", "--size=8M")["samples"]
    assert len({sample["candidate"] for sample in samples}) == len(samples) == 2 * len(SERVERS)


@needs_h2load
def test_small_measures_every_server(tmp_path: Path) -> None:
    assert len(go(tmp_path, "small", "--requests=200")["samples"]) == len(SERVERS)


@needs_curl
@needs_link
def test_wan_measures_every_server_over_the_link(tmp_path: Path) -> None:
    assert len(go(tmp_path, "wan", "--size=4M", "--rtt=10")["samples"]) == 2 * len(SERVERS)


@needs_curl
@needs_rclone
@pytest.mark.parametrize("link", [[], pytest.param(["--rtt=5"], marks=needs_link)], ids=["loopback", "link"])
def test_files_measures_every_sender(tmp_path: Path, link: list[str]) -> None:
    place, saved = tmp_path / "place", tmp_path / "saved.json"
    place.mkdir()
    options = ["--count=40", "--rounds=1", f"--folder={place}", f"--json={saved}", "--minutes=1", *link]
    outcome = CliRunner().invoke(main, ["files", *options])
    assert outcome.exit_code == 0, outcome.output
    assert list(place.iterdir()) == []
    labels = [sample["candidate"] for sample in json.loads(saved.read_text())["samples"]]
    assert labels == ["h2gate put", "curl -Z, 100 streams", "rclone copy, 16 transfers", "tar c, tar x"]


@needs_curl
def test_attacks_measures_the_upload_alone_and_beside_each_attack(tmp_path: Path) -> None:
    place, saved = tmp_path / "place", tmp_path / "saved.json"
    place.mkdir()
    options = ["--size=4M", "--rounds=1", f"--folder={place}", f"--json={saved}", "--minutes=1"]
    outcome = CliRunner().invoke(main, ["attacks", "--attacks=floods.ping-flood,answers.unread", *options])
    assert outcome.exit_code == 0, outcome.output
    assert list(place.iterdir()) == []
    samples = json.loads(saved.read_text())["samples"]
    assert [sample["candidate"].split()[1] for sample in samples] == ["floods.ping-flood", "answers.unread"]
    assert all(sample["figures"]["speed kept"] > 0 for sample in samples)


@needs_curl
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_neither_process_nor_file(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "loadtest.run", "upload", "--size=8M", "--rounds=1000", f"--folder={tmp_path}"]
    run = subprocess.Popen(
        [*command, f"--servers={SERVERS[-1]}"], stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert run.stderr is not None
    assert "warm-up" in run.stderr.readline()
    family = tree(run.pid)
    assert len(family) > 1
    os.kill(run.pid, number)
    run.communicate(timeout=30)
    assert run.returncode == 1
    wait_until(lambda: not any(Path(f"/proc/{stat.pid}").exists() for stat in family), "all are gone", seconds=5)
    assert list(tmp_path.iterdir()) == []


def test_ratios_are_taken_within_a_round() -> None:
    figures = [("a", 1, 10.0), ("base", 1, 20.0), ("a", 2, 60.0), ("base", 2, 40.0), ("a", 3, 30.0), ("base", 3, 30.0)]
    samples = [Sample(candidate, number, {"MB/s": value}) for candidate, number, value in figures]
    first = summarise(samples, "base")[0]
    assert (first.median, first.low, first.high) == (30.0, 10.0, 60.0)
    assert (first.ratio, first.ratio_low, first.ratio_high) == (1.0, 0.5, 1.5)
