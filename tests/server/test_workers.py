"""`--workers 2`: two processes on one port and one data folder; one that dies is replaced, all end together."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Process, Spawn
from tests.server.conftest import Connect
from tests.server.raw import RawClient, eventually


def workers_of(process: Process) -> list[int]:
    """Their process ids."""
    children = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def sockets_of(pid: int) -> int:
    links = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(each.readlink()))
        except FileNotFoundError:
            continue  # closed meanwhile
    return sum(link.startswith("socket:") for link in links)


@pytest.fixture
def process(spawn: Spawn) -> Process:
    return spawn("--workers", "2", "--grace-seconds", "5")


def spread(process: Process, connect: Connect, n_connections: int = 40) -> list[RawClient]:
    """Connections that are served, by both workers."""
    before = Counter({pid: sockets_of(pid) for pid in workers_of(process)})
    clients = [connect(process) for _ in range(n_connections)]
    for client in clients:
        assert client.get("/healthz").status == 200
    shares = Counter({pid: sockets_of(pid) for pid in before}) - before
    print(f"connections of each worker: {sorted(shares.values())}")
    assert len(shares) == 2
    assert min(shares.values()) >= n_connections // 10
    return clients


def test_connections_are_spread_and_files_are_seen_by_all(process: Process, connect: Connect) -> None:
    clients = spread(process, connect)
    for n, client in enumerate(clients):
        assert client.put(f"/files/{n}", bytes([n]) * 300_000).status == 201
    for n, client in enumerate(clients):
        other = (n + 1) % len(clients)
        found = client.get(f"/files/{other}")
        assert (found.status, bytes(found.body)) == (200, bytes([other]) * 300_000)
        assert "repr-digest" in found.headers


def test_a_worker_that_is_killed_is_started_anew_and_the_other_goes_on(process: Process, connect: Connect) -> None:
    clients = spread(process, connect)
    victim, survivor = workers_of(process)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(set(workers_of(process)) - {victim, survivor}) == 1, "there is a new worker")
    served = 0
    for client in clients:
        try:
            served += client.get("/healthz").status == 200
        except OSError:
            client.sock.close()
    assert 0 < served < len(clients)

    def both_serve() -> bool:
        sockets = [sockets_of(pid) for pid in workers_of(process)]
        found = [connect(process) for _ in range(10)]
        more = [sockets_of(pid) for pid in workers_of(process)]
        for client in found:
            client.sock.close()
        return len(more) == 2 and all(now > before for now, before in zip(more, sockets, strict=True))

    eventually(both_serve, "the new worker accepts connections")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_all_after_what_is_in_flight(
    process: Process, connect: Connect, number: signal.Signals
) -> None:
    clients = [connect(process) for _ in range(8)]
    uploads = [client.open("PUT", f"/files/{n}", ("content-length", "10")) for n, client in enumerate(clients)]
    for client in clients:
        client.quiet()
    workers = workers_of(process)
    process.signal(number)
    for client, upload in zip(clients, uploads, strict=True):
        client.until(lambda: len(client.goaways) == 2)  # noqa: B023 - called at once
        client.data(upload, bytes(10), end=True)
        client.read_to_end()
        assert client.answers[upload].status == 201
    assert process.wait() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert "Traceback" not in "".join(process.lines)


def test_workers_end_when_their_parent_was_killed_and_hold_the_data_folder_until_then(
    process: Process, spawn: Spawn, connect: Connect
) -> None:
    client = connect(process)
    upload = client.open("PUT", "/files/in-flight", ("content-length", "10"))
    client.quiet()
    workers = workers_of(process)
    process.signal(signal.SIGKILL)
    client.until(lambda: len(client.goaways) == 2)
    with pytest.raises(AssertionError, match="another gateway is using this folder"):
        spawn()
    client.data(upload, bytes(10), end=True)
    client.read_to_end()
    assert client.answers[upload].status == 201
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the workers have ended")
    again = spawn()
    assert connect(again).get("/files/in-flight").status == 200
