"""A disk that hangs for real: memory stays within the windows granted, and all goes on when it thaws."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from h2gate.wire.credit import OPEN_BYTES
from tests.conftest import Process, Spawn
from tests.server.conftest import Connect
from tests.server.raw import RawClient

STREAMS = 100
BODY = 4 << 20
SLACK = 48 << 20
"""What a hundred requests cost beside their bodies: threads, staged descriptors, allocator."""


class Disk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frozen = False

    def freeze(self) -> None:
        subprocess.run(["fsfreeze", "-f", self.folder], check=True)
        self.frozen = True

    def thaw(self) -> None:
        if self.frozen:
            subprocess.run(["fsfreeze", "-u", self.folder], check=True)
            self.frozen = False


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0 or not shutil.which("fsfreeze"):
        pytest.skip("NOT TESTED: a frozen disk needs root, fsfreeze and a loop device")
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(3 << 30)
    try:
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"NOT TESTED: no disk to freeze: {error}")
    found = Disk(folder)
    try:
        yield found
    finally:
        found.thaw()
        subprocess.run(["umount", "--lazy", folder], check=True)


CONNECTIONS = 100
CROWD = 10_000
CROWD_BODY = 96 << 10
BUDGET = 1 << 30
CONSTANT = 64 << 20
"""What SECURITY.md allows beyond start and budget: threads, blocks for the disk, what the allocator keeps."""


@pytest.fixture
def spawn_on(disk: Disk, spawn: Spawn) -> Iterator[Callable[..., Process]]:
    """A gateway whose data are on the disk; the disk thaws before the gateway is ended, or that would hang."""
    yield lambda *flags, **options: spawn(*flags, data=disk.folder / "data", **options)
    disk.thaw()


def rss(process: Process) -> int:
    status = Path(f"/proc/{process.popen.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


def test_uploads_to_a_frozen_disk_hold_no_more_than_their_windows(
    disk: Disk, spawn_on: Callable[..., Process], connect: Connect
) -> None:
    process = spawn_on()
    client = connect(process)
    window = OPEN_BYTES
    assert client.put("/files/before", bytes(BODY)).status == 201
    before = rss(process)
    disk.freeze()
    opened = [client.open("PUT", f"/files/{n}", ("content-length", str(BODY))) for n in range(STREAMS)]
    client.until(lambda: all(client.room(stream) == window for stream in opened))
    accepted = sum(client.fill(stream) for stream in opened)
    round_trip = max(client.ping() for _ in range(5))
    assert accepted == STREAMS * window
    first = rss(process)
    for _ in range(50):
        client.ping()
        assert not any(client.room(stream) for stream in opened), "no credit while the disk hangs"
    later = rss(process)
    print(f"accepted {accepted >> 20} MiB; RSS +{(first - before) >> 20} MiB, later +{(later - before) >> 20} MiB;")
    print(f"PING {round_trip * 1000:.1f} ms at most")
    assert later - before <= accepted + SLACK
    assert later - first <= SLACK / 4
    disk.thaw()
    for stream in opened:
        client.push(stream, bytes(BODY - window))
    assert [client.answer(stream).status for stream in opened] == [201] * STREAMS
    assert all((disk.folder / f"data/files/{n}").stat().st_size == BODY for n in range(STREAMS))


@pytest.mark.timeout(300)
def test_ten_thousand_stalled_uploads_stay_within_the_budget_and_finish_when_the_disk_runs_again(
    disk: Disk, spawn_on: Callable[..., Process], connect: Connect
) -> None:
    process = spawn_on("--memory-budget", str(BUDGET), listen="http://127.0.0.1:0")
    before = rss(process)
    disk.freeze()
    clients = [connect(process) for _ in range(CONNECTIONS)]
    body = bytes(CROWD_BODY)
    opened: dict[tuple[RawClient, int], str] = {}
    for number in range(CROWD):
        client = clients[number % CONNECTIONS]
        stream = client.open("PUT", f"/files/{number}", ("content-length", str(CROWD_BODY)))
        client.data(stream, body[: client.room(stream)])
        opened[client, stream] = f"/files/{number}"
    for client in clients:
        client.quiet()
    sent = sum(client.answers[stream].sent for client, stream in opened)
    began = time.monotonic()
    newcomer = connect(process)
    assert newcomer.get("/healthz").status == 200
    waited = time.monotonic() - began
    for client, stream in opened:  # what more they were let send
        answer = client.answers[stream]
        if not answer.over:
            client.data(stream, body[answer.sent : answer.sent + client.room(stream)], end=False)
    for client in clients:
        client.quiet()
    refused = [key for key in opened if key[0].answers[key[1]].reset is not None]
    assert {client.answers[stream].reset for client, stream in refused} <= {7}
    grown = rss(process) - before
    print(f"{sent >> 20} MiB sent at first, {len(refused)} of {CROWD} streams refused; RSS +{grown >> 20} MiB,")
    print(f"GET /healthz in {waited * 1000:.0f} ms")
    assert grown <= BUDGET + CONSTANT
    assert waited < 5
    disk.thaw()
    for client, stream in opened:
        answer = client.answers[stream]
        if answer.reset is None:
            client.push(stream, body[answer.sent :])
    assert {client.answer(stream).status for client, stream in opened if (client, stream) not in set(refused)} == {201}
    for client, stream in refused:  # RFC 9113 section 8.7: nothing was done for them, so they may be sent again
        assert client.put(opened[client, stream], body).status == 201
    assert sum(1 for _ in (disk.folder / "data/files").iterdir()) == CROWD
