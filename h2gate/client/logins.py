"""What `h2gate login` keeps: one private file for each gateway, and a lock beside it for who changes it.

A refresh token is often good once. So it is used under the lock, after the file was read again; what comes of it is in
the file, synced, before anybody uses it. Two processes never use one twice, and whoever was second has the first's.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from h2gate.client import provider
from h2gate.client.asking import Asker
from h2gate.client.failures import LocalFile, LoginOver
from h2gate.client.journal import state_folder
from h2gate.client.local import in_thread, try_lock
from h2gate.client.names import origin
from h2gate.client.provider import Endpoints, Grant, OAuthError
from h2gate.client.tokens import Token
from h2gate.client.transport import HttpVersion, Transport, trust
from h2gate.errors import Busy

LOCK_SECONDS = 90.0
"""Another process may refresh so long: longer than all waits of a refresh together."""
_LOOK_SECONDS = 0.05
_OVER = {"invalid_grant", "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
"""Words of an issuer that will not change its mind."""


@dataclass(frozen=True, slots=True)
class Login:
    """What was logged in."""

    origin: str
    endpoints: Endpoints
    client_id: str
    access: Token
    refresh: str = field(default="", repr=False)
    resource: str = ""

    def having(self, grant: Grant) -> Login:
        """With newer tokens; an issuer that gives no new refresh token means the old one."""
        return replace(self, access=grant.access, refresh=grant.refresh or self.refresh)


class Store:
    """The logins of a user."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = (folder or state_folder()) / "logins"

    def file(self, url: str) -> Path:
        """Where that for the gateway of `url` is, if it is there."""
        return self._folder / f"{hashlib.sha256(origin(url).encode()).hexdigest()[:40]}.json"

    def read(self, url: str) -> Login | None:
        """Raises `LocalFile` where it is not ours alone, or cannot be read."""
        file = self.file(url)
        try:
            with file.open("rb") as opened:
                status = os.fstat(opened.fileno())
                if sys.platform != "win32" and (status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077):
                    raise LocalFile(f"{file}: not ours alone; remove it and log in again")
                login = _login(opened.read(1 << 18))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LocalFile(f"{file}: not a login ({type(error).__name__}); log in again") from error
        return login if login.origin == origin(url) else None

    def write(self, login: Login) -> None:
        """Replaces what was there, for good; to be called with the lock. Raises `LocalFile`."""
        file = self.file(login.origin)
        beside = file.with_suffix(".new")
        try:
            self._make()
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(json.dumps(asdict(login)).encode())
                opened.flush()
                os.fsync(descriptor)
            beside.replace(file)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise LocalFile(f"{file}: {error.strerror or error}") from error

    def remove(self, url: str) -> None:
        """Raises `LocalFile`."""
        try:
            self.file(url).unlink(missing_ok=True)
        except OSError as error:
            raise LocalFile(f"{self.file(url)}: {error.strerror or error}") from error

    def _make(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @asynccontextmanager
    async def locked(self, url: str) -> AsyncIterator[None]:
        """Nobody else changes the login of this gateway. Raises `Busy`, `LocalFile`."""
        lock = await in_thread(self._opened, self.file(url).with_suffix(".lock"))
        try:
            end = time.monotonic() + LOCK_SECONDS
            while try_lock(lock) is False:  # there is no waiting for it with a bound
                if time.monotonic() > end:
                    raise Busy(f"another process has been refreshing the login of {origin(url)} for long")
                await asyncio.sleep(_LOOK_SECONDS)
            yield
        finally:
            os.close(lock)

    def _opened(self, file: Path) -> int:
        try:
            self._make()
            return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LocalFile(f"{file}: {error.strerror or error}") from error


class Stored:
    """A `TokenSource`: the login of one gateway, refreshed at its issuer."""

    def __init__(
        self, url: str, store: Store, *, ca: tuple[str | Path, ...] = (), insecure: bool = False, http: HttpVersion
    ) -> None:
        self._url = url
        self._store = store
        self._ca = ca
        self._insecure = insecure
        self._http = http

    async def token(self, stale: Token | None) -> Token:
        known = stale.value if stale is not None else None
        login = await in_thread(self._store.read, self._url)
        if login is not None and login.access.value != known:
            return login.access
        async with self._store.locked(self._url):
            login = await in_thread(self._store.read, self._url)
            if login is None:
                raise LoginOver(f"not logged in any more; h2gate login {origin(self._url)}")
            if login.access.value != known:  # another process was first
                return login.access
            fresh = await self._refreshed(login)
            await in_thread(self._store.write, fresh)
            return fresh.access

    async def _refreshed(self, login: Login) -> Login:
        again = f"h2gate login {login.origin}"
        if not login.refresh:
            raise LoginOver(f"the login has ended, and {login.endpoints.issuer} gave no way to go on with it; {again}")
        form = {"grant_type": "refresh_token", "refresh_token": login.refresh, "client_id": login.client_id}
        form |= {"resource": login.resource} if login.resource else {}
        asker = issuer_asker(self._ca, insecure=self._insecure, http=self._http)
        try:
            return login.having(await provider.grant(asker, login.endpoints, form))
        except OAuthError as error:
            if error.error in _OVER:
                raise LoginOver(f"the login has ended ({error}); {again}") from error
            raise
        finally:
            await asker.close()


def issuer_asker(ca: tuple[str | Path, ...], *, insecure: bool, http: HttpVersion) -> Asker:
    """For issuers, who get neither token nor certificate of this client."""
    return Asker(Transport(verify=trust(ca, None, None, insecure=insecure), http=http), {})


def _login(text: bytes) -> Login:
    """Raises `ValueError`, `KeyError`, `TypeError` for what is none."""
    found = json.loads(text)
    at = Endpoints(**{**found["endpoints"], "scopes": tuple(found["endpoints"]["scopes"])})
    access = Token(**found["access"])
    return Login(**{**found, "endpoints": at, "access": access})
