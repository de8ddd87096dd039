"""Real gateways for tests: one in a thread of this process (to look inside), one as a process of its own (to kill)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from h2gate.config import Settings
from h2gate.front.app import create_app
from h2gate.gateway import Gateway, open_storage
from h2gate.server.certificates import Certificates, ensure
from h2gate.server.exchange import App
from h2gate.server.worker import Worker, tls_context
from h2gate.storage.base import Storage

_T = TypeVar("_T")
_WAIT_SECONDS = 30


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What commands remember from one run to the next stays with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("state")
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder / "h2gate"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return ensure(tmp_path_factory.mktemp("certs"))


def staged(data: Path) -> list[Path]:
    """The files that come in whole and are not shown yet, in a data folder."""
    return [path for path in (data / "staging").rglob("*") if path.is_file()]


def n_descriptors() -> int:
    """That are open in this process, those aside that only wait for the garbage collector, of whatever test."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@dataclass
class Served:
    """A gateway in a thread of this process. `url` is TLS, `plain_url` cleartext."""

    data: Path
    ca: Path
    port: int
    plain_port: int
    worker: Worker
    gateway: Gateway
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def plain_url(self) -> str:
        return f"http://127.0.0.1:{self.plain_port}"

    def inside(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the gateway's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(_WAIT_SECONDS)

    def path(self, name: str) -> Path:
        return self.data / "files" / name

    def staged(self) -> list[str]:
        return [path.name for path in staged(self.data)]


class _Thread:
    def __init__(
        self,
        settings: Settings,
        certificates: Certificates,
        make_storage: Callable[[Settings], Storage],
        make_app: Callable[[Gateway], App],
    ) -> None:
        self._settings = settings
        self._certificates = certificates
        self._make_storage = make_storage
        self._make_app = make_app
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="gateway")
        self._stop: asyncio.Event
        self.served: Served

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._ready.wait(_WAIT_SECONDS)
        if self._failure is not None:
            raise self._failure
        return self.served

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(RuntimeError):  # it has ended already
            self.served.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_WAIT_SECONDS)
        assert not self._thread.is_alive(), "the gateway did not stop"
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised again where the test can see it
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        found = self._certificates
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        for sock in sockets:
            sock.setblocking(False)
        contexts = [tls_context(str(found.cert), str(found.key)), None]
        async with Gateway(self._settings, self._make_storage) as gateway:
            worker = Worker(self._make_app(gateway), self._settings, gateway.budget, gateway.metrics)
            self.served = Served(
                self._settings.data,
                found.ca,
                sockets[0].getsockname()[1],
                sockets[1].getsockname()[1],
                worker,
                gateway,
                asyncio.get_running_loop(),
                self._stop,
            )
            await worker.serve(list(zip(sockets, contexts, strict=True)), self._ready.set, self._stop)


Serve = Callable[..., Served]


@contextlib.contextmanager
def serving(folder: Path, certificates: Certificates) -> Iterator[Serve]:
    """See `serve`, which is this for one test."""
    with contextlib.ExitStack() as stack:

        def start(
            open_storage: Callable[[Settings], Storage] = open_storage,
            make_app: Callable[[Gateway], App] = create_app,
            **settings: Any,
        ) -> Served:
            settings.setdefault("data", folder / "data")
            settings.setdefault("grace_seconds", 5.0)
            return stack.enter_context(_Thread(Settings(**settings), certificates, open_storage, make_app))

        yield start


@pytest.fixture
def serve(tmp_path: Path, certificates: Certificates) -> Iterator[Serve]:
    """`serve(open_storage=..., make_app=..., **settings)` starts a gateway in a thread; it is stopped at the end."""
    with serving(tmp_path, certificates) as start:
        yield start


@dataclass
class Process:
    """`h2gate serve` as a process of its own."""

    popen: subprocess.Popen[str]
    urls: list[str]
    data: Path
    ca: Path
    lines: list[str] = field(default_factory=list)
    reader: threading.Thread | None = None

    @property
    def url(self) -> str:
        return self.urls[0].replace("127.0.0.1", "localhost")

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self, seconds: float = _WAIT_SECONDS) -> int:
        return self.popen.wait(seconds)


Spawn = Callable[..., Process]


@pytest.fixture
def spawn(tmp_path: Path, certificates: Certificates) -> Iterator[Spawn]:
    """`spawn("--flag", …)` runs `h2gate serve` on free ports; it is ended at the end, if it has not ended."""
    running: list[Process] = []

    def start(*flags: str, data: Path = tmp_path / "data", listen: str = "127.0.0.1:0") -> Process:
        command = [sys.executable, "-m", "h2gate", "serve", "--listen", listen, "--data", str(data), *flags]
        command += ["--cert", str(certificates.cert), "--key", str(certificates.key)]
        popen = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        process = Process(popen, [], data, certificates.ca)
        running.append(process)
        assert popen.stderr is not None
        for line in popen.stderr:
            process.lines.append(line)
            if found := re.match(r"h2gate ready on (.*)", line):
                process.urls = found[1].split()
                break
        else:
            raise AssertionError("".join(process.lines))
        process.reader = threading.Thread(target=process.lines.extend, args=(popen.stderr,), daemon=True)
        process.reader.start()
        return process

    yield start
    for process in running:
        if process.popen.poll() is None:
            process.popen.kill()
        process.wait()
        if process.reader is not None:
            process.reader.join(_WAIT_SECONDS)
        assert process.popen.stderr is not None
        process.popen.stderr.close()
