"""docs/examples/forward-auth as it stands: its own server, h2gate that asks it, and nginx that asks it first."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from h2gate.server.certificates import Certificates
from loadtest.peers import free_port
from tests.conftest import Process, Spawn
from tests.front.conftest import wait_until

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "forward-auth"
SECONDS = 30
ALICE, BOB, MALLORY = ("alice", "wonder"), ("bob", "builder"), ("mallory", "x")


@dataclass
class AuthServer:
    url: str
    process: subprocess.Popen[str]


@contextmanager
def auth_server(port: int = 0) -> Iterator[AuthServer]:
    env = {**os.environ, "USERS": "alice:wonder bob:builder mallory:x", "BLOCKED": "mallory"}
    command = [sys.executable, str(EXAMPLE / "auth_server.py"), str(port)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.match(r"ready on (\S+)", process.stdout.readline())
            assert found
            yield AuthServer(found[1], process)
        finally:
            process.kill()


@pytest.fixture
def server() -> Iterator[AuthServer]:
    with auth_server() as found:
        yield found


@pytest.fixture
def gateway(tmp_path: Path, server: AuthServer, spawn: Spawn) -> Process:
    text = (EXAMPLE / "auth.toml").read_text()
    assert "http://127.0.0.1:9000/auth" in text
    (tmp_path / "auth.toml").write_text(text.replace("http://127.0.0.1:9000/auth", server.url))
    return spawn("--auth", str(tmp_path / "auth.toml"), "--listen", "http://127.0.0.1:0")


@pytest.fixture
def nginx_url(tmp_path: Path, gateway: Process, server: AuthServer, certificates: Certificates) -> Iterator[str]:
    command = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if command is None:
        pytest.skip("there is no nginx: install Debian's package nginx")
    port = free_port("127.0.0.1")
    plain = gateway.urls[1].removeprefix("http://")
    text = (EXAMPLE / "nginx.conf").read_text()
    for here, there in {
        "127.0.0.1:8444": f"127.0.0.1:{port}",
        "server 127.0.0.1:8080": f"server {plain}",
        "http://127.0.0.1:9000/auth": server.url,
        "certs/cert.pem": str(certificates.cert),
        "certs/key.pem": str(certificates.key),
    }.items():
        assert here in text
        text = text.replace(here, there)
    (tmp_path / "nginx.conf").write_text(text)
    (tmp_path / "temp").mkdir()
    as_root = ["-g", "user root;"] if os.geteuid() == 0 else []
    with subprocess.Popen([command, "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr", *as_root]) as process:
        try:
            url = f"https://localhost:{port}"
            wait_until(lambda: answers(url), "nginx answers")
            yield url
        finally:
            process.terminate()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, verify=False).status_code == 401  # noqa: S501
    except httpx.TransportError:
        return False


@pytest.fixture(params=["h2gate", "nginx"])
def url(request: pytest.FixtureRequest, gateway: Process) -> str:
    found: str = request.getfixturevalue("nginx_url") if request.param == "nginx" else gateway.url
    return found


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, verify=False, timeout=SECONDS) as client:  # noqa: S501
        yield client


def test_whoever_is_known_has_a_folder_and_nobody_elses(client: httpx.Client, gateway: Process) -> None:
    content = os.urandom(3 << 20)
    assert client.put("/files/alice/a", content=content, auth=ALICE).status_code == 201
    assert (gateway.data / "files/alice/a").read_bytes() == content
    assert client.get("/files/alice/a", auth=ALICE).content == content
    assert client.get("/files/alice/a", auth=BOB).status_code == 404
    assert client.put("/files/alice/b", content=content, auth=BOB).status_code == 403
    assert client.delete("/files/alice/a", auth=BOB).status_code == 404
    assert client.delete("/files/alice/a", auth=ALICE).status_code == 204


@pytest.mark.parametrize("auth", [("alice", "wrong"), ("nobody", "x"), None])
def test_whoever_is_not_known_is_told_how_to_ask(client: httpx.Client, gateway: Process, auth: object) -> None:
    answer = client.put("/files/alice/a", content=b"x" * (1 << 20), auth=auth)  # type: ignore[arg-type]
    assert answer.status_code == 401
    if auth is not None:
        assert answer.headers["www-authenticate"] == 'Basic realm="files"'
    assert "www-authenticate" in answer.headers
    assert not (gateway.data / "files/alice").exists()


def test_whoever_is_known_and_blocked_is_refused(client: httpx.Client) -> None:
    assert client.put("/files/mallory/a", content=b"x", auth=MALLORY).status_code == 403


def test_while_the_server_is_gone_nobody_passes_and_afterwards_they_do(
    client: httpx.Client, server: AuthServer, url: str
) -> None:
    assert client.put("/files/alice/a", content=b"x", auth=ALICE).status_code == 201
    server.process.kill()
    server.process.wait(SECONDS)
    for _ in range(5):
        assert client.put("/files/bob/a", content=b"x", auth=BOB).status_code in (500, 503)
    with auth_server(int(server.url.rpartition(":")[2].partition("/")[0])):
        wait_until(lambda: client.put("/files/bob/b", content=b"x", auth=BOB).status_code == 201, "bob passes again")
