"""Which processes are alive: each holds the lock of a file of its own, which the system frees when it ends."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path


class Presence:
    """That of this process, told by `name` until it is closed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self.name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._fd = os.open(folder / self.name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def has_ended(self, name: str) -> bool:
        """Whether the process of that name is no more; its file is removed then."""
        if name == self.name:
            return False
        try:
            fd = os.open(self._folder / name, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        with suppress(FileNotFoundError):
            (self._folder / name).unlink()
        return True

    def forget_others(self) -> None:
        """After a crash, while nobody serves: remove what others have left."""
        for each in self._folder.iterdir():
            self.has_ended(each.name)

    def close(self) -> None:
        """Leave."""
        with suppress(OSError):
            (self._folder / self.name).unlink()
        os.close(self._fd)
