"""Where the gateway listens, what it speaks there, and when it refuses to."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Serve, Spawn
from tests.server.conftest import Connect

DEADLINE = 30


def serve_command(*flags: str, data: Path) -> subprocess.CompletedProcess[str]:
    """`h2gate serve` where it is to end by itself."""
    command = [sys.executable, "-m", "h2gate", "serve", "--data", str(data), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


def expect_refusal(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, "one line that tells what to do"


def test_port_0_becomes_a_free_port_that_is_told(spawn: Spawn, connect: Connect, tmp_path: Path) -> None:
    first, second = spawn(), spawn(data=tmp_path / "other")
    assert first.url != second.url
    assert not first.url.endswith(":0")
    for each in (first, second):
        assert connect(each).get("/healthz").status == 200


def test_cleartext_speaks_http1_and_http2_with_prior_knowledge(spawn: Spawn, connect: Connect) -> None:
    process = spawn(listen="http://127.0.0.1:0")
    assert process.url.startswith("http://")
    assert connect(process).put("/files/a", b"hello").status == 201
    client = connect(process, http1=True)
    client.sock.sendall(b"GET /files/a HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    assert client.sock.makefile("rb").read().endswith(b"hello")


@pytest.mark.skipif(not shutil.which("curl"), reason="NOT TESTED: no curl")
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge", "--http2", "--http1.0"])
def test_curl_is_served_in_cleartext(serve: Serve, version: str, tmp_path: Path) -> None:
    served = serve()
    (tmp_path / "body").write_bytes(os.urandom(3_000_000))
    command = ["curl", "-sS", version, "-T", str(tmp_path / "body"), f"{served.plain_url}/files/a"]
    subprocess.run([*command, "-f"], check=True, timeout=DEADLINE)
    assert served.path("a").read_bytes() == (tmp_path / "body").read_bytes()


def test_the_preface_may_come_byte_by_byte(serve: Serve, connect: Connect) -> None:
    served = serve()
    client = connect(served, cleartext=True, http1=True)
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":
        client.sock.sendall(bytes([byte]))
    client.sock.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
    assert client.sock.recv(9)[3] == 4, "its SETTINGS"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_gateway_on_the_same_data_folder_is_refused(spawn: Spawn, connect: Connect, workers: str) -> None:
    process = spawn("--workers", workers)
    done = serve_command("--listen", "127.0.0.1:0", "--certs", str(process.data.parent / "c"), data=process.data)
    expect_refusal(done, "another gateway is using this folder")
    assert connect(process).put("/files/a", b"hello").status == 201


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_refused(spawn: Spawn, workers: str, tmp_path: Path) -> None:
    process = spawn("--workers", workers)
    taken = process.urls[0].removeprefix("https://")
    expect_refusal(serve_command("--listen", taken, "--workers", workers, data=tmp_path / "other"), "in use")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_certificate_that_is_none_is_refused(workers: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")
    flags = ["--listen", "127.0.0.1:0", "--workers", workers, "--cert", str(broken), "--key", str(broken)]
    expect_refusal(serve_command(*flags, data=tmp_path / "data"), f"--cert {broken}")


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])  # noqa: S104 - that it is refused is the point
def test_an_address_that_others_reach_is_refused_without_anonymous(host: str, tmp_path: Path) -> None:
    expect_refusal(serve_command("--listen", f"{host}:0", data=tmp_path / "data"), "--anonymous")
    assert not (tmp_path / "data").exists()


def test_an_address_that_others_reach_is_served_with_anonymous(spawn: Spawn, connect: Connect) -> None:
    process = spawn("--anonymous", listen="0.0.0.0:0")
    process.urls = [process.urls[0].replace("0.0.0.0", "localhost")]  # noqa: S104 - see above
    assert connect(process).get("/healthz").status == 200


@pytest.mark.skipif(not socket.has_ipv6, reason="NOT TESTED: no IPv6")
def test_ipv6_loopback_is_served(spawn: Spawn, connect: Connect) -> None:
    process = spawn(listen="[::1]:0")
    assert process.urls[0].startswith("https://[::1]:")
    assert connect(process).get("/healthz").status == 200
