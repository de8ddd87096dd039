"""An OAuth issuer as a client without a browser needs it: what it can do (OpenID Connect Discovery, RFC 8414), tokens
by a device code (RFC 8628) and by a refresh token (RFC 6749 section 6), and taking them back (RFC 7009).

Nothing is sent to it but over TLS or on this machine, no redirect is followed, and answers are bounded.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx

from h2gate.client import names
from h2gate.client.asking import Asker
from h2gate.client.failures import from_httpx
from h2gate.client.tokens import MAX_BYTES, Token
from h2gate.errors import ConfigError, GateError

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
MAX_ANSWER_BYTES = 1 << 20
_SOON = {"timeout": httpx.Timeout(20).as_dict()}


class OAuthError(GateError):
    """What the issuer answered (RFC 6749 section 5.2); `error` is its word for it."""

    status, code, title = 400, "oauth_error", "The issuer refused"

    def __init__(self, detail: str = "", *, error: str = "", **members: object) -> None:
        super().__init__(detail, **members)
        self.error = error


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Of one issuer."""

    issuer: str
    token: str
    device: str = ""
    revocation: str = ""
    scopes: tuple[str, ...] = ()
    """That it names; () is unknown."""


@dataclass(frozen=True, slots=True)
class Device:
    """What is shown to a person, and what stands for it here."""

    user_code: str
    url: str
    whole_url: str
    """With the code in it; "" if there is none."""
    expires_seconds: float
    interval_seconds: float
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """Tokens that the issuer gave."""

    access: Token
    refresh: str = field(default="", repr=False)
    """"" is: as before, or none."""


async def endpoints(asker: Asker, issuer: str) -> Endpoints:
    """Raises `GateError` where that is no issuer that can be used."""
    base = _checked(issuer).rstrip("/")
    parts = httpx.URL(base)
    older = f"{base}/.well-known/openid-configuration"
    path = parts.path.rstrip("/")
    newer = str(parts.copy_with(path=f"/.well-known/oauth-authorization-server{path}"))
    status, found = await _asked(asker, "GET", older)
    if status != 200:
        status, found = await _asked(asker, "GET", newer)
    if status != 200 or not found:
        raise GateError(f"{issuer} does not say how to log in there ({status})")
    if str(found.get("issuer", "")).rstrip("/") != base:
        raise GateError(f"{issuer} says that it is another issuer: it is not to be believed")
    return Endpoints(
        issuer,
        _checked(str(found.get("token_endpoint") or "")),
        _checked(str(found["device_authorization_endpoint"])) if found.get("device_authorization_endpoint") else "",
        _checked(str(found["revocation_endpoint"])) if found.get("revocation_endpoint") else "",
        _words(found.get("scopes_supported")),
    )


async def protection(asker: Asker, gateway: str) -> tuple[str, ...]:
    """The issuers that a gateway believes (RFC 9728). Raises `GateError` where it names none."""
    origin = names.origin(gateway)
    status, found = await _asked(asker, "GET", f"{origin}/.well-known/oauth-protected-resource")
    issuers = _words(found.get("authorization_servers")) if status == 200 else ()
    if not issuers:
        raise GateError(f"{origin} does not say where to log in ({status}): name an --issuer")
    try:
        resource = names.origin(str(found.get("resource", "")))
    except httpx.InvalidURL:
        resource = ""
    if resource != origin:
        raise GateError(f"{origin} speaks for another resource: what it says of issuers is not to be believed")
    return issuers


