"""A small ext4 that is full, and one that goes read-only because it found itself damaged: no faults made up."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Start
from tests.faults.load import Load
from tests.faults.test_disk import FAILED, FULL, KINDS, LEDGER, WELL, warm

SIZE = 96 << 20


class Disk:
    """A file system on a file."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.image = image
        self.folder = folder

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop,errors=remount-ro", self.image, self.folder], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.folder], check=True)

    def fail(self) -> None:
        """Have the file system find that it is damaged: it takes no more writes until it is mounted anew."""
        device = Path(self._source()).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("a test\n")

    def _source(self) -> str:
        found = subprocess.run(
            ["findmnt", "-no", "SOURCE", self.folder], check=True, capture_output=True, text=True
        ).stdout
        return found.strip()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("NOT TESTED: a disk of its own needs root and mkfs.ext4")
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    image.touch()
    os.truncate(image, SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    found = Disk(image, folder)
    try:
        found.mount()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"NOT TESTED: no loop device: {error}")
    yield found
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_disk_that_fills_up_under_load_is_507_and_takes_uploads_again_when_there_is_room(
    start: Start, disk: Disk
) -> None:
    gateway = start("--progress-seconds", "0.02", data=disk.folder / "data")

    async def main() -> None:
        before = await warm(gateway)
        async with Load(gateway) as load:
            await load.begin()
            filler = disk.folder / "filler"
            room = os.statvfs(disk.folder)
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - (6 << 20))
            await load.round()
            assert FULL in load.told("large")
            assert {each for kind in KINDS for each in load.told(kind)} <= WELL | {FULL, LEDGER}
            await load.check()
            filler.unlink()
            load.answers.clear()
            await load.round()
            await load.finish()
            assert {each for kind in KINDS for each in load.told(kind)} <= WELL
            await load.check()
        await asyncio.to_thread(gateway.expect, before)

    asyncio.run(main())


def test_disk_that_goes_read_only_under_load_keeps_all_that_was_acknowledged(start: Start, disk: Disk) -> None:
    first = start("--progress-seconds", "0.02", data=disk.folder / "data")
    load = Load(first)

    async def until_it_fails() -> None:
        async with load:
            await load.begin()
            under_way = asyncio.create_task(load.round())
            async with asyncio.timeout(20):
                await load.is_moving.wait()
            disk.fail()
            await under_way
            load.answers.clear()
            await load.round(5, 5, 2)
            told = {each for kind in KINDS for each in load.told(kind)}
            assert FAILED in told
            assert told <= WELL | {FAILED, LEDGER}
            assert (await load.http.get("/files/log")).content == load.acknowledged["/files/log"]
        first.process.popen.terminate()
        assert first.process.wait() == 0

    async def afterwards() -> None:
        async with Load(second, acknowledged=load.acknowledged, resumables=load.resumables) as again:
            await again.check()
            await again.finish()
            await again.check()

    asyncio.run(until_it_fails())
    disk.unmount()
    subprocess.run(["e2fsck", "-fy", disk.image], check=False, capture_output=True)  # 1: it was mended
    disk.mount()
    second = start(data=disk.folder / "data")
    asyncio.run(afterwards())
    second.process.popen.terminate()
    second.process.wait()
