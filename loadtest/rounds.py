"""Round after round, every candidate once, all in the same state: what makes two figures comparable.

Before each measurement nothing waits to be written, and memory is as it is, or as `--memory` says: where the host of a
virtual machine takes free memory back, the page cache's next use costs up to 2 s of processor a GiB.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import click

from h2gate.config import GIB, MIB
from loadtest import clients, guards, peers, senders, workloads
from loadtest.peers import LOOPBACK, Peer
from loadtest.peers.catalogue import kind
from loadtest.report import Sample
from loadtest.senders import Sender
from loadtest.wan import Link
from loadtest.workloads import Folder

SERVERS = ("h2gate", "bare", "nginx", "tuned")
SENDERS = ("ours", "curl", "rclone", "tar")
SYNC_SECONDS = 120.0
MEMORY = ("asis", "warm", "cold")
COLD_SECONDS = 5.0
"""After this idle time such a host has taken back what is free; nothing inside the machine tells when."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server and how it is spoken to."""

    peer: Peer
    http: str

    @property
    def label(self) -> str:
        return f"{self.peer.name} HTTP/{self.http}"


def start_servers(servers: tuple[str, ...], folder: Path, stack: ExitStack, host: str = LOOPBACK) -> list[Peer]:
    """Those of `SERVERS` that are named, with one certificate; they live as long as the stack."""
    certificates = peers.make_certificates(folder, host)
    started = []
    for server in servers:
        place = folder / server
        place.mkdir()
        started.append(stack.enter_context(kind(server).start(place, certificates, host=host)))
    return started


def start_guarded(folder: Path, stack: ExitStack) -> list[Peer]:
    """A gateway for each of `guards.WAYS`."""
    certificates = peers.make_certificates(folder, LOOPBACK)
    started = []
    for way in guards.WAYS:
        place = folder / way
        place.mkdir()
        guard = stack.enter_context(guards.guard(way, place))
        peer = stack.enter_context(peers.h2gate(place, certificates, options=guard.options, name=f"h2gate {way}"))
        started.append(replace(peer, authorization=guard.authorization))
    return started


def start_senders(
    names: tuple[str, ...], options: tuple[str, ...], folder: Path, stack: ExitStack, link: Link | None
) -> list[Sender]:
    """Those of `SENDERS` that are named, and the servers they want; over the link, if there is one."""
    host, wrap = (link.near_address, link.far) if link is not None else (LOOPBACK, list)
    certificates = peers.make_certificates(folder, host)
    for place in ("h2gate", "rclone", "tar"):
        (folder / place).mkdir()
    gate = stack.enter_context(peers.h2gate(folder / "h2gate", certificates, host=host))
    made: list[Sender] = []
    for name in names:
        if name == "ours":
            made.append(senders.ours(gate, wrap, options))
        elif name == "curl":
            made.append(senders.curl(gate, wrap))
        elif name == "rclone":
            served = stack.enter_context(peers.rclone(folder / "rclone", certificates, host=host))
            made.append(senders.rclone(served, wrap))
        else:
            made.append(senders.tar(folder / "tar"))
    return made


class Labelled(Protocol):
    @property
    def label(self) -> str: ...


One = TypeVar("One", bound=Labelled)
Each = TypeVar("Each")


def in_turn(candidates: Sequence[Each], number: int) -> list[Each]:
    """The order in a round: each begins one, so that none gains or loses by whom it follows every time."""
    first = number % len(candidates) if candidates else 0
    return [*candidates[first:], *candidates[:first]]


def measure(
    candidates: Sequence[One], rounds: int, once: Callable[[One], dict[str, float]], *, warm_up: bool = True
) -> list[Sample]:
    """One warm-up round, then `rounds` that count. Progress goes to standard error."""
    samples = []
    for number in range(0 if warm_up else 1, rounds + 1):
        for candidate in in_turn(candidates, number):
            figures = once(candidate)
            told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            click.echo(f"{f'round {number}' if number else 'warm-up'}: {candidate.label}: {told}", err=True)
            if number:
                samples.append(Sample(candidate.label, number, figures))
    labels = [each.label for each in candidates]
    return sorted(samples, key=lambda sample: labels.index(sample.candidate))


