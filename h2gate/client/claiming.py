"""Who this client says it is: what the program that uses it gave, or what a user's options, environment and files say.

The order of the latter is told in docs/client.md; the first that is there is it, and when it is no good nothing else is
tried, since another identity is not what was meant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import httpx

from h2gate.client import names
from h2gate.client.credential import Bearer, Credential, Flow
from h2gate.client.tokens import Called, FromCall, FromCommand, FromFile, Given, TokenSource
from h2gate.errors import ConfigError

Who: TypeAlias = "str | Called | httpx.Auth | TokenSource"


def credential(who: Who | None, url: str, headers: Mapping[str, str]) -> Credential | None:
    """What signs requests to the origin of `url`. Raises `ConfigError`, and `NoToken` for a text that is none."""
    if who is None:
        return None
    if any(name.lower() == "authorization" for name in headers):
        raise ConfigError("a token and a field Authorization: which is it?")
    if not names.is_confidential(url):
        raise ConfigError(f"{names.origin(url)}: a token goes over TLS or to this machine only")
    if isinstance(who, httpx.Auth):
        return Flow(who)
    if isinstance(who, str):
        return Bearer(Given(who))
    return Bearer(FromCall(who) if callable(who) else who)


def chosen(
    url: str,
    stored: Callable[[], TokenSource | None],
    *,
    file: Path | None = None,
    command: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> TokenSource | None:
    """Where the command line's token comes from; None is nobody. `stored`: what was logged in. Raises `ConfigError`,
    `NoToken`."""
    if file is not None and command is not None:
        raise ConfigError("--token-file and --token-command: which is it?")
    if file is not None:
        return FromFile(file, "--token-file")
    if command is not None:
        return FromCommand(command, "--token-command")
    if (found := _named(environment, "H2GATE_TOKEN")) is not None:
        return found
    if not names.is_confidential(url):
        return None  # what was not meant for this gateway in particular is no reason not to talk to it
    return _named(environment, "BEARER_TOKEN") or _discovered(environment) or stored()


def _named(environment: Mapping[str, str], name: str) -> TokenSource | None:
    if value := environment.get(name, "").strip():
        return Given(value, name)
    if path := environment.get(f"{name}_FILE", "").strip():
        return FromFile(Path(path), f"{name}_FILE")
    return None


def _discovered(environment: Mapping[str, str]) -> TokenSource | None:
    """WLCG Bearer Token Discovery, steps 3 and 4. What others laid there is passed by."""
    folders = [environment.get("XDG_RUNTIME_DIR", ""), "/tmp"]  # noqa: S108
    for folder in filter(None, folders):
        path = Path(folder) / f"bt_u{os.geteuid()}"
        with suppress(OSError):
            if path.lstat().st_uid == os.geteuid():
                return FromFile(path, "bearer token discovery", private=True)
    return None
