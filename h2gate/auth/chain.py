"""Who asks, by all the ways that are set up, in order; and what an answer says when nobody was recognised.

A credential that is no good ends it: nobody is recognised by another one instead. One that is sent along by itself, as
a certificate is, counts only where no other came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Protocol, runtime_checkable

from h2gate.auth.base import Authenticator, Evidence, Principal, Via
from h2gate.auth.rights import EVERYTHING
from h2gate.auth.tenants import Tenant
from h2gate.errors import ExpiredCredential, Forbidden, GateError, Unauthenticated

ANYBODY = Principal(name="", via=Via.NOBODY, rights=EVERYTHING)
"""Who asks where nobody is asked who they are."""
_PLACED_KEPT = 1024
_SETTLED = frozenset({Via.KEY, Via.TOKEN})
"""Ways that look at Authorization alone: who was recognised stays so until the credential expires or the policy is
another one, and with it the chain."""
_BEARER = "Bearer "
_RECENT_SECONDS = 1.0
"""So long the word of an issuer's keys counts without another look at them."""
_RECENT_KEPT = 1024
_CLOSE_SECONDS = 10.0


@runtime_checkable
class SupportsSecondLook(Protocol):
    """An authenticator whose credentials may be withdrawn, or used up, while a request runs."""

    async def look_again(self, principal: Principal) -> Principal | None:
        """Raises `Unauthenticated` where the credential of `principal`, if it is one of its own, is no good by now.
        What the policy has of them now, as `authenticate` would tell; None where that is all in the credential."""


@runtime_checkable
class SupportsChallenge(Protocol):
    """An authenticator that wants to be asked in words of its own."""

    challenge: str
    """A value of `WWW-Authenticate`, beside that of Bearer."""


