"""Opens the parts of one gateway in order, holds them for the face, and closes them in the opposite order."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from h2gate.auth.chain import Chain
from h2gate.auth.ticket import Issuing, Tickets
from h2gate.budget import Budget, machine_memory
from h2gate.config import Settings
from h2gate.errors import ConfigError
from h2gate.ledger.sqlite import SqliteLedger
from h2gate.metrics import Metrics
from h2gate.storage.base import Storage
from h2gate.storage.disk import DiskStorage
from h2gate.transfer.decoding import Decoding
from h2gate.transfer.folders import Folders
from h2gate.transfer.listing import Listings
from h2gate.transfer.presence import Presence
from h2gate.transfer.quotas import Quotas
from h2gate.transfer.readiness import Question, Readiness
from h2gate.transfer.resumables import Resumables
from h2gate.transfer.retention import Retention
from h2gate.transfer.upkeep import keep_up
from h2gate.transfer.uploads import Uploads

if TYPE_CHECKING:
    from h2gate.audit.log import AuditLog
    from h2gate.auth.policy import Policy
    from h2gate.traces import Traces
    from h2gate.transfer.reporting import Reporting

_COUNTS_SECONDS = 5.0
"""How old the number of uploads may be that metrics tell."""

log = logging.getLogger("h2gate")


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings name. To be called in the loop that uses it."""
    return DiskStorage(settings.data, fsync=settings.fsync, direct_io=settings.direct_io)


def load_policy(file: Path) -> Policy:
    """What `--auth` names. Raises `ConfigError`."""
    from h2gate.auth import policy  # noqa: PLC0415 - costs a tenth of a second, for what most do without

    return policy.load(file)


def _audit_log(policy: Policy, settings: Settings, metrics: Metrics) -> AuditLog | None:
    if "audit" not in policy.elsewhere:
        return None
    from h2gate.audit.log import AuditLog  # noqa: PLC0415 - as above
    from h2gate.audit.settings import parse  # noqa: PLC0415

    found = parse(policy.table("audit"), settings.data)
    return AuditLog(replace(found, durable=found.durable and settings.fsync), metrics)


def _traces() -> Traces:
    from h2gate.traces import from_environment  # noqa: PLC0415 - an extra

    return from_environment()


