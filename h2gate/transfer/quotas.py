"""How much may be where: tenants' folders and what may be stored with a ticket, kept exactly by the ledger.

Whose folder a path lies in decides, whoever writes there. Nothing of this is asked for a path that is in nobody's
folder, with no ticket.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from h2gate.auth.base import Principal
from h2gate.auth.chain import ANYBODY
from h2gate.auth.tenants import Tenant
from h2gate.auth.ticket import Ticket
from h2gate.errors import ConfigError, GateError, OverQuota, Refused
from h2gate.ledger.base import Account, Claim, Ledger, Usage
from h2gate.storage.base import Storage
from h2gate.transfer import grant
from h2gate.transfer.folders import (
    Folders,
    account_of_credential,
    account_of_tenant,
    has_account,
    is_counted,
    max_file_bytes,
    roots,
    ticket_account,
)
from h2gate.transfer.pace import Pace
from h2gate.transfer.presence import Presence
from h2gate.transfer.reconciling import reconcile
from h2gate.transfer.taking import Bounded, Taking, Untaken, check_file
from h2gate.upload import Body, Resumable, fresh_id

log = logging.getLogger("h2gate.transfer")

_SCARCE_SECONDS = 30.0
_KEPT_SECONDS = 2 * 86400.0
"""For so long after a ticket has expired it is known how much was stored with it: uploads may still end."""


class Quotas:
    """To be closed. `share` is this process's part of the rates; `presence` is needed where anything is counted."""

    def __init__(
        self, folders: Folders, storage: Storage, ledger: Ledger, presence: Presence | None, share: float
    ) -> None:
        self.folders = folders
        self._storage = storage
        self._ledger = ledger
        self._presence = presence
        self._holder = presence.name if presence is not None else ""
        self._share = share
        self._set_paces()
        self._unsaid: dict[str, int | None] = {}
        """What uploads hold since they are over, as long as the ledger could not be told: None is nothing."""
        self._scarce_until: dict[str, float] = {}
        """By the monotonic clock: where something was refused, small bodies are looked at before they come as well."""

    def _set_paces(self) -> None:
        limited = [(each.name, each.max_rate) for each in self.folders.all if each.max_rate is not None]
        self._paces = {name: Pace(max_rate * self._share) for name, max_rate in limited}
        self._by_name = {each.name: each for each in self.folders.all}

    def change(self, tenants: Mapping[str, Tenant], *, counts: bool) -> None:
        """Other limits hold from now on. Raises `ConfigError` for other tenants or folders: what is in these is counted
        at the start."""
        if counts != (self._presence is not None) or roots(tenants.values()) != roots(self.folders.all):
            raise ConfigError("tenants, their folders and [tickets] come and go with a restart only")
        self.folders.set(tenants)
        self._set_paces()

    def taking(
        self, key: str, path: str, body: Body, by: Principal, *, is_awaited: bool = False, alone: bool = True
    ) -> Untaken | Taking:
        """Count a body that becomes the file at `path` with the record `key`. Not `alone`: it is no upload of its own
        among those at once."""
        tenant = self.folders.tenant_of(path)
        if tenant is None and not has_account(by):
            return _uncounted(body, by)
        accounts = self._accounts(tenant, by)
        counts = alone and is_counted(tenant)
        eager = counts or is_awaited or has_account(by) or self._is_scarce(accounts)
        claim = Claim(id=key, accounts=accounts, n_bytes=0, holder=self._holder, counts=counts)
        return self._taking(body, claim, tenant, by, eager=eager)

    def extending(self, key: str, path: str, size: int, body: Body, by: Principal) -> Untaken | Taking:
        """Count a body that comes behind the file at `path`, which has `size` bytes and the record `key`."""
        tenant = self.folders.tenant_of(path)
        if tenant is None and not has_account(by):
            return _uncounted(body, by, size)
        accounts, counts = self._accounts(tenant, by), is_counted(tenant)
        claim = Claim(id=key, accounts=accounts, n_bytes=0, n_files=0, holder=self._holder, counts=counts)
        return self._taking(body, claim, tenant, by, eager=True, before=size)

    def feeding(
        self, record: Resumable, size: Callable[[], int], body: Body, length: int | None, by: Principal
    ) -> Untaken | Taking:
        """Count a body that goes on with a resumable upload of `size()` bytes; the whole is to have `length`."""
        tenant = self._tenant_of(record.path, by)
        if tenant is None and not has_account(by):
            return _uncounted(body, by, size())
        claim = Claim(
            id=record.id,
            accounts=self._accounts(tenant, by),
            n_bytes=size(),
            ahead_bytes=length or 0,
            n_files=0 if record.is_part else 1,
            holder=self._holder,
            counts=is_counted(tenant),
        )
        limited = None if record.is_coded else tenant
        return self._taking(body, claim, limited, by, eager=True, size=size)

    def decoding(self, key: str, record: Resumable, body: Body) -> Untaken | Taking:
        """Count what a coded upload becomes, beside its coded bytes."""
        by = replace(ANYBODY, max_file_bytes=grant.max_file_bytes(record))
        return self.taking(key, record.path, body, by, alone=False)

    def _taking(
        self,
        body: Body,
        claim: Claim,
        tenant: Tenant | None,
        by: Principal,
        *,
        eager: bool,
        before: int = 0,
        size: Callable[[], int] | None = None,
    ) -> Taking:
        max_bytes = max_file_bytes(tenant, by)
        return Taking(
            body,
            claim,
            self._claim,
            self.leave,
            pace=self._paces.get(tenant.name) if tenant is not None else None,
            max_bytes=max_bytes - before if max_bytes is not None else None,
            refused=self._refused,
            size=size,
            eager=eager,
        )

    def _tenant_of(self, path: str, by: Principal) -> Tenant | None:
        """A part of a concatenation lies nowhere: it is its maker's."""
        return self.folders.tenant_of(path) if path else self._by_name.get(by.tenant)

    def _accounts(self, tenant: Tenant | None, by: Principal) -> tuple[Account, ...]:
        found = [account_of_tenant(tenant)] if tenant is not None else []
        return (*found, account_of_credential(by)) if has_account(by) else tuple(found)

    async def _claim(self, claim: Claim) -> int:
        try:
            return await self._ledger.claim(claim)
        except OverQuota:
            self._refused(claim)
            raise

    def _refused(self, claim: Claim) -> None:
        self._scarce_until.update((each.name, time.monotonic() + _SCARCE_SECONDS) for each in claim.accounts)

    def _is_scarce(self, accounts: tuple[Account, ...]) -> bool:
        now = time.monotonic()
        return any(self._scarce_until.get(each.name, 0.0) > now for each in accounts)

    async def begin(self, record: Resumable, n_bytes: int | None, by: Principal) -> None:
        """Before a resumable upload of so many bytes is begun: one more file, and the bytes must be free now. They are
        held when they are sent. Raises as `Taking` does."""
        tenant = self._tenant_of(record.path, by)
        check_file(n_bytes or 0, max_file_bytes(None if record.is_coded else tenant, by))
        if tenant is None and not has_account(by):
            return
        if has_account(by) and (record.is_part or record.parts or record.is_coded):
            raise Refused("with a ticket, an upload is one file, sent as it is")
        accounts, n_files = self._accounts(tenant, by), 0 if record.is_part else 1
        await self._claim(
            Claim(
                id=record.id,
                accounts=accounts,
                n_bytes=0,
                ahead_bytes=n_bytes or 0,
                n_files=n_files,
                holder=self._holder,
            )
        )

    async def hold(self, record: Resumable, n_bytes: int) -> None:
        """A concatenation is to have so many bytes. Raises `OverQuota`, `TooLarge`."""
        tenant = self.folders.tenant_of(record.path)
        for max_bytes in (grant.max_file_bytes(record), tenant.max_file_bytes if tenant is not None else None):
            check_file(n_bytes, max_bytes)
        account = self.folders.account_of(record.path)
        if account is not None:
            await self._claim(Claim(id=record.id, accounts=(account,), n_bytes=n_bytes))

    @asynccontextmanager
    async def at_once(self, path: str) -> AsyncIterator[None]:
        """One upload of many files, in a folder. Raises `TooManyUploads`."""
        tenant = self.folders.tenant_of(path)
        if tenant is None or not is_counted(tenant):
            yield
            return
        key, accounts = fresh_id(), (account_of_tenant(tenant),)
        claim = Claim(id=key, accounts=accounts, n_bytes=0, n_files=0, holder=self._holder, counts=True)
        try:
            await self._claim(claim)
            yield
        finally:
            await self.leave(key, None)

    async def leave(self, upload_id: str, n_bytes: int | None) -> None:
        """What it holds is so many bytes, or nothing, now that nobody feeds it."""
        try:
            await self._say(upload_id, n_bytes)
        except GateError as error:
            log.warning("upload %s: what it holds of a quota is told later: %s", upload_id, error)
            self._unsaid[upload_id] = n_bytes

    async def _say(self, upload_id: str, n_bytes: int | None) -> None:
        if n_bytes is None:
            await self._ledger.release(upload_id)
        else:
            await self._ledger.settle(upload_id, n_bytes)
        self._unsaid.pop(upload_id, None)

    async def tidy(self) -> None:
        """What could not be told, and what processes held that have ended."""
        for upload_id, n_bytes in list(self._unsaid.items()):
            await self._say(upload_id, n_bytes)
        if self._presence is None:
            return
        now = time.monotonic()
        self._scarce_until = {name: until for name, until in self._scarce_until.items() if until > now}
        gone = [each for each in await self._ledger.holders() if self._presence.has_ended(each)]
        if gone:
            sizes = await self._storage.partials()
            for each in gone:
                log.info("worker %s has ended; what its uploads held of quotas is free", each)
                await self._ledger.abandon(each, sizes)
        await self._ledger.forget_accounts(time.time() - _KEPT_SECONDS)

    async def recount(self) -> None:
        """After a crash, while nobody serves, once it is known which whole bodies came to nothing: what is held is what
        is there of unfinished uploads."""
        await self._ledger.recount(await self._storage.partials())
        if self._presence is not None:
            self._presence.forget_others()

    async def agree(self) -> None:
        """After that, once all uploads are settled: count what came into the folders some other way."""
        for each in self.folders.all:
            await reconcile(self._storage, self._ledger, each.root)

    async def issued(self, ticket: Ticket) -> None:
        """Remember who made it."""
        await self._ledger.open(ticket_account(ticket.id), ticket.issuer, ticket.expires_at)

    async def used(self, ticket_id: str) -> Usage:
        """What was stored with a ticket; nothing is known of one that was made elsewhere and not used yet."""
        return await self._ledger.usage(ticket_account(ticket_id))

    async def revoke(self, ticket_id: str, expires_at: float) -> None:
        """Nothing more is stored with it: also nothing that is on its way."""
        await self._ledger.shut(ticket_account(ticket_id), expires_at)

    async def told(self, tenant: Tenant) -> dict[str, object]:
        """For an operator."""
        used = await self._ledger.usage(account_of_tenant(tenant).name)
        return {
            "tenant": tenant.name,
            "root": tenant.root,
            "bytes": used.n_bytes,
            "files": used.n_files,
            "held_bytes": used.held_bytes,
            "max_bytes": tenant.max_bytes,
            "max_files": tenant.max_files,
        }

    async def is_closed(self, ticket_id: str) -> bool:
        """Whether a ticket was revoked."""
        return (await self.used(ticket_id)).is_closed

    def close(self) -> None:
        """Leave."""
        if self._presence is not None:
            self._presence.close()


def _uncounted(body: Body, by: Principal, before: int = 0) -> Untaken:
    """In nobody's folder only the size of one file has a limit, if that."""
    return Untaken(body if by.max_file_bytes is None else Bounded(body, by.max_file_bytes, before))
