"""Tickets: a signed right to put so much under one folder, for somebody who has no account. Whoever has it may.

A ticket is `h2gt_`, its claims in JSON and an HMAC-SHA256 of that, both base64url. It cannot be changed, and is good
until it expires, is revoked or used up; the last two are what the ledger knows (`Closed`), not the ticket.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote

from h2gate.auth.base import Evidence, Principal, Via
from h2gate.auth.rights import Action, Right, Rights
from h2gate.errors import BadPath, BadTicket, ConfigError, ExpiredCredential, Unauthenticated
from h2gate.tables import Table
from h2gate.upload import checked_path

PREFIX = "h2gt_"
MAX_CHARS = 4096
"""Of one ticket."""
_SECRET_BYTES = 32
_KEY_ID_CHARS = 8
_SECONDS = 86400.0
"""For who does not say how long."""
_MAX_SECONDS = 30 * 86400.0
_MAX_NAMES = 64
_MAX_NAMES_CHARS = 1024

Closed: TypeAlias = Callable[[str], Awaitable[bool]]
"""Whether the ticket with this id was revoked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What one says. None is no limit."""

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    folder: str
    """Relative to the root of its tenant; as in `upload.Upload.path`."""
    names: tuple[str, ...] = ()
    """Of files directly in the folder, or patterns (`*`, `?`, `[…]`); () is whatever is below it."""
    max_bytes: int | None = None
    max_files: int | None = None
    max_file_bytes: int | None = None
    expires_at: float
    """Seconds since the epoch."""
    tenant: str = ""
    issuer: str = ""
    """The name of the principal who made it."""
    key: str = field(default="", compare=False)
    """Which secret has signed it; told once it is signed."""

    def within(self, maker: Principal) -> Ticket:
        """The same, with no file larger than its maker may put there."""
        limits = [each for each in (self.max_file_bytes, maker.max_file_bytes) if each is not None]
        return replace(self, max_file_bytes=min(limits, default=None))

    def principal(self) -> Principal:
        """Who has it."""
        return Principal(
            name=f"ticket:{self.id}",
            via=Via.TICKET,
            rights=Named((Right(Action.CREATE, tuple(self.folder.split("/")) if self.folder else ()),), self.names),
            tenant=self.tenant,
            credential=self.id,
            mark=self.key,
            expires_at=self.expires_at,
            max_bytes=self.max_bytes,
            max_files=self.max_files,
            max_file_bytes=self.max_file_bytes,
            details={"issuer": self.issuer},
        )


@dataclass(frozen=True, slots=True)
class Named(Rights):
    """Rights at files directly in their folders that are called so, where there are `names`; else at what is below
    them. A file in the place of the folder would be in another folder, and in the way of all that is to come."""

    names: tuple[str, ...] = ()

    def allow(self, action: Action, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        where = tuple(folder.split("/")) if folder else ()
        if not self.names:
            above = path if action is Action.STAT else folder
            return bool(path or action is Action.STAT) and Rights.allow(self, action, above)
        is_named = any(fnmatchcase(name, each) for each in self.names)
        return is_named and any(each.segments == where and each.allows(action, where) for each in self.all)

    def under(self, root: str) -> Named:
        return Named(Rights.under(self, root).all, self.names)


@dataclass(frozen=True, slots=True)
class Keys:
    """Secrets that tickets are signed with: the first signs, all are believed, so that a new one can be put first."""

    secrets: tuple[bytes, ...]

    def has(self, key_id: str) -> bool:
        """Whether the secret is still among them."""
        return any(_key_id(each) == key_id for each in self.secrets)

    def sign(self, ticket: Ticket) -> str:
        """Its text, to be given to somebody. Raises `BadTicket` where that would be too long to be taken again."""
        secret = self.secrets[0]
        claims = {name: value for name, value in _claims(ticket).items() if value not in (None, "", [])}
        body = _encoded(json.dumps({"key": _key_id(secret), **claims}, separators=(",", ":")).encode())
        text = f"{PREFIX}{body}.{_encoded(_mac(secret, body))}"
        if len(text) > MAX_CHARS:
            raise BadTicket(f"a ticket for that has more than {MAX_CHARS} characters: name a shorter folder, or less")
        return text

    def verified(self, text: str) -> Ticket:
        """The ticket that was signed. Raises `Unauthenticated`, `ExpiredCredential`."""
        body, _, mac = text.removeprefix(PREFIX).partition(".")
        if len(text) > MAX_CHARS or not text.isascii() or not text.startswith(PREFIX):
            raise Unauthenticated("not a ticket")
        if not any(hmac.compare_digest(_encoded(_mac(each, body)), mac) for each in self.secrets):
            raise Unauthenticated("the ticket was not signed here")
        ticket = _parsed(body)
        if time.time() >= ticket.expires_at:
            raise ExpiredCredential("the ticket has expired")
        return ticket


def _mac(secret: bytes, body: str) -> bytes:
    return hmac.digest(secret, f"{PREFIX}{body}".encode(), "sha256")


def _key_id(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()[:_KEY_ID_CHARS]


def _claims(ticket: Ticket) -> dict[str, Any]:
    return {
        "id": ticket.id,
        "folder": ticket.folder,
        "names": list(ticket.names),
        "max_bytes": ticket.max_bytes,
        "max_files": ticket.max_files,
        "max_file_bytes": ticket.max_file_bytes,
        "expires_at": ticket.expires_at,
        "tenant": ticket.tenant,
        "issuer": ticket.issuer,
    }


def _parsed(body: str) -> Ticket:
    """What was signed is ours; another version of this may have made it."""
    try:
        found = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return Ticket(key=found.pop("key"), **{"folder": "", **found, "names": tuple(found.get("names", ()))})
    except (ValueError, TypeError, KeyError, binascii.Error):
        raise Unauthenticated("a ticket of another version") from None


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def text_in(evidence: Evidence) -> str | None:
    """The ticket that came with a request: as a bearer token, or else in its URL (`?ticket=…`)."""
    given = evidence.headers.get("authorization")
    if given is not None:
        scheme, _, token = given.partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token.strip().startswith(PREFIX) else None
    query = evidence.target.partition("?")[2]
    return dict(parse_qsl(query)).get("ticket") if "ticket=" in query else None


def url(path: str, text: str) -> str:
    """The URL of a folder for who has the ticket, without scheme and host."""
    return f"/files/{quote(path)}/?ticket={text}" if path else f"/files/?ticket={text}"


class Tickets:
    """An `Authenticator`."""

    via = Via.TICKET

    def __init__(self, keys: Keys, is_closed: Closed) -> None:
        self._keys = keys
        self._is_closed = is_closed

    async def authenticate(self, evidence: Evidence) -> Principal | None:
        text = text_in(evidence)
        if text is None:
            return None
        principal = self._keys.verified(text).principal()
        await self.look_again(principal)
        return principal

    async def look_again(self, principal: Principal) -> None:
        """See `chain.SupportsSecondLook`: neither it nor the key that has signed it was taken back."""
        if principal.via is not Via.TICKET:
            return
        if not self._keys.has(principal.mark) or await self._is_closed(principal.credential):
            raise Unauthenticated("the ticket was revoked")

    async def close(self) -> None:
        """There is nothing to close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuing:
    """`[tickets]`: with which secrets, and for how long at most."""

    keys: Keys
    max_seconds: float = _MAX_SECONDS


