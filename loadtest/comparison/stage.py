"""The stage of one case: its path, the servers that take part, and what is sent; all of it is gone with the case."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loadtest import peers, rounds, workloads
from loadtest.comparison.cases import Case, Workload
from loadtest.comparison.contestants import Contestant
from loadtest.comparison.disk import Disk
from loadtest.peers import Certificates, Peer, PeerFailed
from loadtest.route import Route, open_route
from loadtest.workloads import Folder

LONGEST_SECONDS = 3600.0
"""No link outlives this."""


class NotHere(RuntimeError):
    """A case cannot be measured on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Stage:
    """`out` says who could not take part, and why; `disks` are the servers' own, in a case that stalls them."""

    place: Path
    route: Route
    folder: Folder
    certificates: Certificates
    peers: dict[str, Peer]
    disks: dict[str, Disk]
    out: dict[str, str] = field(default_factory=dict)

    def peer(self, contestant: Contestant) -> Peer:
        return self.peers[contestant.kind.key]


def make_folder(workload: Workload, path: Path) -> Folder:
    if workload.make == "sparse":
        return workloads.make_sparse(path, workload.size)
    makers: dict[str, Callable[[Path, int, int], Folder]] = {
        "many": workloads.make_folder,
        "alike": workloads.make_alike,
        "day": workloads.make_day,
    }
    return makers[workload.make](path, workload.count, workload.size)


@contextmanager
def set_up(case: Case, place: Path, *, counted: bool) -> Iterator[Stage]:
    """Raises `NotHere` for want of room or of rights, `LinkUnavailable` for want of a link."""
    free = shutil.disk_usage(place).free
    if free < case.disk_bytes:
        raise NotHere(f"needs {case.disk_bytes / 1e9:.1f} GB of disk, {free / 1e9:.1f} are free")
    with ExitStack() as stack:
        home = place / case.name
        home.mkdir()
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        route = stack.enter_context(open_route(case.shape, counted=counted, seconds=LONGEST_SECONDS))
        certificates = peers.make_certificates(home, route.host)
        folder = make_folder(case.workload, home / "source")
        stage = Stage(home, route, folder, certificates, {}, {})
        for contestant in case.contestants:
            _start(contestant, case, stage, stack)
        if case.kept:
            rounds.forget_deleted(folder.path)
        yield stage


def _start(contestant: Contestant, case: Case, stage: Stage, stack: ExitStack) -> None:
    """The contestant's server, if it does not run yet; who cannot is out."""
    key = contestant.kind.key
    if key in stage.peers:
        return
    home = stage.place / key
    if not home.exists():
        (home / "data").mkdir(parents=True)
        if case.measure == "stall":
            stage.disks[key] = stack.enter_context(Disk.mounted(home / "data", stage.place / f"{key}.img"))
    try:
        started = contestant.kind.start(home, stage.certificates, host=stage.route.host)
        stage.peers[key] = stack.enter_context(started)
    except PeerFailed as failure:
        stage.out[contestant.name] = str(failure)
