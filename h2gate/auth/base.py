"""Who asks, and what they may do: the seam that every way of authenticating fills.

An authenticator looks at what came with a request, never at its body. It says who that is, that it has no say in it
(None: no credential of its kind is there), or raises; whoever has none at all is for `auth/chain.py` to judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from h2gate.auth.rights import Rights


class Via(StrEnum):
    """By what somebody was recognised; the audit log has it."""

    NOBODY = "nobody"
    TOKEN = "token"  # noqa: S105 - a word, no secret
    KEY = "key"
    TICKET = "ticket"
    FORWARD = "forward"
    CERTIFICATE = "certificate"


class Evidence(NamedTuple):
    """What came with a request, for authenticators to look at."""

    method: str
    target: str
    """Path and query as they came, undecoded."""
    headers: Mapping[str, str]
    """Lower-case names; repeated ones joined by commas."""
    peer: str
    """Address, without the port."""
    certificate: bytes | None = None
    """The client's, DER, verified in the TLS handshake."""
    secure: bool = True
    """The connection is TLS."""
    authority: str = ""
    """Host and port that were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody who was recognised. Holds no secret: it may be logged."""

    name: str
    """Stable and unique among all ways: "<issuer> <subject>" of a token, "key:<id>", "ticket:<id>", …; what an upload
    remembers as its owner. "" is nobody."""
    via: Via
    rights: Rights
    tenant: str = ""
    """The name of the tenant whose root the rights were made relative to; "" for none."""
    groups: tuple[str, ...] = ()
    credential: str = ""
    """Which token, key or ticket it was: an id, never the secret itself."""
    mark: str = ""
    """By what of the policy it was recognised, where that may be taken out of it; no secret."""
    expires_at: float | None = None
    """Seconds since the epoch; after it the rights are over."""
    max_file_bytes: int | None = None
    """Of one file; None is no limit of its own."""
    max_bytes: int | None = None
    max_files: int | None = None
    """Over everything done with this credential (`credential`), as tickets have it; None is no limit."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What else an operator may want to see, such as the display name."""


class Authenticator(Protocol):
    """One way to recognise somebody."""

    @property
    def via(self) -> Via:
        """What its principals have."""

    async def authenticate(self, evidence: Evidence) -> Principal | None:
        """Who it is; None where no credential of this kind came.

        Raises `Unauthenticated` where one came that is not good, `Unrecognisable` where that cannot be found out now.
        Bounded in time. Nothing has changed when it raises.
        """

    async def close(self) -> None:
        """Let go of connections and tasks."""
