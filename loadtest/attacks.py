"""What an honest upload keeps of its speed while a hostile machine is at work, and what the attack costs the gateway.

A gateway of its own for each attack. The attacker is a process as nice as all others, on another address; it begins
again as soon as it is cut off.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from h2gate.config import MIB
from loadtest import clients, peers, processes, rounds, workloads
from loadtest.hostile.catalogue import ATTACKS, Attack
from loadtest.hostile.foe import Enemy, Target
from loadtest.peers import LOOPBACK, REPOSITORY, Peer

__all__ = ["ATTACKS", "Siege", "once"]

LARGE_BYTES = 64 * MIB
N_FILES = 2000
_LOOK_SECONDS = 0.02
_LIMIT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Siege:
    """An attack, and a folder for its gateways."""

    attack: Attack
    place: Path

    @property
    def label(self) -> str:
        attack = self.attack
        return f"{attack.row} {attack.name} ×{attack.n_at_once}: {attack.contained}"  # noqa: RUF001


class Pinger(threading.Thread):
    """PING after PING, on a connection of its own."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(name="pinger", daemon=True)
        self.longest_seconds = 0.0
        self.enough = threading.Event()
        self._enemy = Enemy(target_of(peer, LOOPBACK))

    def run(self) -> None:
        with self._enemy.connect() as foe:
            while not self.enough.wait(_LOOK_SECONDS):
                began = time.monotonic()
                foe.catch_up()
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)


def target_of(peer: Peer, address: str = "127.0.0.2") -> Target:
    return Target("localhost", peer.port, peer.certificates.ca, address=address)


def once(siege: Siege, source: workloads.Source) -> dict[str, float]:
    """The upload alone (once to warm up, once that counts), then beside the attack; all verified."""
    folder = siege.place / workloads.fresh_name("siege")
    prepare(folder / "data" / "files")
    certificates = peers.make_certificates(folder)
    with peers.h2gate(folder, certificates, options=_flags(siege.attack, source.size)) as peer:
        _put(peer, source)
        alone = _put(peer, source)
        with attacking(siege.attack, peer), pinging(peer) as pinger:
            beside = _put(peer, source)
    return {
        "MB/s alone": source.size / 1e6 / alone,
        "MB/s beside": source.size / 1e6 / beside,
        "speed kept": alone / beside,
        "peak MiB": pinger.peak_bytes / MIB,
        "PING max ms": pinger.pinger.longest_seconds * 1000,
    }


def _flags(attack: Attack, n_bytes: int) -> list[str]:
    """The attack's, but the honest upload is never too large for them."""
    return [f"--max-body={n_bytes}" if each.startswith("--max-body=") else each for each in attack.flags]


def prepare(files: Path) -> None:
    """What attacks ask for: a large file, and a folder of many."""
    (files / "many").mkdir(parents=True)
    with (files / "large").open("wb") as file:
        file.truncate(LARGE_BYTES)
    for number in range(N_FILES):
        (files / "many" / f"{number:06}").touch()


def _put(peer: Peer, source: workloads.Source) -> float:
    """Seconds."""
    rounds.make_ready(peer, source.size, memory="asis")
    name = workloads.fresh_name("honest")
    sent = clients.curl_put(peer, source.path, name, "2")
    workloads.verify(peer, name, source)
    peer.stored(name).unlink()
    return sent.seconds


@contextmanager
def attacking(attack: Attack, peer: Peer) -> Iterator[None]:
    """The attacker runs, and has begun. Raises `SendFailed`."""
    command = [sys.executable, "-m", "loadtest.hostile", attack.name, str(peer.port), str(peer.certificates.ca)]
    command += [str(attack.n_at_once), str(_LIMIT_SECONDS)]
    attacker = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert attacker.stdout is not None
    try:
        if not attacker.stdout.readline():
            raise clients.SendFailed(f"the attacker {attack.name} did not begin")
        yield
    finally:
        processes.end(attacker)
        attacker.stdout.close()


@dataclass(slots=True)
class Watched:
    """What was seen of the gateway meanwhile; the peak is known at the end."""

    pinger: Pinger
    peak_bytes: int = 0


@contextmanager
def pinging(peer: Peer) -> Iterator[Watched]:
    watched = Watched(Pinger(peer))
    watched.pinger.start()
    try:
        yield watched
    finally:
        watched.pinger.enough.set()
        watched.pinger.join(_LIMIT_SECONDS)
        watched.peak_bytes = peer.peak_bytes()
