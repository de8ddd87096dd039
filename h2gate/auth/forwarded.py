"""What the policy says of an authentication server (`[forward]`), and what its answer means.

An answer that says yes and not to whom, or whose rights cannot be understood, is no answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Literal, cast, get_args

import httpx

from h2gate.auth import outbound
from h2gate.auth.base import Principal, Via
from h2gate.auth.outbound import Answer, Unanswered
from h2gate.auth.rights import Rights, configured
from h2gate.auth.rights import parse as parse_rights
from h2gate.errors import BadScope, Forbidden, GateError, Unauthenticated
from h2gate.tables import Table

SCOPE = "x-h2gate-scope"
"""Field of an answer: the rights, instead of those in the policy."""
MAX_SIZE = "x-h2gate-max-size"
"""Field of an answer: bytes that a file of theirs may have."""

CacheBy = Literal["request", "credentials"]

_FIELD_NAME = re.compile(r"[a-z0-9-]+")
_MAX_AGE = re.compile(r"(?:s-maxage|max-age)=(\d{1,9})")
_OURS = re.compile(r"host|connection|content-length|transfer-encoding|te|trailer|upgrade|expect|keep-alive|proxy-.*")
"""Fields of a message, not of whoever sends it: handed on, they would tell the server of another message."""
_MAX_CHARS = 255
_MAX_GROUPS = 500
_MAX_FIELDS_BYTES = 16 << 10
_MAX_CHALLENGE_BYTES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """One such server. Times in seconds; names of fields in lower case."""

    url: str
    timeout_seconds: float = 5.0
    cache_seconds: float = 10.0
    """A yes is remembered for so long at most; `Cache-Control` of the answer may shorten it."""
    cache: CacheBy = "request"
    """A yes holds for the same request again, or ("credentials") for all that its sender may ask."""
    user_headers: tuple[str, ...] = ("remote-user", "x-auth-request-user")
    """Fields of the answer that tell who it is; the first one that is there."""
    group_headers: tuple[str, ...] = ("remote-groups", "x-auth-request-groups")
    tenant_header: str = ""
    rights: Rights = field(default_factory=Rights)
    """Of whoever may pass, where the answer tells none."""
    forward_headers: tuple[str, ...] = ("authorization", "cookie")
    """Fields of the request that the server judges by."""
    ca: Path | None = None
    """Authorities its certificate may come from (PEM), instead of the system's."""


def parse(table: Table) -> Forward:
    """Of `[forward]`. Raises `ConfigError`."""
    default = Forward(url="")
    forward = Forward(
        url=outbound.url(table, "url"),
        timeout_seconds=table.number("timeout_seconds", default.timeout_seconds, least=0.1),
        cache_seconds=table.number("cache_seconds", default.cache_seconds),
        cache=_cache(table),
        user_headers=_names(table, "user_headers", default.user_headers),
        group_headers=_names(table, "group_headers", default.group_headers),
        tenant_header="".join(_names(table, "tenant_header", ())),
        rights=configured(table) if "rights" in table else Rights(),
        forward_headers=_names(table, "forward_headers", default.forward_headers),
        ca=table.path("ca", None),
    )
    for key in ("user_headers", "forward_headers"):
        if not getattr(forward, key):
            raise table.error(key, "must name at least one")
    for each in forward.forward_headers:
        if _OURS.fullmatch(each):
            raise table.error("forward_headers", f"{each} cannot be handed on")
    table.end()
    return forward


def _cache(table: Table) -> CacheBy:
    found = table.text("cache", "request")
    if found not in get_args(CacheBy):
        raise table.error("cache", f"{found!r} is not one of {', '.join(get_args(CacheBy))}")
    return cast("CacheBy", found)


def _names(table: Table, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(each.lower() for each in table.texts(key, default))
    for each in found:
        if not _FIELD_NAME.fullmatch(each):
            raise table.error(key, f"{each!r} is not the name of a field")
    return found


def judged(forward: Forward, answer: Answer) -> Principal | GateError:
    """Who may pass, or the error to tell. Raises `Unanswered` for an answer that is neither."""
    if answer.status == HTTPStatus.UNAUTHORIZED:
        refused = Unauthenticated("the authentication server does not know the credential")
        challenges = answer.headers.get_list("www-authenticate")
        refused.headers += [(b"www-authenticate", each.encode()) for each in challenges if _is_challenge(each)]
        return refused
    if answer.status == HTTPStatus.FORBIDDEN:
        return Forbidden("the authentication server does not allow it")
    if not 200 <= answer.status < 300:
        raise Unanswered(f"it answered {answer.status}")
    if sum(len(name) + len(value) for name, value in answer.headers.raw) > _MAX_FIELDS_BYTES:
        raise Unanswered(f"its fields are longer than {_MAX_FIELDS_BYTES} bytes")
    return _principal(forward, answer.headers)


def _is_challenge(text: str) -> bool:
    return len(text) <= _MAX_CHALLENGE_BYTES and text.isascii() and text.isprintable()


def _principal(forward: Forward, headers: httpx.Headers) -> Principal:
    user = _first(headers, forward.user_headers)
    return Principal(
        name=f"forward:{_text(user, 'who it is')}",
        via=Via.FORWARD,
        rights=_rights(forward, headers),
        tenant=_text(_first(headers, (forward.tenant_header,)), "the tenant") if forward.tenant_header else "",
        groups=_groups(headers, forward.group_headers),
        max_file_bytes=_max_size(_first(headers, (MAX_SIZE,))),
    )


def _first(headers: httpx.Headers, names: tuple[str, ...]) -> str | None:
    """The one value of the first of them that is there. Which of two would hold is not guessed."""
    found = next((_values(headers, name) for name in names if name in headers), [])
    if len(found) > 1:
        raise Unanswered("it says the same field twice")
    return found[0] if found else None


def _values(headers: httpx.Headers, name: str) -> list[str]:
    """UTF-8, whatever the other fields are: the library would read all of them in a coding that fits them all, so that
    one field could make two names of another."""
    try:
        return [value.decode() for found, value in headers.raw if found.lower() == name.encode()]
    except UnicodeDecodeError:
        raise Unanswered(f"its {name} is not UTF-8") from None


def _text(found: str | None, what: str) -> str:
    if found is None or not 0 < len(found) <= _MAX_CHARS or not found.isprintable():
        raise Unanswered(f"it does not say {what}")
    return found


def _groups(headers: httpx.Headers, names: tuple[str, ...]) -> tuple[str, ...]:
    lines = next((_values(headers, name) for name in names if name in headers), [])
    found = [each.strip() for each in ",".join(lines).split(",") if each.strip()]
    if len(found) > _MAX_GROUPS:
        raise Unanswered(f"it names more than {_MAX_GROUPS} groups")
    return tuple(_text(each, "a group") for each in found)


def _rights(forward: Forward, headers: httpx.Headers) -> Rights:
    if SCOPE not in headers:
        return forward.rights
    try:
        return parse_rights(" ".join(_values(headers, SCOPE)))
    except BadScope as error:
        raise Unanswered(f"a right that it gives: {error.detail}") from None


def _max_size(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise Unanswered(f"its {MAX_SIZE} is no number of bytes")
    return int(text)


def kept_seconds(forward: Forward, answer: Answer) -> float:
    """How long the answer may be remembered (RFC 9111 section 5.2.2)."""
    control = answer.headers.get("cache-control", "").lower()
    if "no-store" in control or "no-cache" in control:
        return 0.0
    ages = [float(each) for each in _MAX_AGE.findall(control)]
    return min([forward.cache_seconds, *ages])