class Chain:
    """`expired_seconds`: for so long after a credential has expired a request may end that began before."""

    def __init__(
        self,
        authenticators: Sequence[Authenticator],
        ambient: Sequence[Authenticator] = (),
        *,
        tenants: Mapping[str, Tenant] = {},
        expired_seconds: float = 0.0,
        issuers: Sequence[str] = (),
    ) -> None:
        """`ambient` are the ways that need no field of the request. `issuers` are told to whoever asks (RFC 9728)."""
        self._authenticators = tuple(authenticators)
        self._ambient = tuple(ambient)
        self._tenants = tenants
        self._expired_seconds = expired_seconds
        self.issuers = tuple(issuers)
        everybody = (*self._authenticators, *self._ambient)
        self._ways = {each.via for each in everybody}
        self._second_looks = [each for each in everybody if isinstance(each, SupportsSecondLook)]
        self._challenges = [each.challenge for each in everybody if isinstance(each, SupportsChallenge)]
        self._placed: dict[int, tuple[Principal, Principal]] = {}
        self._recent: dict[bytes, tuple[float, Principal]] = {}
        """By the hash of the field: until when, and who."""
        self._n_asking = 0
        self._quiet = asyncio.Event()

    def recall(self, authorization: str) -> Principal | None:
        """Who has just been recognised by the same bearer token, or key; None: `recognise` is to be asked."""
        found = self._recent.get(sha256(authorization.encode()).digest())
        return found[1] if found is not None and time.time() < found[0] else None

    def _keep(self, evidence: Evidence, principal: Principal) -> None:
        """For `recall`, where nothing else of the evidence had a say: a token may be bound to a certificate."""
        authorization = evidence.headers.get("authorization", "")
        if principal.via not in _SETTLED or evidence.certificate is not None or not authorization.startswith(_BEARER):
            return
        if len(self._recent) >= _RECENT_KEPT:
            self._recent.clear()
        until = time.time() + _RECENT_SECONDS
        until = min(until, principal.expires_at) if principal.expires_at is not None else until
        self._recent[sha256(authorization.encode()).digest()] = until, principal

    async def recognise(self, evidence: Evidence) -> Principal:
        """Who it is, their rights relative to /files/. Raises `Unauthenticated` with its challenges, `Forbidden`,
        `Unrecognisable`."""
        self._n_asking += 1
        try:
            for each in self._authenticators:
                if (found := await each.authenticate(evidence)) is not None:
                    placed = self._place(found)
                    self._keep(evidence, placed)
                    return placed
            return self._place(await self._ask_ambient(evidence))
        except Unauthenticated as error:
            self._challenge(error, evidence)
            raise
        finally:
            self._n_asking -= 1
            if not self._n_asking:
                self._quiet.set()

    async def _ask_ambient(self, evidence: Evidence) -> Principal:
        """By what comes by itself."""
        if "authorization" in evidence.headers:
            raise Unauthenticated("the credential is not of a kind that is known here", error="invalid_token")
        for each in self._ambient:
            if (found := await each.authenticate(evidence)) is not None:
                return found
        raise Unauthenticated("a credential is needed", error="")

    def _place(self, principal: Principal) -> Principal:
        """With rights below the root of their tenant. Made once for a principal that is recognised again and again."""
        if not principal.name:  # which is everybody's, where nobody is asked
            raise Unauthenticated("the credential does not say whose it is")
        if not principal.tenant:
            return principal
        kept = self._placed.get(id(principal))
        if kept is not None and kept[0] is principal:
            return kept[1]
        tenant = self._tenants.get(principal.tenant)
        if tenant is None:
            raise Forbidden(f"there is no tenant {principal.tenant[:100]!r} here")
        placed = replace(principal, rights=principal.rights.under(tenant.root))
        if len(self._placed) >= _PLACED_KEPT:
            self._placed.clear()
        self._placed[id(principal)] = (principal, placed)
        return placed

    def root_of(self, principal: Principal) -> str:
        """What the rights in the credential of `principal` are relative to."""
        tenant = self._tenants.get(principal.tenant)
        return tenant.root if tenant is not None else ""

    def is_settled(self, principal: Principal) -> bool:
        """Of somebody whom this very chain has recognised: whether `look_again` would tell nothing new."""
        return principal.via in _SETTLED and not self._is_over(principal)

    def _is_over(self, principal: Principal) -> bool:
        return principal.expires_at is not None and time.time() > principal.expires_at + self._expired_seconds

    async def look_again(self, principal: Principal) -> Principal:
        """Whether the credential still holds, for what was begun with it; with the rights that it has now. Raises
        `Unauthenticated` with its challenges, `Forbidden`."""
        try:
            return await self._found_again(principal)
        except Unauthenticated as error:
            self._challenge(error, None)
            raise

    async def _found_again(self, principal: Principal) -> Principal:
        if self._is_over(principal):
            raise ExpiredCredential("the credential expired long before the end of the request")
        if principal.via not in self._ways:  # the last of its kind was withdrawn
            raise Unauthenticated(f"by a {principal.via} nobody is recognised any more")
        found = principal
        for each in self._second_looks:
            if (now := await each.look_again(principal)) is not None:
                found = self._place(now)
        return found

    def _challenge(self, error: GateError, evidence: Evidence | None) -> None:
        """RFC 6750 section 3: no error where no credential came."""
        if any(name == b"www-authenticate" for name, _ in error.headers):  # somebody else's, passed on
            return
        code = error.members.pop("error", "invalid_token")
        error.headers += [(b"www-authenticate", each.encode()) for each in self._values(str(code), error, evidence)]

    def _values(self, code: str, error: GateError, evidence: Evidence | None) -> list[str]:
        fields = ['realm="h2gate"']
        if code:
            fields += [f'error="{code}"', f'error_description="{_quotable(error.detail)}"']
        if self.issuers and evidence is not None and evidence.authority:
            scheme = "https" if evidence.secure else "http"
            where = f"{scheme}://{evidence.authority}/.well-known/oauth-protected-resource"
            fields.append(f'resource_metadata="{_quotable(where)}"')
        return [f"Bearer {', '.join(fields)}", *self._challenges]

    async def close(self) -> None:
        """Close all of them, when nobody is being recognised any more; that is waited for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                while self._n_asking:
                    self._quiet.clear()
                    await self._quiet.wait()
        for each in (*self._authenticators, *self._ambient):
            await each.close()


def _quotable(text: str) -> str:
    """What RFC 6750 section 3 lets stand between quotes."""
    return "".join(char if " " <= char <= "~" and char not in '"\\' else "'" for char in text)
