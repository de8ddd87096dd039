"""`h2gate ticket` and `h2gate usage`, as a person runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from tests.conftest import Process, Spawn
from tests.front.policies import Policies


def h2gate(*arguments: str, token: str = "", status: int = 0) -> str:
    environment = {"H2GATE_TOKEN": token} if token else {}
    command = [sys.executable, "-m", "h2gate", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    found = Policies(tmp_path)
    found.key("maker", "storage.create:/", 'tenant = "lab"')
    found.tenant("lab", 'root = "labs/1"', "max_bytes = 1000")
    found.table("tickets", 'key = "tickets.key"', "max_seconds = 1000")
    return found


@pytest.fixture
def process(spawn: Spawn, policies: Policies) -> Process:
    return spawn("--auth", str(policies.file), listen="http://127.0.0.1:0")


def test_ticket_that_a_gateway_makes_is_good_until_it_is_revoked(process: Process, policies: Policies) -> None:
    where, token = f"{process.url}/files/labs/1/in/", policies.secret("maker")
    text, url = h2gate("ticket", "--name", "*.h5", "--max-files", "2", where, token=token).split()
    assert httpx.put(f"{where}a.h5", content=b"1", headers={"authorization": f"Bearer {text}"}).status_code == 201
    assert httpx.put(f"{where}a.txt", content=b"1", headers={"authorization": f"Bearer {text}"}).status_code == 403
    assert "2 files" not in httpx.get(url).text
    made = json.loads(h2gate("ticket", "--json", "--once", where, token=token))
    h2gate("ticket", "--revoke", made["id"], process.url, token=token)
    assert httpx.get(made["url"]).status_code == 401
    assert not any(text in line or token in line for line in process.lines)


def test_ticket_that_is_made_with_the_key_is_good_too(process: Process, policies: Policies) -> None:
    text, path = h2gate("ticket", "--auth", str(policies.file), "--tenant", "lab", "--max-bytes", "1K", "in").split()
    assert path.startswith("/files/labs/1/in/?ticket=")
    url = f"{process.url}/files/labs/1/in/a"
    assert httpx.put(url, content=b"1", headers={"authorization": f"Bearer {text}"}).status_code == 201
    assert httpx.get(urljoin(process.url, path)).status_code == 200


def test_ticket_that_nobody_can_make_is_told(process: Process, policies: Policies, tmp_path: Path) -> None:
    token = policies.secret("maker")
    assert "may not create" in h2gate("ticket", f"{process.url}/files/other/", token=token, status=7)
    assert "seconds" in h2gate("ticket", "--seconds", "9999", f"{process.url}/files/labs/1/", token=token, status=7)
    assert "no [tenants.x]" in h2gate("ticket", "--auth", str(policies.file), "--tenant", "x", "in", status=2)
    (tmp_path / "other.toml").write_text("")
    assert "[tickets] key" in h2gate("ticket", "--auth", str(tmp_path / "other.toml"), "in", status=2)


def test_usage_tells_what_was_stored_and_counts_anew_when_nobody_serves(process: Process, policies: Policies) -> None:
    where, token = f"{process.url}/files/labs/1/a", policies.secret("maker")
    assert httpx.put(where, content=bytes(300), headers={"authorization": f"Bearer {token}"}).status_code == 201
    (process.data / "files/labs/1/b").write_bytes(bytes(50))
    flags = ("usage", "--data", str(process.data), "--auth", str(policies.file))
    assert "lab  300 of 1,000 bytes, 1 files" in h2gate(*flags)
    assert "another gateway" in h2gate(*flags, "--recount", status=2)
    process.popen.terminate()
    process.wait()
    found = json.loads(h2gate(*flags, "--recount", "--json"))
    assert (found["tenant"], found["bytes"], found["files"], found["held_bytes"]) == ("lab", 350, 2, 0)
