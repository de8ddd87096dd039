"""The servers that are compared come up, take files, and leave nothing behind."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from loadtest import processes
from loadtest.clients import curl_put
from loadtest.peers import LOOPBACK, PeerFailed, PeerMissing, catalogue, make_certificates, nginx
from loadtest.peers.catalogue import KINDS
from loadtest.workloads import BytesLost, make_source, verify

needs_nginx = pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None, reason="nginx is not installed"
)
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@needs_curl
@pytest.mark.parametrize("key", [kind.key for kind in KINDS])
def test_peer_takes_a_file_over_each_protocol_and_is_gone_afterwards(tmp_path: Path, key: str) -> None:
    source = make_source(tmp_path / "source", (1 << 20) + 1)
    kind, certificates = catalogue.kind(key), make_certificates(tmp_path)
    try:
        with kind.start(tmp_path, certificates, host=LOOPBACK) as peer:
            family = processes.tree(peer.process.pid)
            peer.make_folder("folder")
            for http in kind.protocols:
                curl_put(peer, source.path, f"folder/taken-{http}", http)
                verify(peer, f"folder/taken-{http}", source)
            assert peer.peak_bytes() > 1 << 20
    except PeerMissing as missing:
        pytest.skip(f"NOT TESTED: {missing}")
    processes.wait_until(
        lambda: not any(processes.read_stat(stat.pid) for stat in family), "all of its processes are gone", seconds=5
    )
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((peer.host, peer.port), timeout=5).close()


def test_every_peer_states_its_durability_and_has_a_key_of_its_own() -> None:
    assert len({kind.key for kind in KINDS}) == len(KINDS)
    assert all("fsync" in kind.durability for kind in KINDS)


def test_a_peer_that_is_not_installed_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    certificates = make_certificates(tmp_path)
    with (
        pytest.raises(PeerMissing, match="apache2-bin"),
        catalogue.kind("apache").start(tmp_path, certificates, host=LOOPBACK),
    ):
        pass
    assert catalogue.kind("apache").version() == "not installed"


@needs_nginx
@needs_curl
def test_a_stored_file_that_lost_a_byte_is_noticed(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source", 100_000)
    with nginx(tmp_path, make_certificates(tmp_path)) as peer:
        curl_put(peer, source.path, "cut", "2")
        with peer.stored("cut").open("r+b") as file:
            file.truncate(99_999)
        with pytest.raises(BytesLost, match="other bytes"):
            verify(peer, "cut", source)
        with pytest.raises(BytesLost, match="has not stored"):
            verify(peer, "never-sent", source)


@needs_nginx
def test_a_server_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    certificates.key.unlink()
    with pytest.raises(PeerFailed, match=r"key\.pem"), nginx(tmp_path, certificates):
        pass


def test_a_child_that_ended_still_counts_as_its_parents_cost() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    script = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\nprint(flush=True)\ninput()"
    with subprocess.Popen(["python3", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            parent.stdout.readline()
            assert processes.cpu_seconds(parent.pid) >= 0.19
        finally:
            processes.end(parent)
