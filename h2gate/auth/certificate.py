"""Client certificates: the TLS handshake has verified one against `client_ca`, and here it is told whose it is.

Being issued by that authority gives nobody a right: each certificate that has some is named, by its subject, one of its
alternative names, or its fingerprint.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptography import x509

from h2gate.auth.base import Evidence, Principal, Via
from h2gate.auth.rights import configured
from h2gate.errors import ExpiredCredential, Unauthenticated
from h2gate.tables import Table

_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Known:
    """Whoever shows a certificate that `names` has one of."""

    names: frozenset[str]
    """As `_names` makes them."""
    principal: Principal


def parse(tables: Sequence[Table]) -> tuple[Known, ...]:
    """Those of `[[certificates]]`. Raises `ConfigError`, also where two name the same: whose would it be?"""
    found: list[Known] = []
    seen: set[str] = set()
    for table in tables:
        known = _known(table)
        if twice := known.names & seen:
            kind, _, name = min(twice).partition(" ")
            raise table.error(kind, f"{name} is there twice")
        seen |= known.names
        found.append(known)
    return tuple(found)


def _known(table: Table) -> Known:
    names = set()
    if "subject" in table:
        with table.about("subject"):
            names.add(f"subject {x509.Name.from_rfc4514_string(table.text('subject')).rfc4514_string()}")
    if "fingerprint" in table:
        names.add(f"fingerprint {_fingerprint(table)}")
    names |= {f"san {each}" for each in table.texts("san", ())}
    if not names:
        raise table.error("subject", "there must be a subject, a san or a fingerprint")
    rights = configured(table)
    name = table.text("name", min(names).partition(" ")[2])
    tenant, groups = table.text("tenant", ""), table.texts("groups", ())
    table.end()
    via = Via.CERTIFICATE
    return Known(
        frozenset(names), Principal(name=f"certificate:{name}", via=via, rights=rights, tenant=tenant, groups=groups)
    )


def _fingerprint(table: Table) -> str:
    text = table.text("fingerprint").replace(":", "").lower()
    with table.about("fingerprint"):
        if len(bytes.fromhex(text)) != 32:
            raise ValueError("not the SHA-256 of a certificate, 64 hexadecimal digits")
    return text


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a certificate came to. `principal` is None for one that nobody has named."""

    principal: Principal | None
    not_after: float


class Certificates:
    """The `Authenticator` of certificates."""

    via = Via.CERTIFICATE

    def __init__(self, known: Sequence[Known]) -> None:
        self._known = {name: each.principal for each in known for name in each.names}
        self._seen: dict[bytes, _Seen] = {}

    async def authenticate(self, evidence: Evidence) -> Principal | None:
        """See `Authenticator`. The handshake may have been long ago, so the end of its time is looked at again."""
        if evidence.certificate is None:
            return None
        seen = self._seen.get(evidence.certificate)
        if seen is None:
            seen = self._look(evidence.certificate)
            if len(self._seen) >= _KEPT:
                self._seen.clear()
            self._seen[evidence.certificate] = seen
        if seen.principal is not None and time.time() >= seen.not_after:
            raise ExpiredCredential("the client certificate has expired")
        return seen.principal

    def _look(self, der: bytes) -> _Seen:
        certificate = x509.load_der_x509_certificate(der)
        not_after = certificate.not_valid_after_utc.timestamp()
        fingerprint = hashlib.sha256(der).hexdigest()
        for name in (f"fingerprint {fingerprint}", *_names(certificate)):
            if (found := self._known.get(name)) is not None:
                return _Seen(replace(found, credential=fingerprint, expires_at=not_after, mark=name), not_after)
        return _Seen(None, not_after)

    async def look_again(self, principal: Principal) -> Principal | None:
        """See `SupportsSecondLook`: whether what it was known by still has rights, as the same somebody."""
        if principal.via is not Via.CERTIFICATE:
            return None
        found = self._known.get(principal.mark)
        if found is None or found.name != principal.name:
            raise Unauthenticated("nobody is known by the client certificate any more")
        return found

    async def close(self) -> None:
        """Nothing to let go of."""


def _names(certificate: x509.Certificate) -> list[str]:
    """By what it may be named in the settings, its fingerprint aside."""
    found = [f"subject {certificate.subject.rfc4514_string()}"]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return found
    kinds: tuple[tuple[str, type[x509.GeneralName]], ...] = (
        ("dns", x509.DNSName),
        ("email", x509.RFC822Name),
        ("uri", x509.UniformResourceIdentifier),
    )
    return found + [f"san {word}:{each.value}" for word, kind in kinds for each in names if isinstance(each, kind)]
