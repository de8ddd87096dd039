"""One gateway for all tests of the face, a stock httpx client for each HTTP version, and a folder for each test."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from h2gate.config import Settings
from h2gate.front.app import create_app
from h2gate.gateway import open_storage
from h2gate.server.certificates import Certificates
from tests.conftest import Served, _Thread
from tests.front.tusser import Tus

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Served]:
    settings = Settings(data=tmp_path_factory.mktemp("gateway") / "data", grace_seconds=5.0, drain_seconds=0.5)
    with _Thread(settings, certificates, open_storage, create_app) as served:
        yield served


@pytest.fixture(scope="session")
def trust(certificates: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates.ca)


@pytest.fixture(scope="session", params=["http2", "http1"])
def http(request: pytest.FixtureRequest, gateway: Served, trust: ssl.SSLContext) -> Iterator[httpx.Client]:
    """Stock httpx, speaking one HTTP version."""
    http2 = request.param == "http2"
    with httpx.Client(http1=not http2, http2=http2, verify=trust, base_url=gateway.url, timeout=30) as client:
        yield client
        assert client.get("/healthz").http_version == ("HTTP/2" if http2 else "HTTP/1.1")


@pytest.fixture
def place(gateway: Served) -> Iterator[str]:
    """The URL path of a folder of this test's own; what is staged in the gateway must be over at the end."""
    yield f"/files/t{next(_NUMBERS)}"
    assert gateway.staged() == []


@pytest.fixture
def folder(gateway: Served, place: str) -> Path:
    """The same folder on the disk."""
    return gateway.path(place.removeprefix("/files/"))


@pytest.fixture
def tus(http: httpx.Client, place: str) -> Tus:
    """A client of tus whose files go to the folder of this test."""
    return Tus(http, place)


Curl = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(params=["--http2", "--http1.1"])
def curl(request: pytest.FixtureRequest, gateway: Served) -> Curl:
    """The real curl: `curl(url_path, *arguments, input=…)`; its output is the body, the status last."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")

    def run(path: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        command = ["curl", "-sS", request.param, "--cacert", str(gateway.ca), "-w", "%{http_code}", "--max-time", "60"]
        return subprocess.run([*command, *arguments, gateway.url + path], capture_output=True, check=False, **options)

    return run


@pytest.fixture
def raw(gateway: Served) -> Callable[..., bytes]:
    """`raw(*pieces)` sends bytes over cleartext HTTP/1.1 and returns what comes back until the gateway closes."""

    def talk(*pieces: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", gateway.plain_port), timeout=20) as sock:
            for piece in pieces:
                sock.sendall(piece)
            answer = b""
            while data := sock.recv(65536):
                answer += data
        return answer

    return talk


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Look until it holds; fails after a while."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


class Paused:
    """A request whose body stops after its first bytes until `go`; leave it to go on and have `response`."""

    response: httpx.Response

    def __init__(self, http: httpx.Client, method: str, url: str, first: bytes, rest: bytes, **options: Any) -> None:
        self._go = threading.Event()

        def body() -> Iterator[bytes]:
            yield first
            assert self._go.wait(30)
            yield rest

        def run() -> None:
            http2 = http.get("/healthz").http_version == "HTTP/2"
            with httpx.Client(http1=not http2, http2=http2, verify=options.pop("verify"), timeout=30) as client:
                self.response = client.request(method, url, content=body(), **options)

        self._thread = threading.Thread(target=run)

    def __enter__(self) -> Paused:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._go.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def paused(http: httpx.Client, gateway: Served, trust: ssl.SSLContext) -> Callable[..., Paused]:
    """`with paused("PATCH", path, first, rest): …`"""

    def begin(method: str, path: str, first: bytes, rest: bytes, **options: Any) -> Paused:
        return Paused(http, method, gateway.url + path, first, rest, verify=trust, **options)

    return begin


def files_under(folder: Path) -> list[str]:
    """Every file below a folder, by its relative path."""
    return sorted(os.path.relpath(Path(top) / name, folder) for top, _, names in os.walk(folder) for name in names)
