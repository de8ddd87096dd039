"""The chain: every change of a byte or line is found, and named where it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from h2gate.audit.chain import GENESIS, START, Link, decode, encode
from h2gate.audit.verifying import Anchor, Report, verify

N_LINES = 12


def chain(n: int = N_LINES) -> list[bytes]:
    last, lines = START, []
    for number in range(n):
        line, last = encode(last, f"2026-01-01T00:00:{number:02}Z", {"event": "create", "path": f"in/é{number}"})
        lines.append(line)
    return lines


Check = Callable[..., Report]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """`check(lines)` writes them to a file and verifies it."""

    def run(lines: list[bytes], *anchors: Anchor, begins_later: bool = False) -> Report:
        file = tmp_path / "log.jsonl"
        file.write_bytes(b"".join(lines))
        return verify([file], anchors, begins_later=begins_later)

    return run


def fault(report: Report) -> str:
    """The first that was named, without the folder."""
    assert report.faults
    return report.faults[0].rpartition("/")[2]


def test_a_line_tells_what_it_was_given_and_the_hash_of_the_one_before() -> None:
    first, link = encode(START, "now", {"event": "create"})
    second, _ = encode(link, "then", {"event": "delete", "path": 'a"b\\c'})
    one, two = decode(first[:-1]), decode(second[:-1])
    assert one is not None
    assert two is not None
    assert (one.link.seq, one.prev, two.link.seq, two.prev) == (1, GENESIS, 2, one.link.hash)
    assert two.members["path"] == 'a"b\\c'


def test_a_log_that_nobody_touched_has_no_faults(check: Check) -> None:
    report = check(chain())
    assert (report.faults, report.n_lines, report.last.seq) == ([], N_LINES, N_LINES)


def test_every_single_byte_that_is_changed_is_found_in_its_own_line(check: Check) -> None:
    lines = chain(4)
    n_looked_at = 0
    for number, line in enumerate(lines, 1):
        for at in range(len(line)):
            other = line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]
            report = check([*lines[: number - 1], other, *lines[number:]])
            assert any(each.rpartition("/")[2].startswith(f"log.jsonl:{number}: ") for each in report.faults), (
                number,
                at,
            )
            n_looked_at += 1
    assert n_looked_at == sum(map(len, lines))


@pytest.mark.parametrize("byte", [b"\n", b" ", b"\0", b"\r"])
def test_a_byte_that_is_added_anywhere_is_found(check: Check, byte: bytes) -> None:
    text = b"".join(chain(3))
    assert [at for at in range(len(text)) if not check([text[:at] + byte + text[at:]]).faults] == []


@pytest.mark.parametrize("at", range(N_LINES - 1))
def test_a_line_that_was_removed_is_found_where_it_was(check: Check, at: int) -> None:
    lines = chain()
    assert fault(check([*lines[:at], *lines[at + 1 :]])) == f"log.jsonl:{at + 1}: line {at + 1} removed before it"


@pytest.mark.parametrize("at", range(N_LINES - 1))
def test_two_lines_that_were_swapped_are_found(check: Check, at: int) -> None:
    lines = chain()
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    report = check(lines)
    assert f"log.jsonl:{at + 2}: line {at + 1} after line {at + 2}: added, or moved from elsewhere" in [
        each.rpartition("/")[2] for each in report.faults
    ]


@pytest.mark.parametrize("at", range(1, N_LINES))
def test_a_line_that_was_added_with_a_hash_of_its_own_is_found(check: Check, at: int) -> None:
    lines = chain()
    false, _ = encode(Link(at, GENESIS), "now", {"event": "create", "path": "false"})
    assert fault(check([*lines[:at], false, *lines[at:]])).startswith(f"log.jsonl:{at + 1}: ")


def test_a_line_that_was_written_anew_with_a_hash_that_fits_it_is_found(check: Check) -> None:
    lines = chain()
    fifth = decode(lines[4][:-1])
    assert fifth is not None
    lines[5], _ = encode(fifth.link, "now", {"event": "create", "path": "false"})
    assert fault(check(lines)).startswith("log.jsonl:7: does not follow the line before it")


def test_an_end_that_was_cut_off_is_found_beside_an_anchor_and_only_there(check: Check) -> None:
    lines = chain()
    last = decode(lines[-1][:-1])
    assert last is not None
    anchor = Anchor(last.link, "the head")
    assert check(lines, anchor).faults == []
    assert check(lines[:-2]).faults == []
    assert check(lines[:-2], anchor).faults == ["cut off: the log ends with line 10; the head tells of line 12"]


def test_a_log_that_was_written_anew_from_the_beginning_does_not_fit_an_anchor(check: Check) -> None:
    first = decode(chain(1)[0][:-1])
    assert first is not None
    other, _ = encode(START, "now", {"event": "create", "path": "false"})
    assert "signed for" in fault(check([other], Anchor(first.link, "the head")))


def test_a_log_whose_beginning_is_elsewhere_must_be_said_to_be_so(check: Check) -> None:
    lines = chain()
    assert fault(check(lines[3:])) == "log.jsonl:1: lines 1 to 3 removed before it"
    assert check(lines[3:], begins_later=True).faults == []


def test_an_end_in_the_middle_of_a_line_is_found(check: Check) -> None:
    lines = chain()
    assert "in the middle of a line" in fault(check([*lines[:-1], lines[-1][:-1]]))
