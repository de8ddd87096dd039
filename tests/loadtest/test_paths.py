"""What the kernel counted, a path without root that only delays, and a link's congestion control."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from loadtest import network
from loadtest.network import Counters
from loadtest.peers import LOOPBACK, Certificates, Peer
from loadtest.route import DelayRoute, Shape, open_route
from loadtest.wan import Link, LinkUnavailable, why_not

needs_link = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
ROOT = Path(__file__).parents[2]
DEV = """\
Inter-| Receive | Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 1000 10 0 0 0 0 0 0 1000 10 0 0 0 0 0 0
h2wan0: 5000 50 0 0 0 0 0 0 700 7 0 0 0 0 0 0
"""
SNMP = "Tcp: RtoAlgorithm ActiveOpens PassiveOpens\nTcp: 1 3 4\nUdp: InDatagrams\nUdp: 0\n"


def test_loopback_is_counted_once_and_a_link_both_ways(tmp_path: Path) -> None:
    (tmp_path / "dev").write_text(DEV)
    (tmp_path / "snmp").write_text(SNMP)
    assert network.read("lo", proc=tmp_path) == Counters(1000, 4)
    assert network.read("h2wan", proc=tmp_path).since(Counters(700, 1)) == Counters(5000, 3)


@needs_link
def test_a_run_of_its_own_counts_what_it_sent_and_nothing_else() -> None:
    script = """
import socket
from loadtest import network
assert network.enter_own() is None
before = network.read("lo")
with socket.create_server(("127.0.0.1", 0)) as server:
    for _ in range(3):
        with socket.create_connection(server.getsockname()) as near, server.accept()[0] as far:
            near.sendall(bytes(10_000))
            left = 10_000
            while left:
                left -= len(far.recv(left))
seen = network.read("lo").since(before)
print(seen.connections, 30_000 < seen.wire_bytes < 40_000)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, cwd=ROOT, check=True
    )
    assert done.stdout.split() == ["3", "True"]


def echoing(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def test_a_path_without_root_delays_each_way_and_loses_nothing() -> None:
    nothing = Path()
    with socket.create_server((LOOPBACK, 0)) as server, ExitStack() as stack:
        thread = threading.Thread(target=echoing, args=(server,), daemon=True)
        thread.start()
        ended = subprocess.Popen(["true"])
        ended.wait()
        peer = Peer("echo", LOOPBACK, server.getsockname()[1], nothing, ended, Certificates(nothing, nothing, nothing))
        route = DelayRoute(Shape(60, 400), 30, stack)
        reached = route.reach(peer)
        assert reached.port not in (peer.port, 0)
        assert route.reach(peer).port == reached.port
        with socket.create_connection((LOOPBACK, reached.port), timeout=20) as connection:
            began = time.monotonic()
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            assert 0.055 <= time.monotonic() - began < 5
            sent = bytes(range(256)) * 4000
            sender = threading.Thread(target=connection.sendall, args=(sent,), daemon=True)
            sender.start()
            got = bytearray()
            while len(got) < len(sent):
                got += connection.recv(65536)
            assert bytes(got) == sent
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
        thread.join(10)
        assert not thread.is_alive()


def test_a_path_with_loss_is_refused_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.route.why_not", lambda: "needs root")
    with (
        pytest.raises(LinkUnavailable, match="cannot lose packets"),
        open_route(Shape(10, 100, 1.0), counted=False, seconds=5),
    ):
        pass


@needs_link
def test_a_link_names_the_congestion_control_that_it_has() -> None:
    with Link(rtt_ms=1, mbit=100, congestion="reno") as link:
        assert link.congestion == "reno"
    with Link(rtt_ms=1, mbit=100, congestion="no-such-thing") as link:
        assert link.congestion == "reno"
    here = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    with Link(rtt_ms=1, mbit=100) as link:
        assert link.congestion == here