async def begin(asker: Asker, at: Endpoints, form: Mapping[str, str]) -> Device:
    """RFC 8628 section 3.1; `form` is `client_id`, `scope` and the like. Raises `GateError`."""
    if not at.device:
        raise GateError(f"{at.issuer} has no login for devices (RFC 8628)")
    found = await _posted(asker, at.device, form)
    try:
        device = Device(
            _printable(found["user_code"]),
            _checked(str(found["verification_uri"])),
            _checked(str(found["verification_uri_complete"])) if found.get("verification_uri_complete") else "",
            min(3600.0, float(found["expires_in"])),
            min(600.0, max(0.0, float(found.get("interval", 5)))),
            str(found["device_code"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise GateError(f"{at.issuer}: its answer is not that to a device (RFC 8628)") from error
    return device


async def grant(asker: Asker, at: Endpoints, form: Mapping[str, str]) -> Grant:
    """From the token endpoint. Raises `OAuthError` for what the issuer refuses, `GateError`."""
    now = time.time()
    found = await _posted(asker, at.token, form)
    if str(found.get("token_type", "")).lower() != "bearer":
        raise GateError(f"{at.issuer}: what it gives is no bearer token")
    token = Token.of(str(found.get("access_token", "")), at.issuer)
    try:
        seconds = float(found["expires_in"]) if "expires_in" in found else None
    except (TypeError, ValueError):
        seconds = None
    if seconds is not None and seconds > 0:  # by our own clock, whatever the issuer's is
        token = Token(token.value, now + seconds, seconds)
    refresh = str(found.get("refresh_token") or "")
    if len(refresh) > MAX_BYTES:
        raise GateError(f"{at.issuer}: a refresh token of {len(refresh)} bytes")
    return Grant(token, refresh)


async def revoke(asker: Asker, at: Endpoints, form: Mapping[str, str]) -> None:
    """RFC 7009. Raises `GateError`."""
    if at.revocation:
        await _posted(asker, at.revocation, form)


async def _posted(asker: Asker, url: str, form: Mapping[str, str]) -> dict[str, Any]:
    """The members of a 200. Raises `OAuthError`, `GateError`."""
    status, found = await _asked(asker, "POST", url, urlencode(form).encode())
    if status == 200:
        return found
    word = _printable(found.get("error") or "")
    about = _printable(found.get("error_description") or "")
    for secret in ("refresh_token", "device_code", "token"):
        about = about.replace(form[secret], "…") if form.get(secret) else about
    failure = OAuthError(f"{names.origin(url)}: {': '.join(filter(None, (word, about))) or status}", error=word)
    failure.members["seen"] = status
    failure.retry = status == 429 or (status >= 500 and not word)
    raise failure


async def _asked(asker: Asker, method: str, url: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    """Status and members; {} where that is no object. Raises what broke on the way."""
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    more: dict[str, Any] = {}
    if body is not None:
        headers |= {"content-type": "application/x-www-form-urlencoded", "content-length": str(len(body))}
        more["stream"] = httpx.ByteStream(body)
    try:
        response = await asker.stream(asker.request(method, url, headers, extensions=_SOON, **more))
        try:
            text = b""
            async for piece in response.aiter_raw():
                text += piece
                if len(text) > MAX_ANSWER_BYTES:
                    raise GateError(f"{names.origin(url)}: an answer of more than {MAX_ANSWER_BYTES} bytes")
        finally:
            await response.aclose()
    except httpx.HTTPError as error:
        raise from_httpx(error) from error
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return response.status_code, found if isinstance(found, dict) else {}


def _checked(url: str) -> str:
    """A URL that a secret may be sent to. Raises `ConfigError`."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"{_printable(url)!r} is no URL") from error
    if parts.scheme not in ("http", "https") or not parts.host or parts.userinfo:
        raise ConfigError(f"{_printable(url)!r} is not a URL to log in at")
    if not names.is_confidential(url):
        raise ConfigError(f"{_printable(url)}: neither over TLS nor on this machine")
    return _printable(url)


def _words(listed: object) -> tuple[str, ...]:
    return tuple(each for each in listed if isinstance(each, str)) if isinstance(listed, list) else ()


def _printable(text: object) -> str:
    """For a terminal, which would obey some of what it is shown."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(text))[:2000]
