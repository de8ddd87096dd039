"""`h2gate audit`: what it says of a log, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from h2gate.audit.chain import Link
from h2gate.audit.file import LogFile
from h2gate.audit.listing import shown
from h2gate.audit.log import HEAD
from h2gate.audit.signing import signer
from h2gate.cli import cli

MEMBERS: list[dict[str, Any]] = [
    {"event": "create", "who": "ann", "path": "in/a", "size": 3, "status": 201},
    {"event": "create", "who": "bob", "path": "in/b\x1b[2J", "size": 5, "status": 201},
    {"event": "deny", "who": "bob", "path": "/files/other", "status": 403, "code": "forbidden"},
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with its head."""
    path, sign = tmp_path / "audit.jsonl", signer(tmp_path / "receipt.key").sign

    def head(link: Link, time: str) -> str:
        return sign(HEAD, {"seq": link.seq, "hash": link.hash, "time": time})

    file = LogFile(path, max_bytes=1 << 20, durable=False, write_head=head)
    file.append(MEMBERS)
    file.close()
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["audit", *map(str, arguments)], standalone_mode=False)
    assert result.exception is None or not isinstance(result.exception, SystemExit), result.output
    if result.exception is not None:
        raise result.exception
    return int(result.return_value), result.output


def test_a_log_that_is_as_it_was_written_is_exit_code_0(log: Path) -> None:
    code, output = run("verify", log.parent)
    assert code == 0
    assert output.startswith("3 lines, the last is 3 ")


def test_a_changed_byte_is_named_and_exit_code_1(log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b'"bob"', b'"bop"', 1))
    assert run("verify", "-q", log) == (1, f"{log}:2: changed: its hash is another\n")


def test_an_end_that_was_cut_off_is_named_beside_the_head(log: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-1]))
    head, key = f"{log}.head", log.with_name("receipt.pub")
    assert run("verify", log)[0] == 0
    code, output = run("verify", "-q", log, "--head", head, "--key", key)
    assert (code, output) == (1, f"cut off: the log ends with line 2; {head} tells of line 3\n")


def test_a_head_that_somebody_else_signed_is_refused(log: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    signer(other)
    code, output = run("verify", "-q", log, "--head", f"{log}.head", "--key", other)
    assert code == 1
    assert "the signature is not good" in output


def test_lines_are_listed_by_who_path_and_time(log: Path) -> None:
    def listed(*arguments: str) -> list[str]:
        return [json.loads(line)["path"] for line in run("list", "--json", log, *arguments)[1].splitlines()]

    assert listed() == [each["path"] for each in MEMBERS]
    assert listed("--who", "bob") == ["in/b\x1b[2J", "/files/other"]
    assert listed("--path", "in/") == ["in/a", "in/b\x1b[2J"]
    assert listed("--path", "in/a") == ["in/a"]
    assert listed("--since", "2999-01-01") == []


def test_a_listing_for_people_obeys_no_name(log: Path) -> None:
    _, output = run("list", log)
    assert "\x1b" not in output
    assert "ann  in/a" in output


def test_lines_as_they_are_tell_a_terminal_nothing_either() -> None:
    members = {"path": "in/\x1b[2J\x7f\x9b2J\u2028\u202e\xfc\U000e0001"}
    text = shown(members, as_json=True)
    assert (text.isprintable(), "\xfc" in text, json.loads(text)) == (True, True, members)
