"""h2gate as it is compared: as shipped (a SHA-256 of every file, fsync before the answer), or with `options`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from loadtest.peers.base import LOOPBACK, Certificates, Peer, free_port, serving


@contextmanager
def h2gate(
    folder: Path,
    certificates: Certificates,
    *,
    host: str = LOOPBACK,
    options: Sequence[str] = (),
    name: str = "h2gate",
) -> Iterator[Peer]:
    """h2gate as shipped, plus `options`. On an address that is not loopback it lets anybody in."""
    port = free_port(host)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, "-m", "h2gate", "serve", "--listen", f"{host}:{port}", "--data", str(folder / "data")]
    arguments += ["--cert", str(certificates.cert), "--key", str(certificates.key), *options]
    if host != LOOPBACK:
        arguments.append("--anonymous")
    with serving(name, arguments, folder, host, port, certificates) as peer:
        yield peer
