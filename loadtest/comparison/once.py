"""One measurement of one contestant: what it took, and proof that every byte arrived.

What was cut when its time was up is measured by what had arrived whole (files) and by what went over the wire (bytes);
it is marked as cut wherever it is shown.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field

from h2gate.config import GIB, MIB
from loadtest import rounds, workloads
from loadtest.comparison.cases import Case
from loadtest.comparison.contestants import Contestant
from loadtest.comparison.stage import Stage
from loadtest.network import Counters
from loadtest.peers import Peer
from loadtest.senders import Sent


@dataclass(frozen=True, slots=True)
class Measured:
    """`figures` by name, the unit in the name. `series`: rows of numbers over time."""

    figures: dict[str, float]
    series: list[list[float]] = field(default_factory=list)


class Meter:
    """What a server and the wire have done since it was made."""

    def __init__(self, stage: Stage, peer: Peer, size: int, *, warm: bool = False) -> None:
        self._stage, self._peer = stage, peer
        self._cpu_seconds = rounds.make_ready(peer, size, memory="warm" if warm else "asis")
        self._counters = stage.route.counters()

    def read(self) -> tuple[float, float, Counters | None]:
        """Server CPU seconds, its highest memory in bytes, and what went over the wire."""
        now = self._stage.route.counters()
        wire = now.since(self._counters) if now is not None and self._counters is not None else None
        return self._peer.settled_cpu_seconds() - self._cpu_seconds, self._peer.peak_bytes(), wire


def transfer(case: Case, stage: Stage, contestant: Contestant) -> Measured:
    """The workload, sent once. Raises `SendFailed` and `BytesLost`."""
    peer, folder = stage.peer(contestant), stage.folder
    sender = contestant.sender(stage.route.reach(peer), stage.route.far)
    name = workloads.fresh_name("sent")
    meter = Meter(stage, peer, 2 * folder.size, warm=case.warm)
    sent = sender.send(folder, name, case.cut_seconds)
    server_cpu, server_bytes, wire = meter.read()
    if sent.cut:
        n_files, n_bytes = sender.whole(folder, name)
        if wire is not None:
            n_bytes = max(n_bytes, min(wire.wire_bytes, folder.size))
    else:
        sender.verify(folder, name)
        n_files, n_bytes = folder.count, folder.size
    if not case.kept:
        _remove(peer, name)
    return Measured(figures(sent, n_files, n_bytes, server_cpu, server_bytes, wire, several=folder.count > 1))


def figures(
    sent: Sent,
    n_files: int,
    n_bytes: int,
    server_cpu: float,
    server_bytes: float,
    wire: Counters | None,
    *,
    several: bool,
) -> dict[str, float]:
    """`several`: whether figures for each file mean something. How much of a file had arrived when its sender was cut
    is not known where nobody counts what goes over the wire.
    """
    found = {"seconds": sent.seconds}
    if wire is not None or not sent.cut:
        found["MB/s"] = n_bytes / 1e6 / sent.seconds
    if several:
        found["files/s"] = n_files / sent.seconds
    if n_bytes:
        found["server CPU s/GiB"] = server_cpu * GIB / n_bytes
        found["client CPU s/GiB"] = sent.cpu_seconds * GIB / n_bytes
    if several and n_files:
        found["server CPU µs/file"] = server_cpu * 1e6 / n_files
        found["client CPU µs/file"] = sent.cpu_seconds * 1e6 / n_files
    found |= {"server MiB": server_bytes / MIB, "client MiB": sent.peak_bytes / MIB}
    if wire is not None:
        found["connections"] = wire.connections
        if n_bytes and not sent.cut:
            found["wire bytes/byte"] = wire.wire_bytes / n_bytes
    if sent.cut:
        found["cut"] = 1.0
    return found


def _remove(peer: Peer, name: str) -> None:
    """What a cut sender left may still be on its way; it goes with the case."""
    try:
        place = peer.stored(name)
    except LookupError:
        return
    shutil.rmtree(place, ignore_errors=True)
