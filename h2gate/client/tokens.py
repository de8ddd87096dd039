"""Tokens and where they come from. A token is in no text of this room: it is the value of one header field, and hidden
from `repr`; a source that fails is told by its name.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import os
import re
import selectors
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from h2gate.client.failures import NoToken
from h2gate.client.local import in_thread
from h2gate.errors import ConfigError, GateError

MAX_BYTES = 1 << 16
"""Of a token, with what surrounds it."""
SECONDS = 60.0
"""What makes a token may take so long."""

_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750 section 2.1."""

Called: TypeAlias = "Callable[[], str] | Callable[[], Awaitable[str]]"


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token; `expires_at` in seconds since the epoch, None where it does not say."""

    value: str = field(repr=False)
    expires_at: float | None = None
    lifetime_seconds: float | None = None

    @classmethod
    def of(cls, text: str, source: str) -> Token:
        """What `source` gave. A JWT tells when it expires; nobody here believes it more than that. Raises `NoToken`."""
        value = text.strip()
        if not _B64TOKEN.fullmatch(value) or len(value) > MAX_BYTES:
            raise NoToken(f"{source}: what is there is no token")
        claims = _claims(value)
        expires, issued = _number(claims.get("exp")), _number(claims.get("iat"))
        lifetime = expires - issued if expires is not None and issued is not None else 0.0
        return cls(value, expires, lifetime if lifetime > 0 else None)


class TokenSource(Protocol):
    """Where tokens come from."""

    async def token(self, stale: Token | None) -> Token:
        """A token; where there is another one than `stale`, that. Raises `NoToken`, or what kept it from being made.
        Bounded in time."""


class Given:
    """One that cannot be had anew."""

    def __init__(self, text: str, source: str = "token") -> None:
        self._token = Token.of(text, source)

    async def token(self, stale: Token | None) -> Token:
        return self._token


class FromCall:
    """From the program that uses us; a function that is not asynchronous runs in a thread."""

    def __init__(self, function: Called) -> None:
        self._function = function

    async def token(self, stale: Token | None) -> Token:
        try:
            async with asyncio.timeout(SECONDS):
                return Token.of(str(await self._called()), "token")
        except TimeoutError as error:
            raise NoToken(f"token: nothing came for {SECONDS:g} s") from error
        except GateError:
            raise
        except Exception as error:  # of whoever uses us; its text may hold what it handles
            raise NoToken(f"token: {type(error).__name__}") from error

    async def _called(self) -> str:
        if inspect.iscoroutinefunction(self._function) or inspect.iscoroutinefunction(type(self._function).__call__):
            found = self._function()
        else:
            found = await asyncio.to_thread(self._function)
        return await found if inspect.isawaitable(found) else found


class FromFile:
    """Read again whenever another token is wanted. `private`: it must be ours, and nobody else may read it; what was
    named by the user may be root's too, but no stranger's and not open to everybody."""

    def __init__(self, path: Path, source: str, *, private: bool = False) -> None:
        self._path = path
        self._source = source
        self._private = private

    async def token(self, stale: Token | None) -> Token:
        return Token.of(await in_thread(self._read), self._source)

    def _read(self) -> str:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | self._no_links())
            with os.fdopen(descriptor, "rb") as file:
                self._check(os.fstat(descriptor))
                return file.read(MAX_BYTES + 1).decode("ascii", "replace")
        except OSError as error:
            raise NoToken(f"{self._source}: {self._path}: {error.strerror or error}") from error

    def _no_links(self) -> int:
        return os.O_NOFOLLOW if self._private else 0

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise NoToken(f"{self._source}: {self._path} is no regular file")
        if sys.platform == "win32":
            return
        owners = {os.geteuid()} if self._private else {os.geteuid(), 0}
        if status.st_uid not in owners:
            raise NoToken(f"{self._source}: {self._path} belongs to somebody else")
        if status.st_mode & (0o077 if self._private else 0o007):
            raise NoToken(f"{self._source}: others may read {self._path}; chmod 600 it")


class FromCommand:
    """What a command prints; it is run again for another token, without a shell. It gets no standard input, which may
    be what is sent, and what it says on standard error is the user's to see."""

    def __init__(self, command: str, source: str) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"{source}: {error}") from error
        if not self._words:
            raise ConfigError(f"{source}: name a command")
        self._source = source

    async def token(self, stale: Token | None) -> Token:
        return Token.of(await in_thread(self._run), self._source)

    def _run(self) -> str:
        name, end = self._words[0], time.monotonic() + SECONDS
        try:
            with subprocess.Popen(self._words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0) as process:
                try:
                    said = self._said(process, end)
                    code = process.wait(max(0.0, end - time.monotonic()))
                finally:  # what it started itself may hold the pipe open, and is not waited for
                    process.kill()
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            raise NoToken(f"{self._source}: {name} took longer than {SECONDS:g} s") from error
        except OSError as error:
            raise NoToken(f"{self._source}: {name}: {error.strerror or error}") from error
        if code:
            raise NoToken(f"{self._source}: {name} ended with {code}")
        return said.decode("ascii", "replace")

    def _said(self, process: subprocess.Popen[bytes], end: float) -> bytes:
        assert process.stdout is not None
        said = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise TimeoutError
                if not (piece := process.stdout.read(MAX_BYTES)):
                    return said
                said += piece
                if len(said) > MAX_BYTES:
                    raise NoToken(f"{self._source}: {self._words[0]} says too much for a token")


def _claims(value: str) -> dict[str, object]:
    """Of a JWT, unverified; of anything else none."""
    parts = value.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(claim: object) -> float | None:
    return float(claim) if isinstance(claim, int | float) and 0 < claim < 1 << 40 else None


def seconds_left(token: Token) -> float:
    """Until it expires, as far as that is known."""
    return float("inf") if token.expires_at is None else token.expires_at - time.time()
