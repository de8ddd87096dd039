"""From the claims of a token whose signature is good to a principal: whom it is about, and what it lets them do.

A claim that is not what it should be is never repaired: the token is refused. Where a policy says that a claim tells
the tenant, a token without it is refused too, since its rights would reach beyond all tenants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwt import JWTClaimsRegistry

from h2gate.auth.base import Principal, Via
from h2gate.auth.issuers import Issuer
from h2gate.auth.rights import Right, Rights, parse
from h2gate.errors import BadScope, ExpiredCredential, Unauthenticated

_MAX_CHARS = 255
"""Of a subject (OpenID Connect Core section 2), a tenant, a group, a token's id."""
_MAX_GROUPS = 500
_FAR = 1e11
"""Seconds since the epoch; later than that is this."""


def principal(issuer: Issuer, claims: Mapping[str, Any], token_id: str, now: float) -> Principal:
    """Who it is. `token_id` is what the token is called where it has no name. Raises `Unauthenticated`."""
    _validate(issuer, claims, now)
    groups = _groups(issuer, claims)
    name = str(_claim(claims, issuer.claims.name) or "") if issuer.claims.name else ""
    return Principal(
        name=f"{issuer.issuer} {_text(claims.get('sub'), 'sub')}",
        via=Via.TOKEN,
        rights=_rights(issuer, claims, groups),
        mark=issuer.issuer,
        tenant=_text(_claim(claims, issuer.claims.tenant), issuer.claims.tenant) if issuer.claims.tenant else "",
        groups=groups,
        credential=_text(claims["jti"], "jti") if "jti" in claims else token_id,
        expires_at=min(claims["exp"] + issuer.leeway_seconds, _FAR),
        details={"name": name} if _is_text(name) else {},
    )


def _validate(issuer: Issuer, claims: Mapping[str, Any], now: float) -> None:
    """`iss`, `sub`, `aud`, `exp`, `nbf`, `iat` (RFC 7519 section 4.1)."""
    registry = JWTClaimsRegistry(
        now=int(now),
        leeway=issuer.leeway_seconds,
        iss={"essential": True, "value": issuer.issuer},
        aud={"essential": True, "values": list(issuer.audience)},
        sub={"essential": True},
        exp={"essential": True},
    )
    try:
        registry.validate(dict(claims))
    except ExpiredTokenError:
        raise ExpiredCredential("the token has expired") from None
    except JoseError as error:
        raise Unauthenticated(f"the token does not hold: {error.description}"[:200]) from None


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of this name, else that in the claim named before a dot; None where there is none."""
    if name in claims:
        return claims[name]
    for end, char in enumerate(name):
        if char == "." and isinstance(within := claims.get(name[:end]), Mapping):
            return _claim(within, name[end + 1 :])
    return None


def _groups(issuer: Issuer, claims: Mapping[str, Any]) -> tuple[str, ...]:
    found = _claim(claims, issuer.claims.groups) if issuer.claims.groups else None
    if found is None:
        return ()
    listed = [found] if isinstance(found, str) else found
    if not isinstance(listed, list) or len(listed) > _MAX_GROUPS:
        raise Unauthenticated(f"{issuer.claims.groups} of the token is no list of at most {_MAX_GROUPS} groups")
    return tuple(_text(each, issuer.claims.groups) for each in listed)


def _rights(issuer: Issuer, claims: Mapping[str, Any], groups: tuple[str, ...]) -> Rights:
    """Those in its scope; where that tells nothing of storage, those that the policy gives issuer and groups."""
    scope = _claim(claims, issuer.claims.scope)
    if scope is not None and not isinstance(scope, str | list):
        raise Unauthenticated(f"{issuer.claims.scope} of the token is no text")
    words = scope.split(" ") if isinstance(scope, str) else (scope or [])
    if not all(isinstance(each, str) for each in words):
        raise Unauthenticated(f"{issuer.claims.scope} of the token is no list of texts")
    if any(each.startswith("storage.") for each in words):
        try:
            return parse(words)
        except BadScope as error:
            raise Unauthenticated(f"a right in the token: {error.detail}") from None
    found: list[Right] = list(issuer.rights.all)
    for group in groups:
        found += issuer.group_rights.get(group, Rights()).all
    return Rights(tuple(dict.fromkeys(found)))


def _text(found: object, name: str) -> str:
    if not _is_text(found):
        raise Unauthenticated(f"{name} of the token is no text of 1 to {_MAX_CHARS} plain characters")
    return str(found)


def _is_text(found: object) -> bool:
    """Something that can stand in a record, a log and a field."""
    return isinstance(found, str) and 0 < len(found) <= _MAX_CHARS and found.isprintable()
