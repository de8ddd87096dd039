"""The commands as a person or a script runs them: processes, against a real gateway."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve, Served

SECONDS = 60


class Shell:
    """Runs `h2gate …` in a folder of its own."""

    def __init__(self, folder: Path, served: Served) -> None:
        self.folder = folder
        self.served = served
        self.url = served.url + "/files/"
        self.environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def command(self, *args: str) -> list[str]:
        trusted = ["--ca", str(self.served.ca)] if args[0] in ("put", "get", "ls", "rm") else []
        return [sys.executable, "-m", "h2gate", args[0], *trusted, *args[1:]]

    def run(self, *args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.command(*args),
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )

    def json(self, *args: str) -> tuple[int, list[dict[str, Any]]]:
        done = self.run(args[0], "--json", *args[1:])
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def shell(serve: Serve, tmp_path: Path) -> Shell:
    folder = tmp_path / "here"
    folder.mkdir()
    return Shell(folder, serve())


def test_put_ls_get_and_rm_a_folder(shell: Shell) -> None:
    shell.write("photos/1.jpg", b"one")
    shell.write("photos/old/2.jpg", os.urandom(100_000))
    put = shell.run("put", "photos", shell.url)
    assert (put.returncode, put.stdout) == (0, b"")
    assert b"2 files, 100.0 kB" in put.stderr
    assert b"photos/" in shell.run("ls", shell.url).stdout
    assert shell.run("get", shell.url + "photos/", "back/").returncode == 0
    assert (shell.folder / "back/photos/old/2.jpg").read_bytes() == (shell.folder / "photos/old/2.jpg").read_bytes()
    assert shell.run("rm", "-r", shell.url + "photos/").returncode == 0
    assert shell.run("get", shell.url + "photos/1.jpg").returncode == 4


def test_json_has_an_object_for_each_file_and_a_summary(shell: Shell) -> None:
    shell.write("a", b"hello")
    code, (outcome, summary) = shell.json("put", "a", shell.url)
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert code == 0
    assert {name: outcome[name] for name in ("verb", "name", "url", "bytes", "sha256", "status")} == {
        "verb": "put",
        "name": "a",
        "url": shell.url + "a",
        "bytes": 5,
        "sha256": digest,
        "status": 201,
    }
    assert {name: summary[name] for name in ("summary", "done", "failed", "bytes")} == {
        "summary": True,
        "done": 1,
        "failed": 0,
        "bytes": 5,
    }
    code, (entry,) = shell.json("ls", shell.url)
    assert (code, entry["name"], entry["type"], entry["size"]) == (0, "a", "file", 5)


def test_standard_input_and_output(shell: Shell) -> None:
    content = os.urandom(2 << 20)
    assert shell.run("put", "-", shell.url + "piped", stdin=content).returncode == 0
    got = shell.run("get", shell.url + "piped", "-")
    assert (got.returncode, got.stdout) == (0, content)


def test_standard_input_from_a_file(shell: Shell) -> None:
    shell.write("a", b"content")
    with (shell.folder / "a").open("rb") as file:
        command = shell.command("put", "-", shell.url + "b")
        subprocess.run(command, stdin=file, cwd=shell.folder, env=shell.environment, timeout=SECONDS, check=True)
    assert shell.served.path("b").read_bytes() == b"content"


def test_one_file_missing_of_two_is_1_and_told(shell: Shell) -> None:
    shell.write("a", b"x")
    done = shell.run("put", "a", "nothing", shell.url)
    assert done.returncode == 1
    assert b"failed  nothing: nothing: No such file or directory" in done.stderr
    assert shell.served.path("a").exists()


@pytest.mark.parametrize(
    "args",
    [
        ("put", "a"),
        ("put", "a", "not-a-url"),
        ("put", "a", "b", "https://localhost/files/c"),
        ("get", "dir"),
        ("rm", "https://localhost/files/dir/"),
        ("put", "--streams", "0", "a", "https://localhost/"),
        ("serve", "--workers", "none"),
        ("nonsense",),
    ],
)
def test_usage_is_2_and_one_line_without_a_traceback(shell: Shell, args: tuple[str, ...]) -> None:
    done = shell.run(*args)
    assert done.returncode == 2
    assert done.stderr
    assert b"Traceback" not in done.stderr


def test_nothing_there_is_4(shell: Shell) -> None:
    assert shell.run("get", shell.url + "nothing").returncode == 4
    assert shell.run("ls", shell.url + "nothing").returncode == 4
    assert shell.run("rm", shell.url + "nothing").returncode == 4


def test_nobody_listening_is_5_and_says_where(shell: Shell) -> None:
    shell.write("a", b"x")
    done = shell.run("put", "a", "https://127.0.0.1:1/")
    assert done.returncode == 5
    assert b"127.0.0.1:1" in done.stderr
    assert b"Traceback" not in done.stderr


def test_refused_is_7(serve: Serve, tmp_path: Path) -> None:
    shell = Shell(tmp_path, serve(max_body=10))
    shell.write("a", bytes(100))
    code, (outcome, _) = shell.json("put", "a", shell.url)
    assert code == 7
    assert (outcome["error"]["code"], outcome["error"]["status"]) == ("too_large", 413)


def test_ca_in_certs_of_the_current_folder_is_found(shell: Shell) -> None:
    shell.write("a", b"x")
    command = [sys.executable, "-m", "h2gate", "put", "a", shell.url]
    assert subprocess.run(command, cwd=shell.folder, env=shell.environment, check=False).returncode == 1
    shell.write("certs/ca.pem", shell.served.ca.read_bytes())
    assert subprocess.run(command, cwd=shell.folder, env=shell.environment, check=False).returncode == 0


def test_insecure_works_and_is_loud(shell: Shell) -> None:
    shell.write("a", b"x")
    command = [sys.executable, "-m", "h2gate", "put", "--insecure", "a", shell.url]
    done = subprocess.run(command, cwd=shell.folder, env=shell.environment, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"--insecure" in done.stderr


def test_quiet_says_nothing(shell: Shell) -> None:
    shell.write("a", b"x")
    done = shell.run("put", "-q", "a", shell.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("http", ["1.1", "2"])
def test_http_version_can_be_chosen(shell: Shell, http: str) -> None:
    shell.write("a", bytes(100_000))
    assert shell.run("put", "--http", http, "a", shell.url).returncode == 0
    assert shell.run("put", "--http", http, "a", shell.served.plain_url + "/files/b").returncode == 0


def test_interrupt_is_130_at_once_and_leaves_nothing_behind(shell: Shell) -> None:
    command = shell.command("put", "-", shell.url + "a")
    with subprocess.Popen(
        command, cwd=shell.folder, env=shell.environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(bytes(4 << 20))  # more than a pipe holds: it returns when the upload runs
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    assert not shell.served.path("a").exists()


def test_certs_are_made_where_told(shell: Shell) -> None:
    done = shell.run("certs", "made")
    assert done.returncode == 0
    assert {path.name for path in (shell.folder / "made").iterdir()} == {"ca.pem", "cert.pem", "key.pem"}


def test_help_teaches_with_examples(shell: Shell) -> None:
    for command in ("put", "get", "ls", "rm", "serve"):
        done = shell.run(command, "--help")
        assert done.returncode == 0
        assert f"h2gate {command} ".encode() in done.stdout


def test_demo_sends_a_tree_and_cleans_up(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "h2gate", "demo", "--scale", "0.02"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"1,033 of 1,033 files came back" in done.stderr
    assert not list(tmp_path.iterdir())


def test_client_begins_without_the_command_line_of_httpx() -> None:
    script = """
import sys
from h2gate import cli
sys.argv = ["h2gate", "ls", "https://localhost:1/"]
try:
    cli.main()
except SystemExit as end:
    print(end.code, "httpx" in sys.modules, "pygments" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=SECONDS, check=True)
    assert done.stdout.split() == [b"5", b"True", b"False"]
