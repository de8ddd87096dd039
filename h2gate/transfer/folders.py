"""Whose folder a path lies in, and in which accounts is counted what is stored there, with what credential."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from h2gate.auth.base import Principal, Via
from h2gate.auth.tenants import Tenant
from h2gate.ledger.base import Account


class Folders:
    """Tenants by their folders."""

    def __init__(self, tenants: Mapping[str, Tenant]) -> None:
        self.set(tenants)

    def set(self, tenants: Mapping[str, Tenant]) -> None:
        """These hold from now on."""
        self.all = tuple(tenants.values())
        self._by_root = {each.root: each for each in self.all}
        self._accounts = {each.name: account_of_tenant(each) for each in self.all}

    def tenant_of(self, path: str) -> Tenant | None:
        """Whose folder the path is, or lies in."""
        if not self._by_root:
            return None
        if (found := self._by_root.get("")) is not None:
            return found
        stop = path.find("/")
        while stop >= 0:
            if (found := self._by_root.get(path[:stop])) is not None:
                return found
            stop = path.find("/", stop + 1)
        return self._by_root.get(path)

    def account_of(self, path: str) -> Account | None:
        """For the ledger."""
        tenant = self.tenant_of(path)
        return self._accounts[tenant.name] if tenant is not None else None


def account_of_tenant(tenant: Tenant) -> Account:
    """The account of a tenant's folder."""
    return Account(
        name=f"/{tenant.root}",
        max_bytes=tenant.max_bytes,
        max_files=tenant.max_files,
        max_uploads=tenant.max_uploads,
    )


def is_counted(tenant: Tenant | None) -> bool:
    """Whether its uploads at once are counted."""
    return tenant is not None and tenant.max_uploads is not None


def has_account(by: Principal) -> bool:
    """Whether what is stored with this credential is counted."""
    return by.via is Via.TICKET or by.max_bytes is not None or by.max_files is not None


def ticket_account(ticket_id: str) -> str:
    """The name of its account."""
    return f"{Via.TICKET}:{ticket_id}"


def account_of_credential(by: Principal) -> Account:
    """The account of a ticket."""
    return Account(
        name=f"{by.via}:{by.credential}", max_bytes=by.max_bytes, max_files=by.max_files, expires_at=by.expires_at
    )


def roots(tenants: Iterable[Tenant]) -> set[tuple[str, str]]:
    """Their names and folders."""
    return {(each.name, each.root) for each in tenants}


def max_file_bytes(tenant: Tenant | None, by: Principal) -> int | None:
    """Of one file; None is no limit."""
    limits = [by.max_file_bytes, tenant.max_file_bytes if tenant is not None else None]
    return min((each for each in limits if each is not None), default=None)
