"""SIGHUP: a new certificate for new connections, while what is in flight goes on over the old one."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from cryptography.x509 import load_pem_x509_certificate

from h2gate.server.certificates import Certificates, ensure
from tests.conftest import Process, Spawn
from tests.server.conftest import Connect
from tests.server.raw import RawClient, eventually
from tests.server.test_workers import workers_of

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])
PIECE = bytes(1 << 19)


class Renewed:
    """A certificate in files of its own, and the next one by the same authority."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.files = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
        self.authority.cert_pem.write_to_path(self.files.ca)
        self.renew()

    def renew(self) -> None:
        leaf = self.authority.issue_cert("localhost", "127.0.0.1")
        leaf.cert_chain_pems[0].write_to_path(self.files.cert)
        leaf.private_key_pem.write_to_path(self.files.key)


@pytest.fixture
def renewed(tmp_path: Path) -> Renewed:
    return Renewed(tmp_path)


@pytest.fixture
def certificates(renewed: Renewed) -> Certificates:
    """What `spawn` serves with."""
    return renewed.files


def serial(client: RawClient) -> str:
    assert isinstance(client.sock, ssl.SSLSocket)
    shown = client.sock.getpeercert()
    assert shown is not None
    return str(shown["serialNumber"])


def n_lines(process: Process, text: str) -> int:
    return sum(text in line for line in process.lines)


def reload(process: Process, workers: str, text: str = "certificate reloaded") -> None:
    """Ask for it, and wait until every worker has told what became of it."""
    before = n_lines(process, text)
    process.signal(signal.SIGHUP)
    eventually(lambda: n_lines(process, text) == before + int(workers), text)


@WORKERS
@pytest.mark.parametrize("http1", [False, True], ids=["http2", "http1"])
def test_an_upload_in_flight_ends_over_the_old_certificate_and_new_connections_are_shown_the_new_one(
    spawn: Spawn, connect: Connect, renewed: Renewed, workers: str, http1: bool
) -> None:
    process = spawn("--workers", workers)
    client = connect(process, http1=http1)
    old = serial(client)
    length = str(2 * len(PIECE))
    upload = 1
    if http1:
        client.sock.sendall(f"PUT /files/a HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n".encode() + PIECE)
    else:
        upload = client.open("PUT", "/files/a", ("content-length", length))
        client.push(upload, PIECE, end=False)
    renewed.renew()
    reload(process, workers)
    for _ in range(8):
        later = connect(process)
        assert serial(later) != old
        assert later.get("/healthz").status == 200
    if http1:
        client.sock.sendall(PIECE)
        assert client.sock.recv(1000).startswith(b"HTTP/1.1 201")
    else:
        client.push(upload, PIECE)
        assert client.answer(upload).status == 201
    assert (process.data / "files" / "a").stat().st_size == 2 * len(PIECE)


@WORKERS
def test_a_certificate_that_cannot_be_used_is_told_in_a_line_and_the_old_one_stays(
    spawn: Spawn, connect: Connect, renewed: Renewed, workers: str
) -> None:
    process = spawn("--workers", workers)
    old = serial(connect(process))
    key = renewed.files.key.read_bytes()
    n_told = len(process.lines)
    for broken in (b"not a key", trustme.CA().issue_cert("localhost").private_key_pem.bytes()):
        renewed.files.key.write_bytes(broken)
        reload(process, workers, "the old certificate stays")
    renewed.files.key.unlink()
    reload(process, workers, "the old certificate stays")
    assert len(process.lines) - n_told == 3 * int(workers), "one line each"
    assert {serial(connect(process)) for _ in range(8)} == {old}
    renewed.renew()
    assert renewed.files.key.read_bytes() != key
    reload(process, workers)
    assert old not in {serial(connect(process)) for _ in range(8)}


def test_a_worker_that_is_started_anew_has_the_new_certificate_too(
    spawn: Spawn, connect: Connect, renewed: Renewed
) -> None:
    process = spawn("--workers", "2")
    old, before = serial(connect(process)), set(workers_of(process))
    renewed.renew()
    reload(process, "2")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(set(workers_of(process)) - before) == 2, "both are new")

    def shown() -> str:
        try:
            return serial(connect(process))
        except OSError:
            return ""  # nobody listens yet

    eventually(lambda: shown() not in ("", old), "they serve")


def test_a_reload_while_workers_start_ends_none_of_them(spawn: Spawn, connect: Connect, renewed: Renewed) -> None:
    process = spawn("--workers", "2")
    old, before = serial(connect(process)), set(workers_of(process))
    renewed.renew()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: bool(set(workers_of(process)) - before), "one is starting")
    for _ in range(5):
        process.signal(signal.SIGHUP)
    eventually(lambda: len(set(workers_of(process)) - before) == 2, "both are starting")
    started = set(workers_of(process))
    eventually(lambda: n_lines(process, "certificate reloaded") >= 1, "what came early was not lost")
    eventually(lambda: serial_or_none(connect, process) not in (None, old), "they serve")
    assert set(workers_of(process)) == started, "none was ended by it"
    assert n_lines(process, "ended with") == 2


def serial_or_none(connect: Connect, process: Process) -> str | None:
    try:
        return serial(connect(process))
    except OSError:
        return None


def test_a_reload_without_tls_does_nothing(spawn: Spawn, connect: Connect) -> None:
    process = spawn(listen="http://127.0.0.1:0")
    reload(process, "1", "nothing to reload")
    assert connect(process).get("/healthz").status == 200


def test_development_certificates_are_read_anew_as_well(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    command = [sys.executable, "-m", "h2gate", "serve", "--listen", "127.0.0.1:0"]
    command += ["--data", str(tmp_path / "data"), "--certs", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as popen:
        try:
            assert popen.stderr is not None
            ready = next(line for line in popen.stderr if line.startswith("h2gate ready on "))
            url = ready.split()[-1].replace("127.0.0.1", "localhost")
            with RawClient(url, folder / "ca.pem") as client:
                old = serial(client)
            for each in folder.iterdir():
                each.unlink()
            made = ensure(folder)
            popen.send_signal(signal.SIGHUP)
            assert any("certificate reloaded" in line for line in popen.stderr)
            with RawClient(url, made.ca) as client:
                assert serial(client) != old
        finally:
            popen.kill()


def test_a_reload_that_is_asked_for_twice_ends_with_the_last_one(
    connect: Connect, spawn: Spawn, renewed: Renewed
) -> None:
    process = spawn()
    old = serial(connect(process))
    for _ in range(3):
        renewed.renew()
        process.signal(signal.SIGHUP)
    newest = load_pem_x509_certificate(renewed.files.cert.read_bytes()).serial_number
    eventually(lambda: int(serial(connect(process)), 16) == newest, "the last one is shown")
    assert newest != int(old, 16)
