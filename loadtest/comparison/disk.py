"""A disk of a server's own that can be told to take nothing for a while: an ext4 file system in a file, frozen.

A frozen file system lets nobody write and tells nobody why, as a disk does that hangs; it is the same for every server
and changes nothing in them. Needs root. Whatever becomes of the run, the disk thaws by itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DISK_BYTES = 3 << 30
"""At most; a sparse file."""
LIMIT_SECONDS = 60


def why_not() -> str | None:
    """What keeps a disk from being made here, or None."""
    if os.geteuid() != 0:
        return "a disk that stalls needs root"
    missing = [name for name in ("mkfs.ext4", "mount", "fsfreeze") if shutil.which(name) is None]
    return f"a disk that stalls needs {', '.join(missing)}" if missing else None


@dataclass(frozen=True, slots=True)
class Disk:
    """Mounted at `folder`."""

    folder: Path

    @staticmethod
    @contextmanager
    def mounted(folder: Path, image: Path) -> Iterator[Disk]:
        with image.open("wb") as file:
            file.truncate(DISK_BYTES)
        _run("mkfs.ext4", "-q", "-m", "0", str(image))
        _run("mount", "-o", "loop", str(image), str(folder))
        try:
            yield Disk(folder)
        finally:
            _run("umount", "--lazy", str(folder))
            image.unlink()

    @contextmanager
    def stalled(self, longest_seconds: float) -> Iterator[None]:
        """Takes nothing inside `with`, and never for longer than `longest_seconds`."""
        script = f"sleep {longest_seconds}; exec fsfreeze --unfreeze '{self.folder}'"
        thaw = subprocess.Popen(["sh", "-c", script], stderr=subprocess.DEVNULL, start_new_session=True)
        _run("fsfreeze", "--freeze", str(self.folder))
        try:
            yield
        finally:
            os.killpg(thaw.pid, 9)
            thaw.wait()
            subprocess.run(
                ["fsfreeze", "--unfreeze", self.folder], check=False, timeout=LIMIT_SECONDS, stderr=subprocess.DEVNULL
            )


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=LIMIT_SECONDS, stdin=subprocess.DEVNULL)
