"""What is no plain transfer: small requests beside a large upload, a disk that stalls, a window's trace."""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import threading
import time
from typing import Any

from h2gate.config import MIB
from loadtest import processes, workloads
from loadtest.clients import SendFailed
from loadtest.comparison import beside as sending_beside
from loadtest.comparison.cases import Case
from loadtest.comparison.contestants import Contestant
from loadtest.comparison.once import Measured, Meter
from loadtest.comparison.stage import Stage
from loadtest.peers import REPOSITORY, Peer
from loadtest.workloads import BytesLost

BESIDE_SECONDS = 5.0
STALL_SECONDS = 5.0
AT_WORK_SECONDS = 0.1
"""Of the server's processor time: by then the uploads are in their midst, and far from their end."""
LOOK_SECONDS = 0.05
AT_ONCE = 8
LIMIT_SECONDS = 180.0


def beside(case: Case, stage: Stage, contestant: Contestant) -> Measured:
    """Raises `SendFailed` and `BytesLost`."""
    peer, name = stage.peer(contestant), workloads.fresh_name("beside")
    for place in ("", name):
        peer.make_folder(place)
    reached = stage.route.reach(peer)
    words = [sys.executable, "-m", "loadtest.comparison.beside", "--ca", str(peer.certificates.ca)]
    words += ["--http", contestant.via.http, "--seconds", str(BESIDE_SECONDS), reached.url(name)]
    meter = Meter(stage, peer, 0)
    told = _told(stage.route.far(words), LIMIT_SECONDS)
    server_cpu, server_bytes, wire = meter.read()
    if any(not 200 <= status < 300 for status in told["statuses"]):
        raise SendFailed(f"{contestant.label} was answered {told['statuses']}")
    _verify_beside(peer, name, told)
    waits = sorted(told["waits"])
    found = {
        "MB/s": told["size"] / 1e6 / told["seconds"],
        "small p50 ms": statistics.median(waits) * 1000,
        "small p99 ms": waits[min(len(waits) - 1, int(len(waits) * 0.99))] * 1000,
        "small requests": float(len(waits)),
        "server CPU s/GiB": server_cpu * (1 << 30) / max(told["size"], 1),
        "server MiB": server_bytes / MIB,
    }
    return Measured(found | ({"connections": float(wire.connections)} if wire is not None else {}))


def _verify_beside(peer: Peer, name: str, told: dict[str, Any]) -> None:
    try:
        with peer.stored(f"{name}/large").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        small = [peer.stored(f"{name}/{number + 1:06}").read_bytes() for number in range(len(told["waits"]))]
    except LookupError as error:
        raise BytesLost(str(error)) from None
    right = [body == sending_beside.small_body(number + 1) for number, body in enumerate(small)]
    if digest != told["sha256"] or not all(right):
        raise BytesLost(f"{peer.name} stored other bytes than were sent below {name}")
    peer.stored(f"{name}/large").unlink()


def stall(case: Case, stage: Stage, contestant: Contestant) -> Measured:
    """Uploads, a disk that takes nothing in their midst, and the server's memory all the while."""
    peer, folder, name = stage.peer(contestant), stage.folder, workloads.fresh_name("stall")
    sender = contestant.sender(stage.route.reach(peer), stage.route.far)
    meter = Meter(stage, peer, 0)
    failures: list[BaseException] = []

    def send() -> None:
        try:
            sender.send(folder, name)
        except SendFailed as failure:
            failures.append(failure)

    watch = Watch(peer)
    sending = threading.Thread(target=send, name="sending", daemon=True)
    idle = peer.cpu_seconds()
    sending.start()
    while sending.is_alive() and peer.cpu_seconds() - idle < AT_WORK_SECONDS:
        time.sleep(LOOK_SECONDS)
    with stage.disks[contestant.kind.key].stalled(2 * STALL_SECONDS):
        before = watch.look()
        stalled_at = time.monotonic()
        while time.monotonic() < stalled_at + STALL_SECONDS:
            watch.look()
            time.sleep(LOOK_SECONDS)
    sending.join(LIMIT_SECONDS)
    after = watch.look()
    if sending.is_alive() or failures:
        raise SendFailed(f"{contestant.label}: {failures[0] if failures else 'did not end after the stall'}")
    _, server_bytes, _ = meter.read()
    sender.verify(folder, name)
    found = {"MiB before": before, "MiB in the stall": watch.most, "MiB after": after, "server MiB": server_bytes / MIB}
    return Measured(found, watch.rows)


class Watch:
    """A server's resident memory over time."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._began = time.monotonic()
        self.rows: list[list[float]] = []

    def look(self) -> float:
        """MiB now."""
        now = processes.resident_bytes(self._peer.process.pid) / MIB
        self.rows.append([round(time.monotonic() - self._began, 3), round(now, 2)])
        return now

    @property
    def most(self) -> float:
        return max(row[1] for row in self.rows)


def trace(case: Case, stage: Stage, contestant: Contestant) -> Measured:
    """Raises `SendFailed` unless it was answered well or its time was up before."""
    peer, name = stage.peer(contestant), workloads.fresh_name("trace")
    peer.make_folder(name)
    (file,) = stage.folder.files()
    limit = case.cut_seconds or LIMIT_SECONDS
    words = [sys.executable, "-m", "loadtest.comparison.trace", "--ca", str(peer.certificates.ca)]
    words += ["--seconds", str(limit), str(file), stage.route.reach(peer).url(f"{name}/traced")]
    told = _told(stage.route.far(words), limit + 30)
    if told["status"] and not 200 <= told["status"] < 300:
        raise SendFailed(f"{contestant.label} was answered {told['status']}")
    points = told["points"]
    found = {"MiB sent": points[-1][1], "largest window MiB": told["largest_window"] / MIB}
    return Measured(found, points)


def _told(command: list[str], limit_seconds: float) -> dict[str, Any]:
    """The JSON object that a sender prints. Raises `SendFailed`."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_seconds, check=False, cwd=REPOSITORY
        )
    except subprocess.TimeoutExpired:
        raise SendFailed(f"{command[-1]}: not done after {limit_seconds:g} s") from None
    if done.returncode:
        raise SendFailed((done.stderr.strip().splitlines() or ["the sender failed"])[-1])
    found: dict[str, Any] = json.loads(done.stdout)
    return found
