"""A disk that hangs for real: memory stays within the windows granted, and all goes on when it thaws."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from h2gate.wire.credit import OPEN_BYTES
from tests.conftest import Process, Spawn
from tests.server.conftest import Connect

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
        file.truncate(1 << 30)
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


@pytest.fixture
def spawn_on(disk: Disk, spawn: Spawn) -> Iterator[Callable[[], Process]]:
    """A gateway whose data are on the disk; the disk thaws before the gateway is ended, or that would hang."""
    yield lambda: spawn(data=disk.folder / "data")
    disk.thaw()


def rss(process: Process) -> int:
    status = Path(f"/proc/{process.popen.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


def test_uploads_to_a_frozen_disk_hold_no_more_than_their_windows(
    disk: Disk, spawn_on: Callable[[], Process], connect: Connect
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
