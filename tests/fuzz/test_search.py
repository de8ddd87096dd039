"""The search finds what is there to be found, keeps the input, and tells what it did."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz import run, search
from tests.fuzz.mutation import MAX_BYTES, mutated
from tests.fuzz.source import Source, pieces


def test_input_that_breaks_the_target_is_found_and_kept_once(tmp_path: Path) -> None:
    def target(data: bytes) -> None:
        assert b"%2f" not in data, "a slash"

    found = search.search(target, [b"plain"], 1.0, tmp_path, Random(1))
    assert found.n_runs > 100
    (place,) = found.failures
    assert place.startswith("AssertionError in test_search.py:")
    (kept,) = tmp_path.iterdir()
    assert found.failures == {place: kept}
    assert b"%2f" in kept.read_bytes()
    assert search.broken(target, kept.read_bytes()) == place


def test_target_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def target(data: bytes) -> None:
        while data:
            pass

    monkeypatch.setattr(search, "SECONDS_EACH", 0.05)
    assert search.broken(target, b"x").startswith("TimeoutError in ")
    assert search.broken(target, b"") == ""


def test_memory_that_grows_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bytes] = []
    monkeypatch.setattr(search, "MAX_GROWN_BYTES", 8 << 20)
    found = search.search(lambda data: held.append(b"x" * (1 << 20)), [b"x"], 20.0, tmp_path, Random(1))
    assert list(found.failures) == ["memory grew"]


def test_mutations_differ_and_stay_small() -> None:
    seeds = [b"a" * 40, bytes(range(256)) * 250]
    made = {mutated(seed, seeds, Random(number)) for seed in seeds for number in range(200)}
    assert len(made) > 300
    assert max(map(len, made)) <= MAX_BYTES


def test_source_reads_numbers_off_the_end_and_text_off_the_front() -> None:
    source = Source(b"text\x01\x02\x03")
    assert (source.number(0xFF), source.number(0xFFFF), source.taken(2), source.rest()) == (3, 0x0102, b"te", b"xt")
    assert (source.number(9), source.taken(2), source.flag(), source.one_of("ab"), source.is_empty) == (
        *(0, b"", False),
        *("a", True),
    )


def test_pieces_are_the_whole() -> None:
    assert list(pieces(b"abcd", [1, 7, 1])) == [b"a", b"", b"b", b"cd"]
    assert list(pieces(b"", [3])) == [b"", b""]


def test_figures_are_those_that_were_printed() -> None:
    guided = "#2\tINITED cov: 10 ft: 11 corp: 2/3b\n#9\tNEW cov: 15 ft: 20 corp: 5/9b\nDone 900 runs in 3 second(s)\n"
    assert run._told(guided) == "900 executions, 10 to 15 edges, 2 to 5 inputs"
    assert run._told("12 executions\nFAILED x") == "12 executions"
    assert run._told(". 3 examples, 40 steps, 2 kills \n1 passed") == "3 examples, 40 steps, 2 kills"
    assert run._told("Traceback") == "broken off"


def test_run_of_one_target_tells_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path.cwd()
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setattr(run, "FOLDER", tmp_path)
    assert run.main(["value", "--seconds", "0.5", "--unguided"]) == 0
    assert " executions" in (tmp_path / "value.log").read_text()


def test_target_that_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["nothing"])
    assert "no target is called nothing" in capsys.readouterr().err