class Gateway:
    """The opened parts. One per process; `async with Gateway(settings)`."""

    uploads: Uploads
    listings: Listings
    resumables: Resumables
    chain: Chain | None = None
    """Who asks is found out by it; None: nobody is asked."""
    tickets: Issuing | None = None
    """How tickets are made, where they are."""
    client_ca: Path | None = None
    """Authorities of client certificates, for whoever does the handshakes."""
    audit: AuditLog | None = None
    traces: Traces | None = None
    readiness: Readiness

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
        self._reporting: Reporting | None = None
        self._counting: Question
        self.draining = False
        """True from SIGTERM on: readiness says no, so that a balancer sends nobody else."""

    async def __aenter__(self) -> Gateway:
        settings = self.settings
        policy = load_policy(settings.auth) if settings.auth is not None else None
        self.audit = _audit_log(policy, settings, self.metrics) if policy is not None else None
        if settings.traces and self._wants_upkeep:
            self.traces = _traces()
        self.folders = Folders(policy.tenants if policy is not None else {})
        counts = policy is not None and policy.counts
        account_of = self.folders.account_of if counts else None
        self._storage = self._open_storage(settings)
        self._ledger = SqliteLedger(settings.data / "ledger.sqlite", durable=settings.fsync, account_of=account_of)
        presence = Presence(settings.data / "holders") if counts else None
        self.quotas = quotas = Quotas(self.folders, self._storage, self._ledger, presence, 1 / settings.workers)
        if policy is not None:
            self._obey(policy)
        max_body = settings.max_body
        self._decoding = decoding = Decoding(self.budget, max_expansion=settings.max_expansion, max_bytes=max_body)
        self.uploads = Uploads(self._storage, self._ledger, decoding, quotas, digest=settings.digest, max_body=max_body)
        self.listings = Listings(self._storage, self._ledger, self.budget)
        self.resumables = Resumables(self._storage, self._ledger, self.uploads, settings, settings.data / "workers")
        self._report()
        self._look_after()
        if self._wants_upkeep:
            removed = self._reporting.removed if self._reporting is not None else None
            retention = Retention(self.folders, self.uploads, self._ledger, removed)
            lock = settings.data / "upkeep.lock"
            lock.touch(0o600)
            self._upkeep = asyncio.create_task(keep_up(self.resumables, retention, lock, settings.upkeep_seconds))
        return self

    def _obey(self, policy: Policy) -> None:
        """From now on. Whoever has the old chain closes it."""
        self.tickets = policy.tickets
        self.client_ca = policy.client_ca
        more = [Tickets(policy.tickets.keys, self.quotas.is_closed)] if policy.tickets is not None else []
        self.chain = policy.chain(expired_seconds=self.settings.expired_seconds, more=more)

    async def reload_policy(self) -> None:
        """Read the file of `--auth` anew: it holds for requests that begin now, and for the end of those that run. One
        that cannot be used is told in one line, and the old one stays. The audit log stays where it is."""
        settings = self.settings
        if settings.auth is None:
            return
        before = self.chain
        try:
            policy = await asyncio.to_thread(load_policy, settings.auth)
            self.quotas.change(policy.tenants, counts=policy.counts)
        except ConfigError as error:
            log.error("the old --auth stays: %s", error)
            return
        self._obey(policy)
        log.info("--auth %s was read anew", settings.auth)
        if before is not None:
            await before.close()

    def _report(self) -> None:
        """What no request tells of is in the audit log as well."""
        if self.audit is not None:
            from h2gate.transfer.reporting import Reporting  # noqa: PLC0415 - as above

            self._reporting = Reporting(self.audit, recovering=not self._wants_upkeep)
            self.resumables.listen(self._reporting)

    async def tell_untold(self) -> None:
        """After a crash: the audit log has no less than what is there."""
        if self._reporting is not None:
            await self._reporting.close()
            if found := await self._reporting.tell_untold(self._ledger):
                log.info("after the last run: %d files that the audit log did not have", found)

    def _look_after(self) -> None:
        parts = {"storage": self._storage_works, "ledger": self._ledger.check}
        self.readiness = Readiness(parts if self.audit is None else {**parts, "audit": self.audit.check})
        self._counting = Question(self._count_uploads, fresh_seconds=_COUNTS_SECONDS)

    async def _storage_works(self) -> None:
        """A file can be made, durably, and removed."""
        key = secrets.token_hex(16)
        await self._storage.look_ahead(None, 1)
        await self._storage.begin(key)
        await self._storage.drop(key)

    async def _count_uploads(self) -> None:
        self.metrics.uploads = await self._ledger.counts()

    async def scrape(self) -> bytes:
        """The metrics; how many uploads there are is asked for, but not waited for without end."""
        await self._counting.fault()
        return self.metrics.text()

    async def __aexit__(self, *exc_info: object) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
            with suppress(asyncio.CancelledError):
                await self._upkeep
        if self.chain is not None:
            await self.chain.close()
        await self.readiness.close()
        await self._counting.close()
        await self.resumables.close()
        if self.audit is not None and self._reporting is not None:
            await self._reporting.close()
            await self.audit.close()
        if self.traces is not None:
            await asyncio.to_thread(self.traces.close)
        await self._decoding.close()
        await self._storage.close()
        await self._ledger.close()
        self.quotas.close()


async def recover(settings: Settings) -> tuple[int, int, int]:
    """Put the data folder in order after whatever ended the last run; not while any worker serves.

    Returns how many uploads were dropped, how many appends were cut back, and how many resumable uploads were found to
    be elsewhere than the ledger had it.
    """
    async with Gateway(settings, upkeep=False) as gateway:
        dropped, cut = await gateway.uploads.recover()
        await gateway.quotas.recount()
        differing = await gateway.resumables.recover()
        await gateway.tell_untold()
        await gateway.quotas.agree()  # not before: what came some other way is no upload that nobody was told of
        return dropped, cut, differing


def usage(settings: Settings, *, recount: bool) -> list[dict[str, object]]:
    """What every tenant has stored and may store. Raises `ConfigError`, to `recount` also while a gateway runs."""

    async def told() -> list[dict[str, object]]:
        async with Gateway(settings, upkeep=False) as gateway:
            return [await gateway.quotas.told(each) for each in gateway.folders.all]

    if not recount:
        return asyncio.run(told())
    with sole_owner(settings.data):
        asyncio.run(_recovered(settings))
        return asyncio.run(told())


async def _recovered(settings: Settings) -> None:
    await recover(settings)


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
