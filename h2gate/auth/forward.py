"""Forward authentication: another server is asked whether a request may pass, as nginx (auth_request) and Traefik
(forwardAuth) ask, with the same fields, before anything of the body is read. 2xx is yes and says who it is; 401 and 403
are passed on; whatever else comes, or nothing in time, allows nothing (503).

Bounded: a question ends after some seconds, questions at once are limited, the same one is asked once at a time and
remembered for a moment, and a server that is down is left alone for a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from h2gate.auth.base import Evidence, Principal, Via
from h2gate.auth.circuit import Circuit
from h2gate.auth.forwarded import Forward, judged, kept_seconds
from h2gate.auth.outbound import Answer, Outbound, Unanswered
from h2gate.errors import GateError, Unauthenticated, Unrecognisable

_CONNECTIONS = 32
_MAX_ASKING = 256
"""Different questions at once, those that wait for a connection included."""
_DOWN = (502, 503, 504)
_MAX_BYTES = 64 << 10
_MAX_KEPT = 4096
_REFUSED_SECONDS = 1.0
"""A no is remembered for so long at most."""
_UPLOAD_FIELDS = ("content-type", "upload-length", "upload-metadata")
"""What the server may want to know of an upload."""

_log = logging.getLogger("h2gate.auth")

_Verdict = Principal | GateError


@dataclass(frozen=True, slots=True)
class _Kept:
    verdict: _Verdict
    until: float


class Forwarding:
    """The `Authenticator` that asks. For one event loop."""

    via = Via.FORWARD

    def __init__(self, settings: Forward, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._outbound = Outbound(
            settings.ca, seconds=settings.timeout_seconds, max_bytes=_MAX_BYTES, connections=_CONNECTIONS
        )
        self._circuit = Circuit(clock)
        self._asking: dict[bytes, asyncio.Task[_Verdict]] = {}
        self._n_of_peer: Counter[str] = Counter()
        self._kept: dict[bytes, _Kept] = {}

    async def authenticate(self, evidence: Evidence) -> Principal | None:
        """See `Authenticator`; None where none of the fields came that the server is to judge by."""
        handed_on = [name for name in self._settings.forward_headers if name in evidence.headers]
        if not handed_on:
            return None
        verdict = await self._verdict(self._fields(evidence, handed_on), handed_on)
        if isinstance(verdict, GateError):
            raise verdict.__copy__()
        return verdict

    async def _verdict(self, fields: dict[str, str], handed_on: list[str]) -> _Verdict:
        names = fields if self._settings.cache == "request" else {*handed_on, "client-cert"} & fields.keys()
        key = _key({name: fields[name] for name in names})
        kept = self._kept.get(key)
        if kept is not None and self._clock() < kept.until:
            return kept.verdict
        # A verdict on one request holds for others only where the policy says so; a question is shared as it stands.
        return await self._asked(_key(fields), key, fields)

    async def _asked(self, question: bytes, key: bytes, fields: dict[str, str]) -> _Verdict:
        asking = self._asking.get(question)
        if asking is None:
            asking = self._begin(question, key, fields)
        return await asyncio.shield(asking)  # whoever asked first may leave; the others still want to know

    def _begin(self, question: bytes, key: bytes, fields: dict[str, str]) -> asyncio.Task[_Verdict]:
        """Of all questions at once an address may have as many as are left for the others."""
        peer = fields["x-forwarded-for"]
        if self._n_of_peer[peer] >= _MAX_ASKING - len(self._asking):
            raise Unrecognisable("too many wait for the authentication server")
        if not self._circuit.may_ask():
            raise Unrecognisable("the authentication server does not answer")
        self._n_of_peer[peer] += 1
        self._asking[question] = asyncio.create_task(self._ask(question, key, fields))
        return self._asking[question]

    def _left(self, question: bytes, peer: str) -> None:
        del self._asking[question]
        self._n_of_peer[peer] -= 1
        if not self._n_of_peer[peer]:
            del self._n_of_peer[peer]

    async def _ask(self, question: bytes, key: bytes, fields: dict[str, str]) -> _Verdict:
        try:
            lines = [(name.encode(), value.encode("latin1")) for name, value in fields.items()]
            answer = await self._answer(lines)
            verdict = judged(self._settings, answer)
            self._keep(key, verdict, kept_seconds(self._settings, answer))
            return verdict
        except Unanswered as error:
            _log.warning("no answer to go by from the authentication server %s: %s", self._settings.url, error)
            return Unrecognisable("the authentication server gives no answer to go by")
        except ValueError:  # a field that cannot be sent on: what came is at fault, not the server
            return Unauthenticated("the credential has characters that no credential has")
        finally:
            self._circuit.given_up()
            self._left(question, fields["x-forwarded-for"])

    async def _answer(self, lines: list[tuple[bytes, bytes]]) -> Answer:
        """Any answer shows that the server is there, even one that makes no sense: what is asked may be at fault."""
        try:
            answer = await self._outbound.get(self._settings.url, lines)
        except Unanswered:
            self._circuit.failed()
            raise
        if answer.status in _DOWN:
            self._circuit.failed()
        else:
            self._circuit.worked()
        return answer

    def _keep(self, key: bytes, verdict: _Verdict, seconds: float) -> None:
        """The oldest go first."""
        if isinstance(verdict, GateError):
            seconds = min(seconds, _REFUSED_SECONDS) if self._settings.cache == "request" else 0
        if seconds <= 0:
            return
        self._kept.pop(key, None)
        self._kept[key] = _Kept(verdict, self._clock() + seconds)
        if len(self._kept) > _MAX_KEPT:
            del self._kept[next(iter(self._kept))]

    def _fields(self, evidence: Evidence, handed_on: list[str]) -> dict[str, str]:
        """Nothing of these can come from the peer but what the policy hands on and what tells of the upload."""
        found = {name: evidence.headers[name] for name in _UPLOAD_FIELDS if name in evidence.headers}
        if "content-length" in evidence.headers:
            found["x-original-content-length"] = evidence.headers["content-length"]
        found |= {name: evidence.headers[name] for name in handed_on}
        found |= {
            "x-original-method": evidence.method,
            "x-original-uri": evidence.target,
            "x-forwarded-method": evidence.method,
            "x-forwarded-proto": "https" if evidence.secure else "http",
            "x-forwarded-host": evidence.authority,
            "x-forwarded-uri": evidence.target,
            "x-forwarded-for": evidence.peer,
        }
        if evidence.certificate is not None:  # RFC 9440
            found["client-cert"] = f":{b64encode(evidence.certificate).decode()}:"
        return found

    async def close(self) -> None:
        """See `Authenticator`."""
        tasks = list(self._asking.values())
        for each in tasks:
            each.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._outbound.close()


def _key(fields: dict[str, str]) -> bytes:
    """One for each choice of fields; what they say is not kept."""
    return sha256(repr(sorted(fields.items())).encode("utf-8", "surrogatepass")).digest()
