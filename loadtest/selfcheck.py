"""Whether a wide-area link does what it was asked to: its round trip, and its rate or (where it has any) its loss.

The rate is TCP's from the far host to the near one, past its slow start, with the headers counted in. On a lossy link
TCP's rate says more of the congestion control than of the link, so datagrams are counted instead.
"""

from __future__ import annotations

import socket
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest.processes import end
from loadtest.wan import Link

HEADERS = 52
"""Of each packet: IPv4, TCP, and TCP's timestamps."""
DATAGRAMS = 20_000
LIMIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One measure beside what was asked for. `slack` is the error that the measuring itself may have, in `unit`."""

    what: str
    asked: float
    measured: float
    unit: str
    slack: float

    def within(self, tolerance: float) -> bool:
        return abs(self.measured - self.asked) <= max(self.asked * tolerance, self.slack)

    def __str__(self) -> str:
        off = (self.measured / self.asked - 1) * 100
        return f"{self.what}: asked {self.asked:g} {self.unit}, measured {self.measured:.4g} {self.unit} ({off:+.1f} %)"


def check(link: Link) -> list[Finding]:
    """Measure the link, which must be idle. Takes a few seconds; raises `TimeoutError` when nothing comes through."""
    findings = [Finding("round trip", link.rtt_ms, measure_rtt_ms(link), "ms", 0.5)]
    if link.loss_percent:
        deviation = (DATAGRAMS * link.loss_percent * (100 - link.loss_percent)) ** 0.5 / DATAGRAMS
        findings.append(Finding("loss", link.loss_percent, measure_loss_percent(link), "%", 3 * deviation))
    else:
        findings.append(Finding("rate", link.mbit, measure_mbit(link), "Mbit/s", 0.0))
    return findings


def measure_rtt_ms(link: Link, exchanges: int = 15) -> float:
    """Median over single bytes there and back."""
    times = []
    with _far_connection(link, "echo") as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(exchanges):
            started = time.perf_counter()
            connection.sendall(b"x")
            connection.recv(1)
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def measure_mbit(link: Link) -> float:
    """What arrives in two seconds, after slow start has had time."""
    warm = 1.0 + 20 * link.rtt_ms / 1000
    buffer = bytearray(1 << 20)
    with _far_connection(link, "flood") as connection:
        _receive(connection, buffer, time.perf_counter() + warm)
        started = time.perf_counter()
        received = _receive(connection, buffer, started + 2.0)
        seconds = time.perf_counter() - started
    return received / seconds / 125_000 * link.mtu / (link.mtu - HEADERS)


def _receive(connection: socket.socket, buffer: bytearray, until: float) -> int:
    received = 0
    while time.perf_counter() < until:
        received += connection.recv_into(buffer)
    return received


def measure_loss_percent(link: Link) -> float:
    """Datagrams that did not arrive, of many small ones."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        receiver.bind((link.near_address, 0))
        receiver.settimeout(LIMIT_SECONDS)
        sender = link.popen_far(_role("rain", receiver.getsockname(), str(DATAGRAMS)))
        arrived = 0
        while arrived < DATAGRAMS:
            try:
                receiver.recv(16)
            except TimeoutError:
                break
            arrived += 1
            if sender.poll() is not None:
                receiver.settimeout(0.5 + 2 * link.rtt_ms / 1000)
    return 100 * (1 - arrived / DATAGRAMS)


def _role(role: str, address: tuple[str, int], *more: str) -> list[str]:
    return [sys.executable, "-I", str(Path(__file__).with_name("farside.py")), role, address[0], str(address[1]), *more]


@contextmanager
def _far_connection(link: Link, role: str) -> Iterator[socket.socket]:
    """A connection that the far host opened, playing `role` on it."""
    with socket.create_server((link.near_address, 0)) as server:
        server.settimeout(LIMIT_SECONDS)
        process = link.popen_far(_role(role, server.getsockname()))
        try:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(LIMIT_SECONDS)
                yield connection
        finally:
            end(process)
