"""Opens the parts of one gateway in order, holds them for the face, and closes them in the opposite order."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from h2gate.auth.chain import Chain
from h2gate.budget import Budget, machine_memory
from h2gate.config import Settings
from h2gate.errors import ConfigError
from h2gate.ledger.sqlite import SqliteLedger
from h2gate.metrics import Metrics
from h2gate.storage.base import Storage
from h2gate.storage.disk import DiskStorage
from h2gate.transfer.decoding import Decoding
from h2gate.transfer.listing import Listings
from h2gate.transfer.resumables import Resumables
from h2gate.transfer.upkeep import keep_up
from h2gate.transfer.uploads import Uploads

if TYPE_CHECKING:
    from h2gate.auth.policy import Policy

log = logging.getLogger("h2gate")


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings name. To be called in the loop that uses it."""
    return DiskStorage(settings.data, fsync=settings.fsync, direct_io=settings.direct_io)


def load_policy(file: Path) -> Policy:
    """What `--auth` names. Raises `ConfigError`."""
    from h2gate.auth import policy  # noqa: PLC0415 - costs a tenth of a second, for what most do without

    return policy.load(file)


class Gateway:
    """The opened parts. One per process; `async with Gateway(settings)`."""

    uploads: Uploads
    listings: Listings
    resumables: Resumables
    chain: Chain | None = None
    """Who asks is found out by it; None: nobody is asked."""

    def __init__(
        self, settings: Settings, open_storage: Callable[[Settings], Storage] = open_storage, *, upkeep: bool = True
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.budget = Budget((settings.memory_budget or machine_memory() // 4) // settings.workers)
        """For all that peers can make this process hold."""
        self._open_storage = open_storage
        self._upkeep: asyncio.Task[None] | None = None
        self._wants_upkeep = upkeep
        self.draining = False
        """True from SIGTERM on: readiness says no, so that a balancer sends nobody else."""

    async def __aenter__(self) -> Gateway:
        settings = self.settings
        if settings.auth is not None:
            self.chain = load_policy(settings.auth).chain(expired_seconds=settings.expired_seconds)
        self._storage = self._open_storage(settings)
        self._ledger = SqliteLedger(settings.data / "ledger.sqlite", durable=settings.fsync)
        max_body = settings.max_body
        self._decoding = decoding = Decoding(self.budget, max_expansion=settings.max_expansion, max_bytes=max_body)
        self.uploads = Uploads(self._storage, self._ledger, decoding, digest=settings.digest, max_body=max_body)
        self.listings = Listings(self._storage, self._ledger, self.budget)
        self.resumables = Resumables(self._storage, self._ledger, self.uploads, settings, settings.data / "workers")
        if self._wants_upkeep:
            lock = settings.data / "upkeep.lock"
            lock.touch(0o600)
            self._upkeep = asyncio.create_task(keep_up(self.resumables, lock, settings.upkeep_seconds))
        return self

    async def reload_policy(self) -> None:
        """Read the file of `--auth` anew: it holds for requests that begin now, and for the end of those that run. One
        that cannot be used is told in one line, and the old one stays."""
        settings = self.settings
        if settings.auth is None:
            return
        try:
            policy = await asyncio.to_thread(load_policy, settings.auth)
        except ConfigError as error:
            log.error("the old --auth stays: %s", error)
            return
        before, self.chain = self.chain, policy.chain(expired_seconds=settings.expired_seconds)
        log.info("--auth %s was read anew", settings.auth)
        if before is not None:
            await before.close()

    async def __aexit__(self, *exc_info: object) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
            with suppress(asyncio.CancelledError):
                await self._upkeep
        if self.chain is not None:
            await self.chain.close()
        await self.resumables.close()
        await self._decoding.close()
        await self._storage.close()
        await self._ledger.close()


async def recover(settings: Settings) -> tuple[int, int, int]:
    """Put the data folder in order after whatever ended the last run; not while any worker serves.

    Returns how many uploads were dropped, how many appends were cut back, and how many resumable uploads were found to
    be elsewhere than the ledger had it.
    """
    async with Gateway(settings, upkeep=False) as gateway:
        return *await gateway.uploads.recover(), await gateway.resumables.recover()


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
