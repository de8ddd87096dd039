"""Static keys, `h2g_<id>_<secret>`, for machines: sent as a bearer token, or as the password of Basic (RFC 7617).

Only the SHA-256 of a secret is kept: it has 256 random bits, so nothing slower is needed, and a request costs no more
than that and a look in a dictionary.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from h2gate.auth.base import Evidence, Principal, Via
from h2gate.auth.rights import Rights, configured, strict
from h2gate.errors import ExpiredCredential, Unauthenticated
from h2gate.tables import Table

PREFIX = "h2g_"
_KEY = re.compile(r"h2g_([A-Za-z0-9-]{1,64})_([A-Za-z0-9_-]{16,256})")
_BEARER = "Bearer "
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Key:
    """One that is known. The rights of its principal are relative to its tenant's root."""

    id: str
    sha256: bytes
    """Of the secret."""
    principal: Principal


_NO_KEY = Key("", bytes(32), Principal(name="", via=Via.KEY, rights=Rights()))
"""Compared with where none is called so: that takes as long."""


def make(key_id: str) -> tuple[str, str]:
    """A new key, and the hexadecimal SHA-256 of its secret, which is all that the gateway is to have."""
    secret = secrets.token_urlsafe(32)
    return f"{PREFIX}{key_id}_{secret}", hashlib.sha256(secret.encode()).hexdigest()


def written(key_id: str, rights: str, tenant: str | None, expires: datetime | None) -> tuple[str, str]:
    """A new key, and the lines that make it known. Raises `BadScope`."""
    key, digest = make(key_id)
    lines = ["[[keys]]", f'id = "{key_id}"', f'sha256 = "{digest}"', f"rights = {json.dumps(str(strict(rights)))}"]
    lines += [f"tenant = {json.dumps(tenant)}"] if tenant else []
    lines += [f"expires = {expires:%Y-%m-%dT%H:%M:%SZ}"] if expires else []
    return key, "\n".join(lines) + "\n"


def is_id(text: str) -> bool:
    """Whether a key may be called so."""
    return _ID.fullmatch(text) is not None


def parse(tables: Sequence[Table]) -> tuple[Key, ...]:
    """Those of `[[keys]]`. Raises `ConfigError`."""
    found: dict[str, Key] = {}
    for table in tables:
        key = _key(table)
        if key.id in found:
            raise table.error("id", f"{key.id} is there twice")
        found[key.id] = key
    return tuple(found.values())


def _key(table: Table) -> Key:
    key_id, digest = table.text("id"), table.text("sha256").lower()
    if not is_id(key_id):
        raise table.error("id", f"{key_id!r} is not made of letters, digits and hyphens")
    if not _SHA256.fullmatch(digest):
        raise table.error("sha256", "not 64 hexadecimal digits")
    principal = Principal(
        name=f"key:{key_id}",
        via=Via.KEY,
        rights=configured(table),
        tenant=table.text("tenant", ""),
        groups=table.texts("groups", ()),
        credential=key_id,
        mark=digest[:16],
        expires_at=table.moment("expires", None),
    )
    table.end()
    return Key(key_id, bytes.fromhex(digest), principal)


def presented(authorization: str) -> tuple[str, str] | None:
    """Id and secret of the key in the field; None where there is none."""
    if authorization.startswith(_BEARER):  # as almost always
        found = _KEY.fullmatch(authorization, len(_BEARER))
        if found is not None:
            return found[1], found[2]
    scheme, _, value = authorization.partition(" ")
    value = value.strip()
    if scheme.lower() == "basic":
        try:
            value = b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            return None
    elif scheme.lower() != "bearer":
        return None
    found = _KEY.fullmatch(value)
    return (found[1], found[2]) if found is not None else None


class Keys:
    """The `Authenticator` of keys."""

    via = Via.KEY
    challenge = 'Basic realm="h2gate", charset="UTF-8"'

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = {each.id: each for each in keys}

    async def authenticate(self, evidence: Evidence) -> Principal | None:
        """See `Authenticator`."""
        authorization = evidence.headers.get("authorization")
        found = presented(authorization) if authorization is not None else None
        if found is None:
            return None
        key_id, secret = found
        key = self._keys.get(key_id, _NO_KEY)
        digest = hashlib.sha256(secret.encode()).digest()
        if not hmac.compare_digest(digest, key.sha256) or key is _NO_KEY:
            raise Unauthenticated("the key is not known here")
        principal = key.principal
        if principal.expires_at is not None and time.time() >= principal.expires_at:
            raise ExpiredCredential(f"the key {key_id} has expired")
        return principal

    async def look_again(self, principal: Principal) -> Principal | None:
        """See `SupportsSecondLook`: whether the key is still there, with the secret that it had."""
        if principal.via is not Via.KEY:
            return None
        key = self._keys.get(principal.credential)
        if key is None or key.principal.mark != principal.mark:
            raise Unauthenticated(f"the key {principal.credential} was withdrawn")
        return key.principal

    async def close(self) -> None:
        """Nothing to let go of."""
