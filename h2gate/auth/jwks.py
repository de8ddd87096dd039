"""The keys of an issuer, found by OpenID Connect Discovery, kept, and fetched anew before they are old.

An issuer that is down costs nobody anything for a while: what is known of it holds for a bounded time. One that names
another issuer, or keys that no algorithm here can use, is not believed. Who invents key ids cannot make us ask often.
"""

from __future__ import annotations

import asyncio
import logging
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from h2gate.auth import outbound
from h2gate.auth.issuers import Issuer
from h2gate.auth.outbound import Outbound, Unanswered
from h2gate.errors import Unrecognisable

Key = RSAKey | ECKey | OKPKey

_DISCOVERY = "/.well-known/openid-configuration"
_SECONDS = 5.0
"""For each of the two questions."""
_MAX_BYTES = 256 << 10
_MAX_KEYS = 100
_RETRY_SECONDS = 1.0
_UNKNOWN_BURST = 5
_UNKNOWN_SECONDS = 10.0
"""Key ids that nobody knows make us ask five times at once, then once in so long."""
_RSA_BITS = range(2048, 8193)
_KINDS: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_PUBLIC = ("kty", "kid", "use", "alg", "key_ops", "n", "e", "crv", "x", "y")

_log = logging.getLogger("h2gate.auth")


class IssuerKeys:
    """For one event loop."""

    def __init__(self, issuer: Issuer, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._outbound = Outbound(issuer.ca, seconds=_SECONDS, max_bytes=_MAX_BYTES, connections=2)
        self._keys: tuple[Key, ...] = ()
        self._fetched_at = float("-inf")
        self._not_before = float("-inf")
        self._fetching: asyncio.Task[bool] | None = None
        self._spare = float(_UNKNOWN_BURST)
        self._spare_at = clock()
        self.generation = 0
        """Another number when the keys are others: what was verified before is to be verified again."""

    async def ready(self) -> None:
        """Returns when there are keys that hold; has them fetched when it is time. Raises `Unrecognisable`."""
        age = self._clock() - self._fetched_at
        if age <= self._issuer.keys_seconds:
            return
        holds = self._issuer.keys_seconds + self._issuer.stale_seconds
        if self._fetching is None and self._clock() >= self._not_before:
            self._begin()
        if age > holds and not (self._fetching is not None and await self._fetched(self._fetching)):
            raise Unrecognisable("the issuer of the token cannot be asked for its keys")

    async def candidates(self, kid: str | None, algorithm: str) -> list[Key]:
        """The keys that a token with this header may be signed with. Raises `Unrecognisable`."""
        await self.ready()
        found = self._fitting(kid, algorithm)
        if not found and kid is not None:
            if not self._may_ask_again():
                raise Unrecognisable("the keys of the issuer have been asked for too often")
            if not await self._fetched(self._fetching or self._begin()):
                raise Unrecognisable("the issuer of the token cannot be asked for its keys")
            found = self._fitting(kid, algorithm)
        return found

    def _fitting(self, kid: str | None, algorithm: str) -> list[Key]:
        return [each for each in self._keys if (kid is None or each.get("kid") == kid) and _fits(each, algorithm)]

    def _may_ask_again(self) -> bool:
        now = self._clock()
        self._spare = min(_UNKNOWN_BURST, self._spare + (now - self._spare_at) / _UNKNOWN_SECONDS)
        self._spare_at = now
        if self._fetching is not None:  # asked already
            return True
        if self._spare < 1:
            return False
        self._spare -= 1
        return True

    def _begin(self) -> asyncio.Task[bool]:
        self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetched(self, fetching: asyncio.Task[bool]) -> bool:
        """Whether it worked; it goes on for the others when one who waits for it is gone."""
        return await asyncio.shield(fetching)

    async def _fetch(self) -> bool:
        try:
            keys = await self._ask()
        except Unanswered as error:
            _log.warning("the keys of the issuer %s could not be fetched: %s", self._issuer.issuer, error)
            self._not_before = self._clock() + _RETRY_SECONDS
            return False
        finally:
            self._fetching = None
        if [each.as_dict() for each in keys] != [each.as_dict() for each in self._keys]:
            self.generation += 1
            self._keys = keys
        self._fetched_at = self._clock()
        return True

    async def _ask(self) -> tuple[Key, ...]:
        about = (await self._outbound.get(self._issuer.issuer.rstrip("/") + _DISCOVERY)).json()
        if about.get("issuer") != self._issuer.issuer:
            raise Unanswered("it calls itself by another name")
        address = about.get("jwks_uri")
        where = outbound.parsed(address) if isinstance(address, str) else None
        if where is None or (where.scheme != "https" and self._issuer.issuer.startswith("https:")):
            raise Unanswered("its jwks_uri is no address to ask")
        listed = (await self._outbound.get(str(where))).json().get("keys")
        if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
            raise Unanswered(f"it has no list of at most {_MAX_KEYS} keys")
        keys = tuple(key for each in listed if (key := public_key(each)) is not None)
        if not keys:
            raise Unanswered("none of its keys can be used")
        return keys

    async def close(self) -> None:
        """Ends what is being fetched."""
        if (fetching := self._fetching) is not None:
            fetching.cancel()
            await asyncio.wait([fetching])
        await self._outbound.close()


def public_key(listed: object) -> Key | None:
    """A key of a JWKS (RFC 7517), what is private left out; None for one that signs nothing here, or too weakly."""
    if not isinstance(listed, Mapping) or listed.get("use", "sig") != "sig":
        return None
    try:
        kind = _KINDS[listed["kty"]]
        if kind is RSAKey and not _is_sound(listed):
            return None
        return kind.import_key({name: listed[name] for name in _PUBLIC if name in listed})
    except (JoseError, ArithmeticError, ValueError, TypeError, KeyError):
        return None


def _is_sound(listed: Mapping[str, Any]) -> bool:
    """A modulus that is neither weak nor slow, and an exponent that is not slow."""
    modulus, exponent = (int.from_bytes(urlsafe_b64decode(listed[name] + "===")) for name in ("n", "e"))
    return modulus.bit_length() in _RSA_BITS and exponent.bit_length() <= 64


def _fits(key: Key, algorithm: str) -> bool:
    try:
        JWSRegistry.algorithms[algorithm].check_key(key)
        key.check_key_op("verify")
    except JoseError:
        return False
    return True