def put_once(
    candidate: Candidate, source: workloads.Source, wrap: clients.Wrap = list, *, memory: str = "asis"
) -> dict[str, float]:
    """One large upload, measured, verified and deleted."""
    peer, name = candidate.peer, workloads.fresh_name("large")
    before = make_ready(peer, source.size, memory=memory)
    sent = clients.curl_put(peer, source.path, name, candidate.http, wrap)
    cpu_seconds, peak = peer.settled_cpu_seconds() - before, peer.peak_bytes()
    workloads.verify(peer, name, source)
    peer.stored(name).unlink()
    return {
        "MB/s": source.size / 1e6 / sent.seconds,
        "CPU s/GiB": cpu_seconds * GIB / source.size,
        "peak MiB": peak / MIB,
    }


def small_once(candidate: Candidate, source: workloads.Source, count: int, urls: Path) -> dict[str, float]:
    """`count` small uploads on one connection, measured and verified.

    They are deleted with the run, not before: for some seconds after thousands of deletions ext4 looks at each freed
    inode, and passes it by, for every file it makes; that quadruples what the next candidate's files cost.
    """
    peer = candidate.peer
    files = workloads.plan_small_files(peer, count, urls)
    before = make_ready(peer, 2 * count * source.size, memory="warm")
    sent = clients.h2load_put(peer, source.path, urls, count)
    cpu_seconds, peak = peer.settled_cpu_seconds() - before, peer.peak_bytes()
    files.verify(peer, source)
    return {
        "requests/s": count / sent.seconds,
        "CPU µs/request": cpu_seconds * 1e6 / count,
        "peak MiB": peak / MIB,
    }


def send_once(sender: Sender, folder: Folder) -> dict[str, float]:
    """A folder sent, measured, and verified. It stays to the end of the run, as in `small_once`."""
    name = workloads.fresh_name("tree")
    peer = sender.peer
    before = make_ready(peer, 2 * folder.size, memory="warm") if peer is not None else 0.0
    sent = sender.send(folder, name)
    server = (
        {"server CPU s": peer.settled_cpu_seconds() - before, "server MiB": peer.peak_bytes() / MIB} if peer else {}
    )
    sender.verify(folder, name)
    return {
        "files/s": folder.count / sent.seconds,
        "MB/s": folder.size / 1e6 / sent.seconds,
        "client CPU s/GiB": sent.cpu_seconds * GIB / folder.size,
        "client MiB": sent.peak_bytes / MIB,
        **server,
    }


def forget_deleted(source: Path) -> bool:
    """Have the kernel forget what was deleted before this run, if it can be told to (root), and read the source again.

    ext4 without a journal passes by each inode freed in the last minutes whenever it makes a file: those of a run
    before this one, thousands, make every file cost three times as much. It does so only while it has them in memory.
    """
    subprocess.run(["sync"], check=True, timeout=SYNC_SECONDS)
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    for path in source.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(MIB):
                    pass
    return True


def make_ready(peer: Peer, size: int, *, memory: str) -> float:
    """The same state before every measurement: disk idle, peak forgotten, and memory as `MEMORY` says: as it is, `size`
    bytes of it at hand, or given up.

    Returns the processor seconds the peer has used so far.
    """
    peer.settled_cpu_seconds()
    subprocess.run(["sync", "--file-system", str(peer.data)], check=True, timeout=SYNC_SECONDS)
    if memory == "cold":
        time.sleep(COLD_SECONDS)
    elif memory == "warm":
        write_and_delete(peer.data / workloads.fresh_name("scratch"), size)
    peer.forget_peak()
    return peer.cpu_seconds()


def write_and_delete(scratch: Path, size: int) -> None:
    block = b"\1" * MIB
    with scratch.open("wb", buffering=0) as file:
        for _ in range(size // MIB + 1):
            file.write(block)
    scratch.unlink()
