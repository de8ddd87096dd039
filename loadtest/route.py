"""From the senders to the server: loopback, a wide-area link, or a relay that only delays, all used the same way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest import network
from loadtest.network import Counters
from loadtest.peers import LOOPBACK, Peer
from loadtest.processes import end
from loadtest.selfcheck import check
from loadtest.wan import Link, LinkUnavailable, why_not

TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Shape:
    """A path as asked for; a round trip of 0 is loopback."""

    rtt_ms: float = 0.0
    mbit: float = 1000.0
    loss_percent: float = 0.0
    congestion: str | None = None
    """The senders' TCP congestion control, by default the machine's; where it cannot be had, reno."""

    @property
    def label(self) -> str:
        if not self.rtt_ms:
            return "loopback"
        other = f", {self.congestion}" if self.congestion not in (None, "cubic") else ""
        loss = f", {self.loss_percent:g} % loss" if self.loss_percent else ""
        return f"{self.rtt_ms:g} ms, {self.mbit:g} Mbit/s{loss}{other}"


class Route:
    """Loopback, and what the others differ from it in."""

    host = LOOPBACK
    """Where servers listen."""
    device = "lo"

    def __init__(self, *, counted: bool) -> None:
        self._counted = counted

    def far(self, command: Sequence[str]) -> list[str]:
        """The command line that runs a sender at its end."""
        return list(command)

    def reach(self, peer: Peer) -> Peer:
        """The peer as senders see it."""
        return peer

    def counters(self) -> Counters | None:
        return network.read(self.device) if self._counted else None

    def described(self) -> dict[str, str | float]:
        """What a reader has to know beside what was asked for."""
        return {}

    def afterwards(self) -> dict[str, str | float]:
        """The same, of what is known once it is closed."""
        return {}


class LinkRoute(Route):
    """Measured before anything is sent over it: what it does is told beside what it was asked to."""

    device = "h2wan"

    def __init__(self, link: Link, *, counted: bool) -> None:
        super().__init__(counted=counted)
        self._link = link
        self._findings = check(link)
        self.host = link.near_address

    def far(self, command: Sequence[str]) -> list[str]:
        return self._link.far(command)

    def described(self) -> dict[str, str | float]:
        link = self._link
        told: dict[str, str | float] = {
            f"measured {each.what}": f"{each.measured:.4g} {each.unit}{'' if each.within(TOLERANCE) else ' (OFF)'}"
            for each in self._findings
        }
        return told | {"mtu": link.mtu, "queue_bytes": link.queue_bytes, "congestion": link.congestion}

    def afterwards(self) -> dict[str, str | float]:
        return {f"packets {what}": count for what, count in self._link.counts.items() if what != "carried"}


class DelayRoute(Route):
    """Every peer behind a relay of its own (`loadtest.delay`)."""

    def __init__(self, shape: Shape, seconds: float, stack: ExitStack) -> None:
        super().__init__(counted=False)
        self._shape, self._seconds, self._stack = shape, seconds, stack
        self._ports: dict[int, int] = {}

    def reach(self, peer: Peer) -> Peer:
        if peer.port not in self._ports:
            self._ports[peer.port] = self._start(peer)
        return replace(peer, port=self._ports[peer.port])

    def described(self) -> dict[str, str | float]:
        return {"relay": "delays and paces bytes; no packets, no slow start over the distance"}

    def _start(self, peer: Peer) -> int:
        asked = {"host": peer.host, "port": peer.port, "seconds": self._seconds}
        asked |= {"rtt_seconds": self._shape.rtt_ms / 1000, "bytes_per_second": self._shape.mbit * 125_000}
        relay = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("delay.py")), json.dumps(asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stack.callback(end, relay)
        assert relay.stdin is not None and relay.stdout is not None
        self._stack.callback(relay.stdin.close)
        self._stack.callback(relay.stdout.close)
        line = relay.stdout.readline()
        if not line:
            raise LinkUnavailable("the relay that delays did not come up")
        return int(line)


@contextmanager
def open_route(shape: Shape, *, counted: bool, seconds: float) -> Iterator[Route]:
    """`counted`: whether this process has a network of its own. Raises `LinkUnavailable`."""
    if not shape.rtt_ms:
        yield Route(counted=counted)
        return
    reason = why_not()
    if reason is None:
        link = Link(
            rtt_ms=shape.rtt_ms,
            mbit=shape.mbit,
            loss_percent=shape.loss_percent,
            congestion=shape.congestion,
            seconds=seconds,
        )
        with link:
            yield LinkRoute(link, counted=counted)
        return
    if shape.loss_percent:
        raise LinkUnavailable(f"{reason}; a relay of connections cannot lose packets")
    with ExitStack() as stack:
        yield DelayRoute(shape, seconds, stack)
