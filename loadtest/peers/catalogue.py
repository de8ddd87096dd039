"""Every server that is compared: how it starts, what it speaks, and what it promises of a file that it has answered.

One that cannot be had here raises `PeerMissing` when it is started; who measures names it as skipped, with the reason.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loadtest.peers import native, ours, scripted
from loadtest.peers.base import Certificates, Peer
from loadtest.peers.native import PATH

BOTH = ("2", "1.1")
BARE = ("--no-digest", "--no-fsync")
TUNING = "client_body_buffer_size 512k; http2_body_preread_size 512k;"
"""What people put into nginx's configuration for HTTP/2 uploads; the fastest of what was tried."""
_WRITTEN = "no digest, no fsync; a file is shown when it is whole"
_BARELY = "no digest, no fsync; a file is shown while it is written"


class Start:
    """Called as `start(folder, certificates, host=…)`: a context in which the peer runs."""

    def __init__(self, make: Callable[..., AbstractContextManager[Peer]], **settings: object) -> None:
        self._make = partial(make, **settings)

    def __call__(self, folder: Path, certificates: Certificates, *, host: str) -> AbstractContextManager[Peer]:
        return self._make(folder, certificates, host=host)


@dataclass(frozen=True, slots=True)
class Kind:
    """One server of the comparison. `protocols` are the HTTP versions it speaks to senders."""

    key: str
    name: str
    start: Start
    durability: str
    version: Callable[[], str]
    protocols: tuple[str, ...] = BOTH


def said_by(*command: str) -> Callable[[], str]:
    """The first line that a program says of its version."""

    def ask() -> str:
        program = shutil.which(command[0], path=PATH)
        if program is None:
            return "not installed"
        done = subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL
        )
        return ((done.stdout or done.stderr).strip().splitlines() or [""])[0]

    return ask


def of_packages(*names: str) -> Callable[[], str]:
    def ask() -> str:
        found = []
        for name in names:
            try:
                found.append(f"{name} {importlib.metadata.version(name)}")
            except importlib.metadata.PackageNotFoundError:
                return f"{name} not installed"
        return ", ".join(found)

    return ask


def _node_version() -> str:
    package = scripted.TUS / "node_modules" / "@tus" / "server" / "package.json"
    if not package.exists():
        return "not installed"
    return f"@tus/server {json.loads(package.read_text())['version']}, Node {said_by('node', '--version')()}"


H2GATE = of_packages("h2gate", "hypercorn", "quart", "ngh2")
KINDS = (
    Kind("h2gate", "h2gate", Start(ours.h2gate), "SHA-256, fsync of file and folder, then the answer", H2GATE),
    Kind("bare", "h2gate bare", Start(ours.h2gate, options=BARE, name="h2gate bare"), _WRITTEN, H2GATE),
    Kind("nginx", "nginx", Start(native.nginx), _WRITTEN, said_by("nginx", "-v")),
    Kind(
        "tuned",
        "nginx tuned",
        Start(native.nginx, tuning=TUNING, name="nginx tuned"),
        _WRITTEN,
        said_by("nginx", "-v"),
    ),
    Kind("apache", "Apache", Start(native.apache), _WRITTEN, said_by("apache2", "-v")),
    Kind("rclone", "rclone", Start(native.rclone), _BARELY, said_by("rclone", "version")),
    Kind("plain", "Hypercorn", Start(scripted.hypercorn), _BARELY, of_packages("hypercorn", "quart", "h2")),
    Kind("gunicorn", "gunicorn", Start(scripted.gunicorn), _BARELY, of_packages("gunicorn", "quart", "h2")),
    Kind("granian", "granian", Start(scripted.granian), _BARELY, of_packages("granian", "quart")),
    Kind("tus", "@tus/server", Start(scripted.tus), _BARELY, _node_version),
)


def kind(key: str) -> Kind:
    """Raises `KeyError`."""
    return {each.key: each for each in KINDS}[key]


def programs() -> dict[str, str]:
    """What else a run's figures depend on, and its version."""
    asked = {"curl": ("curl", "--version"), "h2load": ("h2load", "--version"), "rclone": ("rclone", "version")}
    versions = {name: said_by(*command)() for name, command in asked.items()}
    return {"Python": sys.version.split()[0], **versions}