def parse(table: Table) -> Issuing | None:
    """`[tickets]`; None where it names no key. A file that is not there is made. Raises `ConfigError`."""
    file, max_seconds = table.path("key", None), table.number("max_seconds", _MAX_SECONDS)
    table.end()
    if file is None:
        if max_seconds != _MAX_SECONDS:
            raise table.error("key", "is missing")
        return None
    return Issuing(keys=ensure_keys(file), max_seconds=max_seconds)


def ensure_keys(file: Path) -> Keys:
    """The secrets in a file, one a line in hexadecimal, the one that signs first; it is made if it is missing.

    Raises `ConfigError`.
    """
    try:
        if not file.exists():
            _make(file)
        found = [bytes.fromhex(line) for line in file.read_text().split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from None
    if not found or min(map(len, found)) < _SECRET_BYTES:
        raise ConfigError(f"{file}: lines of {2 * _SECRET_BYTES} hexadecimal digits are wanted")
    return Keys(tuple(found))


def _make(file: Path) -> None:
    """Several workers may want to at once: they shall find one whole file."""
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as opened:
        opened.write(secrets.token_bytes(_SECRET_BYTES).hex() + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    with suppress(FileExistsError):
        os.link(draft, file)
    draft.unlink()


def wanted(claims: Mapping[str, Any], *, tenant: str, issuer: str, max_seconds: float) -> Ticket:
    """The ticket that somebody asks for; `folder` is relative to the root of the tenant. Raises `BadTicket`.

    `once` is for one file. What is not understood is refused: it was meant to be a limit.
    """
    left = dict(claims)
    folder = _text(left.pop("folder", None), "folder").removesuffix("/")
    names = left.pop("names", [])
    once, seconds = left.pop("once", False), left.pop("seconds", min(_SECONDS, max_seconds))
    limits = {name: left.pop(name, None) for name in ("max_bytes", "max_files", "max_file_bytes")}
    if left:
        raise BadTicket(f"{next(iter(left))!r}: nothing is called so")
    for name, value in limits.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63):
            raise BadTicket(f"{name}: not a number of bytes or files")
    if not isinstance(once, bool):
        raise BadTicket("once: not true or false")
    if once:
        limits["max_files"] = 1
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= max_seconds:
        raise BadTicket(f"seconds: a number up to {max_seconds:g}")
    try:
        checked_path(folder)
    except BadPath as error:
        raise BadTicket(f"folder: {error}") from None
    expires_at = float(int(time.time() + seconds))
    return Ticket(folder=folder, names=_names(names), expires_at=expires_at, tenant=tenant, issuer=issuer, **limits)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise BadTicket(f"{name}: a text must be there")
    return value


def _names(value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(each, str) and each and "/" not in each for each in names):
        raise BadTicket("names: a list of names, or patterns, without slashes")
    if len(names) > _MAX_NAMES or sum(map(len, names)) > _MAX_NAMES_CHARS:
        raise BadTicket(f"names: at most {_MAX_NAMES}, and {_MAX_NAMES_CHARS} characters together")
    return tuple(names)
