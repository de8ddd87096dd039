"""Servers that run an application: three in Python with `loadtest.plain`, and @tus/server in Node.

Each has one worker and its settings as they come, but that HTTP/2 is switched on. None makes a digest or asks the disk
(no fsync), and a file is to be seen while it is being written. `make bench-peers` installs them.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from loadtest.peers.base import LOOPBACK, REPOSITORY, Certificates, Peer, PeerMissing, free_port, serving

APP = "loadtest.plain.app:app"
TUS = REPOSITORY / "loadtest" / "tus"


def hypercorn(
    folder: Path, certificates: Certificates, *, host: str = LOOPBACK, name: str = "Hypercorn"
) -> AbstractContextManager[Peer]:
    """The plain stack: Quart on Hypercorn. Raises `PeerFailed`."""
    port = free_port(host)
    options = ["--bind", f"{host}:{port}", "--certfile", str(certificates.cert), "--keyfile", str(certificates.key)]
    return _python(name, "hypercorn", options, folder, certificates, host, port)


def gunicorn(
    folder: Path, certificates: Certificates, *, host: str = LOOPBACK, name: str = "gunicorn"
) -> AbstractContextManager[Peer]:
    """The same application on gunicorn's ASGI worker, with its HTTP/2. Raises `PeerFailed`."""
    port = free_port(host)
    options = ["--worker-class", "asgi", "--bind", f"{host}:{port}", "--http-protocols", "h2,h1"]
    options += ["--certfile", str(certificates.cert), "--keyfile", str(certificates.key), "--timeout", "600"]
    return _python(name, "gunicorn", [*options, "--no-control-socket"], folder, certificates, host, port)


def granian(
    folder: Path, certificates: Certificates, *, host: str = LOOPBACK, name: str = "granian"
) -> AbstractContextManager[Peer]:
    """The same application on granian. Raises `PeerFailed`."""
    port, key = free_port(host), folder / "key8.pem"
    loaded = load_pem_private_key(certificates.key.read_bytes(), None)
    key.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    options = ["--interface", "asgi", "--host", host, "--port", str(port)]
    options += ["--ssl-certificate", str(certificates.cert), "--ssl-keyfile", str(key)]
    return _python(name, "granian", options, folder, certificates, host, port)


@contextmanager
def _python(
    name: str, module: str, options: list[str], folder: Path, certificates: Certificates, host: str, port: int
) -> Iterator[Peer]:
    if importlib.util.find_spec(module) is None:
        raise PeerMissing(f"{module} is not installed (make bench-peers)")
    (folder / "data" / "files").mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, "-m", module, *options, APP]
    plain = {"PLAIN_DATA": str(folder / "data")}
    with serving(name, arguments, folder, host, port, certificates, environment=plain) as peer:
        yield peer


@contextmanager
def tus(folder: Path, certificates: Certificates, *, host: str = LOOPBACK, name: str = "@tus/server") -> Iterator[Peer]:
    """@tus/server with its file store. Raises `PeerFailed`."""
    if shutil.which("node") is None or not (TUS / "node_modules").is_dir():
        raise PeerMissing("@tus/server is not installed (Node and make bench-peers)")
    port, data = free_port(host), folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    arguments = ["node", str(TUS / "server.mjs"), host, str(port), str(data / "files")]
    arguments += [str(certificates.cert), str(certificates.key)]
    with serving(name, arguments, folder, host, port, certificates, dialect="tus") as peer:
        yield peer
