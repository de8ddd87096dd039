"""What put and get are told to leave out, how they tell it, and the commands that look on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from h2gate.client.journal import Journal
from h2gate.client.transport import tls_context
from tests.cli.test_commands import Shell
from tests.conftest import Serve

SECONDS = 60


@pytest.fixture
def shell(serve: Serve, tmp_path: Path) -> Shell:
    folder = tmp_path / "here"
    folder.mkdir()
    return Shell(folder, serve())


def test_what_is_there_is_counted_and_told_as_json(shell: Shell) -> None:
    for number in range(30):
        shell.write(f"photos/{number:02}", b"x")
    assert shell.run("put", "photos", shell.url).returncode == 0
    shell.write("photos/new", b"new")
    again = shell.run("put", "photos", shell.url)
    assert again.returncode == 0
    assert b"1 file, 3 bytes" in again.stderr
    assert b", 30 were there already" in again.stderr
    assert b"photos/00" not in again.stderr
    code, lines = shell.json("put", "photos", shell.url)
    assert code == 0
    assert lines[0].keys() == {"verb", "name", "url", "skipped"}
    assert {line["skipped"] for line in lines[:-1]} == {"is there already"}
    assert (lines[-1]["done"], lines[-1]["there"], lines[-1]["failed"]) == (0, 31, 0)
    code, lines = shell.json("put", "--ignore-times", "photos", shell.url)
    assert (code, lines[-1]["done"], lines[-1]["there"]) == (0, 31, 0)


def test_dry_run_says_what_would_go_and_what_is_there(shell: Shell) -> None:
    shell.write("photos/a", b"abc")
    assert shell.run("put", "photos", shell.url).returncode == 0
    shell.write("photos/b", b"abcd")
    done = shell.run("put", "-n", "photos", shell.url)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (0, b"")
    assert "would put photos/b  4 bytes\n" in said
    assert "there already photos/a\n" in said
    assert "would put 1 file, 4 bytes, 1 was there already\n" in said
    assert not shell.served.path("photos/b").exists()
    code, lines = shell.json("put", "--dry-run", "photos", shell.url)
    would = {"verb": "put", "name": "photos/b", "url": shell.url + "photos/b", "bytes": 4, "dry_run": True}
    there = {"verb": "put", "name": "photos/a", "url": shell.url + "photos/a", "skipped": "is there already"}
    assert code == 0
    assert sorted(lines[:2], key=lambda line: str(line["name"])) == [there, would]
    assert (lines[2]["would"], lines[2]["done"]) == (1, 0)


def test_patterns_links_and_rate_reach_put_and_get(shell: Shell) -> None:
    for name in ("a.jpg", "b.txt", "tmp/c.jpg"):
        shell.write(f"photos/{name}", b"x")
    (shell.folder / "photos/link.jpg").symlink_to("a.jpg")
    options = ["--include", "*.jpg", "--exclude", "tmp/", "--links", "follow", "--limit-rate", "10M"]
    assert shell.run("put", *options, "photos", shell.url).returncode == 0
    assert {path.name for path in shell.served.path("photos").iterdir()} == {"a.jpg", "link.jpg"}
    got = shell.run("get", "--exclude", "a.*", "--limit-rate", "10M", shell.url + "photos/", "back/")
    assert got.returncode == 0
    assert [path.name for path in (shell.folder / "back/photos").iterdir()] == ["link.jpg"]


@pytest.mark.parametrize(
    "options",
    [
        ("--checksum", "--ignore-times"),
        ("--include", "!"),
        ("--exclude", "a\\"),
        ("--limit-rate", "fast"),
        ("--limit-rate", "0"),
        ("--limit-rate", "-1"),
        ("--links", "keep"),
    ],
)
def test_wrong_choice_is_2_and_one_clear_word(shell: Shell, options: tuple[str, str]) -> None:
    shell.write("a", b"x")
    done = shell.run("put", *options, "a", shell.url)
    assert done.returncode == 2
    assert options[0].encode() in done.stderr
    assert b"Traceback" not in done.stderr


def test_status_shows_uploads_of_the_gateway(shell: Shell) -> None:
    command = shell.command("status", "--ca", str(shell.served.ca), shell.url)

    def status(*more: str) -> str:
        done = subprocess.run(
            [*command, *more], env=shell.environment, capture_output=True, timeout=SECONDS, check=True
        )
        return done.stdout.decode()

    assert status() == "no uploads\n"
    with httpx.Client(verify=tls_context(ca_files=(str(shell.served.ca),))) as client:
        fields = {"upload-complete": "?0", "upload-draft-interop-version": "8", "upload-length": "2000000"}
        assert client.put(shell.url + "half", content=bytes(1_000_000), headers=fields).status_code == 201
    head, line = status().splitlines()
    assert head.split() == ["state", "offset", "of", "changed", "expires", "path"]
    assert line.split()[:5] == ["receiving", "1.0", "MB", "2.0", "MB"]
    assert line.endswith("/files/half")
    (told,) = map(json.loads, status("--json").splitlines())
    assert (told["path"], told["offset"], told["complete"]) == ("/files/half", 1_000_000, False)


def test_status_without_url_shows_what_the_journal_remembers(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "XDG_STATE_HOME": str(tmp_path)}

    def status(*more: str) -> str:
        command = [sys.executable, "-m", "h2gate", "status", *more]
        return subprocess.run(
            command, env=environment, capture_output=True, timeout=SECONDS, check=True
        ).stdout.decode()

    assert status() == "nothing is unfinished here\n"
    claim = Journal(tmp_path / "h2gate").claim("put", "https://h/files/a", tmp_path / "a")
    assert claim is not None
    entry: dict[str, Any] = {"upload": "https://h/uploads/1", "url": "https://h/files/a", "path": "a\x1b[2J"}
    claim.write({**entry, "started": 1_700_000_000.5, "expires": 4_000_000_000.5})
    claim.release()
    head, line = status().splitlines()
    assert head.split() == ["verb", "begun", "expires", "file", "url"]
    assert line.split() == ["put", "2023-11-14T22:13:20Z", "2096-10-02T07:06:40Z", "a�[2J", "https://h/files/a"]
    (told,) = map(json.loads, status("--json").splitlines())
    assert (told["verb"], told["upload"]) == ("put", "https://h/uploads/1")


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_is_printed(shell: Shell, name: str) -> None:
    done = shell.run("completion", name)
    assert done.returncode == 0
    assert b"_H2GATE_COMPLETE" in done.stdout


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pu"], {"put"}),
        (["put", "--li"], {"--links", "--limit-rate"}),
        (["put", "--links", "f"], {"follow"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
    ],
)
def test_bash_completes(shell: Shell, words: list[str], expected: set[str]) -> None:
    program = shell.folder / "bin/h2gate"
    shell.write("bin/h2gate", f'#!/bin/sh\nexec {sys.executable} -m h2gate "$@"\n'.encode())
    program.chmod(0o755)
    environment = {**shell.environment, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    typed = " ".join(f"'{word}'" for word in ["h2gate", *words])
    script = (
        f"source <(h2gate completion bash); COMP_WORDS=({typed}); COMP_CWORD={len(words)}; "
        'complete -p h2gate >/dev/null && _h2gate_completion h2gate; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, timeout=SECONDS, check=False)
    assert set(done.stdout.decode().split()) == expected, done.stderr.decode()


@pytest.mark.skipif(not shutil.which("script"), reason="needs script, for a terminal")
def test_terminal_shows_rate_time_left_streams_and_connections(shell: Shell) -> None:
    shell.write("a", os.urandom(1_500_000))
    command = " ".join(shell.command("put", "--limit-rate", "1M", "a", shell.url))
    environment = {**shell.environment, "COLUMNS": "160", "TERM": "xterm"}
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        cwd=shell.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    assert "1 stream, 1 connection" in said
    assert "MB/s" in said
    assert "0/1 files" in said
    assert "1 file, 1.5 MB" in said
