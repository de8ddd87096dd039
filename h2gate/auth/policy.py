"""The file of `--auth`: who may what. Every table is parsed by the module that owns it; a key that nobody knows is an
error, since a limit that is misspelt would be none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from h2gate import tables
from h2gate.auth import certificate, forwarded, issuers, keys, tenants, ticket
from h2gate.auth.base import Authenticator
from h2gate.auth.certificate import Certificates, Known
from h2gate.auth.chain import Chain
from h2gate.auth.forward import Forwarding
from h2gate.auth.forwarded import Forward
from h2gate.auth.issuers import Issuer
from h2gate.auth.keys import Key, Keys
from h2gate.auth.tenants import Tenant
from h2gate.auth.ticket import Issuing
from h2gate.auth.token import Tokens
from h2gate.tables import Table

ELSEWHERE = ("audit",)
"""Tables that belong to other rooms: handed to them as they are (`Policy.table`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """All that the file says."""

    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    keys: tuple[Key, ...] = ()
    certificates: tuple[Known, ...] = ()
    issuers: tuple[Issuer, ...] = ()
    forward: Forward | None = None
    client_ca: Path | None = None
    """Authorities of client certificates (PEM); with it the TLS handshake asks for one."""
    tickets: Issuing | None = None
    elsewhere: Mapping[str, Table] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        """Whether it is counted who has stored how much."""
        return bool(self.tenants) or self.tickets is not None

    def table(self, name: str) -> Table:
        """One of those in `ELSEWHERE`, empty where there is none."""
        return self.elsewhere.get(name) or Table(Path(), name, {})

    def chain(self, *, expired_seconds: float, more: Sequence[Authenticator] = ()) -> Chain:
        """All ways that are set up, and `more`. To be called in the loop that uses it, and to be closed."""
        found: list[Authenticator] = [*more]
        if self.keys:
            found.append(Keys(self.keys))
        if self.issuers:
            found.append(Tokens(self.issuers))
        if self.forward is not None:  # asked for what nobody else knows
            found.append(Forwarding(self.forward))
        ambient = [Certificates(self.certificates)] if self.certificates else []
        trusted = [each.issuer for each in self.issuers]
        return Chain(found, ambient, tenants=self.tenants, expired_seconds=expired_seconds, issuers=trusted)


def load(file: Path) -> Policy:
    """Raises `ConfigError`."""
    top = tables.read(file)
    known = tenants.parse(top.table("tenants"))
    policy = Policy(
        tenants=known,
        keys=keys.parse(top.tables("keys")),
        certificates=certificate.parse(top.tables("certificates")),
        issuers=issuers.parse(top.tables("issuers")),
        forward=forwarded.parse(top.table("forward")) if "forward" in top else None,
        client_ca=top.path("client_ca", None),
        tickets=ticket.parse(top.table("tickets")),
        elsewhere={name: top.table(name) for name in ELSEWHERE if name in top},
    )
    top.end()
    _check(top, policy)
    return policy


def _check(top: Table, policy: Policy) -> None:
    for each in (*(key.principal for key in policy.keys), *(known.principal for known in policy.certificates)):
        if each.tenant and each.tenant not in policy.tenants:
            raise top.error("tenant", f"{each.name}: there is no [tenants.{each.tenant}]")
    if policy.certificates and policy.client_ca is None:
        raise top.error("client_ca", "is missing: no certificate would be asked for")
