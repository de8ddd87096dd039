"""Opens the parts of one gateway in order, holds them for the face, and closes them in the opposite order."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from h2gate.config import Settings
from h2gate.errors import ConfigError
from h2gate.ledger.sqlite import SqliteLedger
from h2gate.storage.base import Storage
from h2gate.storage.disk import DiskStorage
from h2gate.transfer.uploads import Uploads


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings name. To be called in the loop that uses it."""
    return DiskStorage(settings.data, fsync=settings.fsync, direct_io=settings.direct_io)


class Gateway:
    """The opened parts. One per process; `async with Gateway(settings)`."""

    uploads: Uploads

    def __init__(self, settings: Settings, open_storage: Callable[[Settings], Storage] = open_storage) -> None:
        self.settings = settings
        self._open_storage = open_storage
        self.draining = False
        """True from SIGTERM on: readiness says no, so that a balancer sends nobody else."""

    async def __aenter__(self) -> Gateway:
        settings = self.settings
        self._storage = self._open_storage(settings)
        self._ledger = SqliteLedger(settings.data / "ledger.sqlite", durable=settings.fsync)
        self.uploads = Uploads(self._storage, self._ledger, digest=settings.digest, max_body=settings.max_body)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._storage.close()
        await self._ledger.close()


async def recover(settings: Settings) -> tuple[int, int]:
    """Put the data folder in order after whatever ended the last run; not while any worker serves.

    Returns how many uploads were dropped and how many appends were cut back.
    """
    async with Gateway(settings) as gateway:
        return await gateway.uploads.recover()


@contextmanager
def sole_owner(data: Path) -> Iterator[int]:
    """Hold the data folder for this gateway; yields the descriptor of the lock, which its workers are to hold as well.

    Raises `ConfigError` if another one has it.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        fd = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"--data {data}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield fd
    except BlockingIOError:
        raise ConfigError(f"--data {data}: another gateway is using this folder") from None
    finally:
        os.close(fd)
