"""`h2gate login`: a person says yes in a browser, wherever that is, while this end asks whether it happened (RFC 8628).

`h2gate logout` tells the issuer, if it can be told, and forgets in any case.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from h2gate.client import names, provider
from h2gate.client.asking import Asker
from h2gate.client.failures import LocalFile
from h2gate.client.local import in_thread
from h2gate.client.logins import Login, Store, issuer_asker
from h2gate.client.provider import DEVICE_GRANT, Device, Endpoints, Grant, OAuthError
from h2gate.client.transport import HttpVersion
from h2gate.errors import ConfigError, ConnectFailed, GateError, Refused

SLOW_DOWN_SECONDS = 5.0
"""RFC 8628 section 3.5."""
_USUAL = ("openid", "offline_access")
"""Scopes that are asked for unless others are named: who it is, and a refresh token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be logged in. `issuer` "" is the one that the gateway names; `scope` "" the usual."""

    url: str
    issuer: str = ""
    client_id: str = "h2gate"
    scope: str = ""
    resource: str = ""
    """RFC 8707; "" says nothing of it."""
    ca: tuple[Path, ...] = ()
    insecure: bool = False
    http: HttpVersion = "auto"


async def log_in(
    wanted: Wanted,
    show: Callable[[Device], None],
    store: Store,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Login:
    """Stored when it returns. `show` tells the person where to go. Raises `GateError`."""
    url = names.parse_url(wanted.url)
    if not names.is_confidential(url):
        raise ConfigError(f"{names.origin(url)}: a token goes over TLS or to this machine only")
    asker = issuer_asker(wanted.ca, insecure=wanted.insecure, http=wanted.http)
    try:
        at = await provider.endpoints(asker, wanted.issuer or _only(await provider.protection(asker, url)))
        form = {"client_id": wanted.client_id, "scope": wanted.scope or _usual(at)}
        form |= {"resource": wanted.resource} if wanted.resource else {}
        device = await provider.begin(asker, at, form)
        show(device)
        grant = await _polled(asker, at, device, form, sleep)
    finally:
        await asker.close()
    login = Login(names.origin(url), at, wanted.client_id, grant.access, grant.refresh, wanted.resource)
    async with store.locked(url):
        await in_thread(store.write, login)
    return login


def _only(issuers: tuple[str, ...]) -> str:
    if len(issuers) > 1:
        raise ConfigError(f"choose an --issuer: {' '.join(issuers)}")
    return issuers[0]


def _usual(at: Endpoints) -> str:
    return " ".join(each for each in _USUAL if each in at.scopes or not at.scopes)


async def _polled(
    asker: Asker, at: Endpoints, device: Device, form: dict[str, str], sleep: Callable[[float], Awaitable[None]]
) -> Grant:
    """RFC 8628 section 3.4."""
    asked = {k: v for k, v in form.items() if k != "scope"} | {"grant_type": DEVICE_GRANT, "device_code": device.code}
    interval, end = device.interval_seconds, time.monotonic() + device.expires_seconds
    while time.monotonic() < end:
        await sleep(interval)
        try:
            return await provider.grant(asker, at, asked)
        except OAuthError as error:
            match error.error:
                case "authorization_pending":
                    pass
                case "slow_down":
                    interval += SLOW_DOWN_SECONDS
                case "access_denied":
                    raise _final("the login was denied") from error
                case "expired_token":
                    break
                case _ if not error.retry:
                    raise
        except ConnectFailed as error:
            if not error.retry:
                raise
            interval = min(60.0, 2 * interval + 1)
    raise _final("nobody said yes in time: h2gate login again")


def _final(text: str) -> GateError:
    error = Refused(text)
    error.members["seen"] = error.status
    return error


async def log_out(
    url: str, store: Store, *, ca: tuple[Path, ...] = (), insecure: bool = False, http: HttpVersion = "auto"
) -> tuple[Login | None, GateError | None]:
    """What was logged in, and why that could not be read or the issuer not be told. It is forgotten in any case."""
    url = names.parse_url(url)
    login: Login | None = None
    failure: GateError | None = None
    async with store.locked(url):
        try:
            login = await in_thread(store.read, url)
            if login is not None:
                failure = await _revoked(login, ca, insecure=insecure, http=http)
        except LocalFile as error:
            failure = error
        finally:
            await in_thread(store.remove, url)
    return login, failure


async def _revoked(login: Login, ca: tuple[Path, ...], *, insecure: bool, http: HttpVersion) -> GateError | None:
    kind, token = ("refresh_token", login.refresh) if login.refresh else ("access_token", login.access.value)
    form = {"token": token, "token_type_hint": kind, "client_id": login.client_id}
    asker = issuer_asker(ca, insecure=insecure, http=http)
    try:
        await provider.revoke(asker, login.endpoints, form)
    except GateError as error:
        return error
    finally:
        await asker.close()
    return None
