"""Issuers of tokens that are trusted: what the policy says of each (`[[issuers]]`).

Nothing is trusted that a token says of itself: where keys are, which algorithms and which audience hold is fixed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from h2gate.auth import outbound
from h2gate.auth.rights import Rights, configured
from h2gate.tables import Table

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
"""What holds where a policy names none. Each signs with a private key; those that share a secret are never taken."""
KNOWN = (*ALGORITHMS, "RS384", "RS512", "PS384", "PS512", "ES384", "ES512")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """In which claim what is found: a name, or names in names with dots between. "" is nowhere."""

    scope: str = "scope"
    tenant: str = ""
    groups: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """One of them. Times in seconds."""

    issuer: str
    """Its name and, with `/.well-known/openid-configuration` behind it, where it tells of itself."""
    audience: tuple[str, ...]
    """A token must be meant for one of these."""
    algorithms: tuple[str, ...] = ALGORITHMS
    leeway_seconds: int = 30
    """Its clock and ours may differ by."""
    claims: Claims = field(default_factory=Claims)
    rights: Rights = field(default_factory=Rights)
    """Of whoever has no `storage.` scope."""
    group_rights: Mapping[str, Rights] = field(default_factory=dict)
    """What such a one has besides, by group."""
    ca: Path | None = None
    """Authorities its certificate may come from (PEM), instead of the system's."""
    keys_seconds: float = 600.0
    """Its keys are fetched anew so often: a key it withdraws holds for so long."""
    stale_seconds: float = 4 * 3600.0
    """They hold for so long while it cannot be reached."""


def parse(tables: Sequence[Table]) -> tuple[Issuer, ...]:
    """Those of `[[issuers]]`. Raises `ConfigError`."""
    found: dict[str, Issuer] = {}
    for table in tables:
        issuer = _issuer(table)
        if issuer.issuer in found:
            raise table.error("issuer", f"{issuer.issuer} is there twice")
        found[issuer.issuer] = issuer
    return tuple(found.values())


def _issuer(table: Table) -> Issuer:
    issuer = Issuer(
        issuer=outbound.url(table, "issuer"),
        audience=_audience(table),
        algorithms=_algorithms(table),
        leeway_seconds=table.integer("leeway_seconds", 30),
        claims=_claims(table.table("claims")),
        rights=_rights(table, "rights"),
        group_rights=_group_rights(table.table("group_rights")),
        ca=table.path("ca", None),
        keys_seconds=table.number("keys_seconds", 600.0, least=1.0),
        stale_seconds=table.number("stale_seconds", 4 * 3600.0),
    )
    if issuer.leeway_seconds > 300:
        raise table.error("leeway_seconds", "more than 300: clocks do not differ so much")
    if issuer.group_rights and not issuer.claims.groups:
        raise table.error("group_rights", "no claim tells the groups (claims.groups)")
    table.end()
    return issuer


def _audience(table: Table) -> tuple[str, ...]:
    found = table.texts("audience")
    if not found or "" in found:
        raise table.error("audience", "must name at least one: else tokens meant for others would do")
    return found


def _algorithms(table: Table) -> tuple[str, ...]:
    found = table.texts("algorithms", ALGORITHMS)
    for each in found:
        if each not in KNOWN:
            raise table.error("algorithms", f"{each!r} is not one of {', '.join(KNOWN)}")
    if not found:
        raise table.error("algorithms", "must name at least one")
    return found


def _claims(table: Table) -> Claims:
    claims = Claims(
        scope=table.text("scope", "scope"),
        tenant=table.text("tenant", ""),
        groups=table.text("groups", ""),
        name=table.text("name", ""),
    )
    table.end()
    return claims


def _rights(table: Table, key: str) -> Rights:
    return configured(table, key) if key in table else Rights()


def _group_rights(table: Table) -> Mapping[str, Rights]:
    return {group: configured(table, group) for group in table.names()}
