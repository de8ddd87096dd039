"""Tokens of OpenID Connect issuers: JWTs (RFC 7519, RFC 9068), as bearer tokens (RFC 6750).

A token may only choose among what the policy allows: its issuer, one of that issuer's algorithms, one of its published
keys. What it says of where keys are (`jku`, `jwk`, `x5u`) is never looked at. One that was verified is known again by
its hash, for some minutes; the token itself is not kept.
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jws import JWSRegistry

from h2gate.auth import claims
from h2gate.auth.base import Evidence, Principal, Via
from h2gate.auth.issuers import Issuer
from h2gate.auth.jwks import IssuerKeys, Key
from h2gate.errors import ExpiredCredential, Unauthenticated

_MAX_BYTES = 16 << 10
_MAX_HEADER_BYTES = 4 << 10
_MAX_CANDIDATES = 4
"""Keys that are tried for a token which does not name its key."""
_KNOWN_SECONDS = 300.0
_KNOWN_BYTES = 4 << 20
"""Of the tokens that are known again; what was made of one takes about as much."""
_TYPES = ("jwt", "at+jwt", "application/at+jwt")


class _Registry(JWSRegistry):
    """The library's checks, with the algorithms of a policy instead of those that the library recommends."""

    max_header_length = _MAX_HEADER_BYTES
    max_signature_length = 2048

    def get_alg(self, name: str) -> Any:
        """Raises `UnsupportedAlgorithmError`."""
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    issuer: str
    generation: int
    """Of the issuer's keys."""
    bound_to: str | None
    """The hash of the certificate that must come along (RFC 8705)."""
    until: float
    n_bytes: int


class Tokens:
    """The `Authenticator` of tokens. For one event loop."""

    via = Via.TOKEN

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuers = {each.issuer: each for each in issuers}
        self._keys = {each.issuer: IssuerKeys(each, monotonic) for each in issuers}
        self._clock = clock
        self._registries = {
            each.issuer: _Registry(algorithms=each.algorithms, strict_check_header=False) for each in issuers
        }
        self._known: dict[bytes, _Verified] = {}
        self._known_bytes = 0

    async def authenticate(self, evidence: Evidence) -> Principal | None:
        """See `Authenticator`. None also for a token of an issuer that is not named in the policy."""
        token = bearer(evidence.headers.get("authorization", ""))
        if token is None:
            return None
        digest = sha256(token).digest()
        verified = await self._recalled(digest)
        if verified is None:
            verified = await self._verified(token, digest)
        if verified is None:
            return None
        _check_bound(verified.bound_to, evidence)
        return verified.principal

    async def _recalled(self, digest: bytes) -> _Verified | None:
        verified = self._known.get(digest)
        if verified is None:
            return None
        now = self._clock()
        if now > (verified.principal.expires_at or 0):
            self._forget(digest)
            raise ExpiredCredential("the token has expired")
        keys = self._keys[verified.issuer]
        await keys.ready()
        if now > verified.until or verified.generation != keys.generation:
            self._forget(digest)
            return None
        return verified

    async def _verified(self, token: bytes, digest: bytes) -> _Verified | None:
        header, unproven = _parts(token)
        name = unproven.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            return None
        algorithm, kid = _checked(header, issuer)
        keys = self._keys[issuer.issuer]
        candidates = await keys.candidates(kid, algorithm)
        said = _said(token, candidates[:_MAX_CANDIDATES], self._registries[issuer.issuer])
        principal = claims.principal(issuer, said, f"sha256:{digest.hex()[:16]}", self._clock())
        until = self._clock() + _KNOWN_SECONDS
        verified = _Verified(principal, issuer.issuer, keys.generation, _bound_to(said), until, len(token))
        self._remember(digest, verified)
        return verified

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        """The oldest go first."""
        self._forget(digest)
        self._known[digest] = verified
        self._known_bytes += verified.n_bytes
        while self._known_bytes > _KNOWN_BYTES:
            self._forget(next(iter(self._known)))

    def _forget(self, digest: bytes) -> None:
        """May have been done already, while somebody waited."""
        if (gone := self._known.pop(digest, None)) is not None:
            self._known_bytes -= gone.n_bytes

    async def look_again(self, principal: Principal) -> None:
        """See `chain.SupportsSecondLook`: whether the issuer is still trusted."""
        if principal.via is Via.TOKEN and principal.mark not in self._issuers:
            raise Unauthenticated("the issuer of the token is not trusted any more")

    async def close(self) -> None:
        """See `Authenticator`."""
        for each in self._keys.values():
            await each.close()


def bearer(authorization: str) -> bytes | None:
    """The token in the field, where it looks like a JWT. Raises `Unauthenticated` where it is too long."""
    scheme, _, value = authorization.partition(" ")
    value = value.strip()
    if scheme.lower() != "bearer" or value.count(".") != 2 or not value.startswith("ey") or not value.isascii():
        return None
    if len(value) > _MAX_BYTES:
        raise Unauthenticated(f"the token is longer than {_MAX_BYTES} bytes")
    return value.encode()


def _parts(token: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, neither proven."""
    header, payload, _ = token.split(b".")
    if len(header) > _MAX_HEADER_BYTES:
        raise Unauthenticated(f"the header of the token is longer than {_MAX_HEADER_BYTES} bytes")
    try:
        return _object(urlsafe_b64decode(header + b"===")), _object(urlsafe_b64decode(payload + b"==="))
    except ValueError:
        raise Unauthenticated("the token is no JWT") from None


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unauthenticated("the token is no JWT")
    return found


def _checked(header: Mapping[str, Any], issuer: Issuer) -> tuple[str, str | None]:
    """Algorithm and key id. Raises `Unauthenticated`, also for what is critical: no extension is understood here."""
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if algorithm not in issuer.algorithms:
        raise Unauthenticated("the token is signed with an algorithm that is not allowed")
    if "crit" in header or "b64" in header or not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise Unauthenticated("the token is of a kind that is not understood here")
    if kid is not None and not isinstance(kid, str):
        raise Unauthenticated("the key of the token has no name")
    return algorithm, kid


def _said(token: bytes, candidates: Sequence[Key], registry: JWSRegistry) -> dict[str, Any]:
    """The claims, once one of the keys has proven them."""
    for key in candidates:
        try:
            payload = jws.deserialize_compact(token, key, registry=registry).payload
        except (JoseError, ValueError):
            continue
        return _object(payload or b"")
    raise Unauthenticated("no key of its issuer has signed the token")


def _bound_to(said: Mapping[str, Any]) -> str | None:
    """What `cnf` (RFC 7800) binds the token to. Raises `Unauthenticated` where that cannot be checked here."""
    if "cnf" not in said:
        return None
    cnf = said["cnf"]
    bound = cnf.get("x5t#S256") if isinstance(cnf, Mapping) and len(cnf) == 1 else None
    if not isinstance(bound, str) or not bound.isascii():
        raise Unauthenticated("the token is bound to a key in a way that is not understood here")
    return bound


def _check_bound(bound_to: str | None, evidence: Evidence) -> None:
    if bound_to is None:
        return
    found = urlsafe_b64encode(sha256(evidence.certificate or b"").digest()).rstrip(b"=")
    if evidence.certificate is None or not compare_digest(found, bound_to.encode()):
        raise Unauthenticated("the token is bound to another client certificate")
