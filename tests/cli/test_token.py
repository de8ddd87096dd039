"""`h2gate token`: the key is told once, and what the gateway is to have does not tell it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import Spawn


def made(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "h2gate", "token", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_key_that_was_made_lets_its_holder_in_on_any_address(tmp_path: Path, spawn: Spawn) -> None:
    done = made("scanner-7", "--rights", "storage.create:/in", "--expires", "2099-01-31")
    key = done.stderr.split()[-1]
    assert key not in done.stdout
    assert key.split("_", 2)[2] not in done.stdout
    (tmp_path / "auth.toml").write_text(done.stdout)
    process = spawn("--auth", str(tmp_path / "auth.toml"), listen="http://0.0.0.0:0")
    url = process.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - that others reach it is the point
    answer = httpx.put(f"{url}/files/in/a", content=b"x", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 201
    assert httpx.put(f"{url}/files/in/b", content=b"x").status_code == 401
    assert not any(key in line for line in process.lines)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("a_b", "--rights", "storage.read:/"), "letters, digits and hyphens"),
        (("a",), "--rights"),
        (("a", "--rights", "everything"), "'everything': not a right"),
        (("a", "--rights", "storage.read:/", "--expires", "soon"), "soon"),
    ],
)
def test_what_makes_no_key_is_told(arguments: tuple[str, ...], told: str) -> None:
    done = made(*arguments)
    assert done.returncode != 0
    assert told in done.stderr
    assert done.stdout == ""


def test_a_file_that_cannot_be_used_is_one_line_and_no_gateway(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "h2gate", "serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data")]
    (tmp_path / "auth.toml").write_text("[[keys]]\nid = 'a'\n")
    done = subprocess.run(
        [*command, "--auth", str(tmp_path / "auth.toml")], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].endswith("[keys 1] sha256: is missing")
