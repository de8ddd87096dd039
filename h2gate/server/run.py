"""`h2gate serve`: sockets, certificate, data folder, then one worker in this process or several of their own.

Each worker has a socket of its own on the same port (SO_REUSEPORT), so the kernel spreads connections evenly; the
parent only binds them, never listens, and starts a worker anew that dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from h2gate.config import Settings
from h2gate.errors import ConfigError
from h2gate.gateway import Gateway, recover, sole_owner
from h2gate.server.certificates import Certificates, ensure
from h2gate.server.exchange import App
from h2gate.server.worker import Worker, tls_context

MakeApp = Callable[[Gateway], App]
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_RESTART_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Bound:
    """A socket that is bound, and how it is spoken on."""

    sock: socket.socket
    tls: bool

    @property
    def url(self) -> str:
        host, port = self.sock.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self.tls else 'http'}://{shown}:{port}"


def run(settings: Settings, make_app: MakeApp) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises `ConfigError` for what cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    with contextlib.ExitStack() as stack:
        sockets = _bind_all(settings)
        for each in (each for group in sockets for each in group):
            stack.callback(each.sock.close)
        certificates = _certificates(settings) if any(each.tls for each in sockets[0]) else None
        stack.enter_context(sole_owner(settings.data))
        dropped, cut = asyncio.run(recover(settings))
        if dropped or cut:
            logging.getLogger("h2gate").info(
                "after the last run: %d uploads dropped, %d appends cut back", dropped, cut
            )
        urls = " ".join(each.url for each in sockets[0])

        def ready() -> None:
            print(f"h2gate ready on {urls}", file=sys.stderr, flush=True)

        if settings.workers == 1:
            _run_worker(settings, make_app, sockets[0], certificates, ready)
            return 0
        return _supervise(settings, make_app, sockets, certificates, ready)


def _bind_all(settings: Settings) -> list[list[Bound]]:
    """For every worker a socket for every address. The first worker's settle which port 0 becomes."""
    first = [_bind(listen, settings) for listen in settings.listen]
    return [first, *([_again(each) for each in first] for _ in range(settings.workers - 1))]


def _bind(listen: str, settings: Settings) -> Bound:
    tls = not listen.startswith("http://")
    host, colon, port = listen.removeprefix("http://").removeprefix("https://").rstrip("/").rpartition(":")
    host = host.strip("[]")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"--listen {listen}: write HOST:PORT, or http://HOST:PORT for cleartext")
    try:
        family, _, _, _, address = socket.getaddrinfo(host or "127.0.0.1", int(port), type=socket.SOCK_STREAM)[0]
        if not (settings.anonymous or _is_loopback(str(address[0]))):
            raise ConfigError(
                f"--listen {listen}: not a loopback address, and there is no authentication;"
                " --anonymous lets anybody who reaches it read and write"
            )
        return Bound(_bound(family, address, shared=settings.workers > 1), tls)
    except OSError as error:
        raise ConfigError(f"--listen {listen}: {error.strerror or error}") from error


def _again(first: Bound) -> Bound:
    return Bound(_bound(first.sock.family, first.sock.getsockname(), shared=True), first.tls)


def _bound(family: int, address: object, *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind(address)  # type: ignore[arg-type]
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"


def _certificates(settings: Settings) -> Certificates:
    if settings.cert is not None and settings.key is not None:
        return Certificates(ca=settings.cert, cert=settings.cert, key=settings.key)
    made = ensure(settings.certs)
    print(f"h2gate: development certificate; clients trust it with --ca {made.ca}", file=sys.stderr)
    return made


def _run_worker(
    settings: Settings,
    make_app: MakeApp,
    sockets: Sequence[Bound],
    certificates: Certificates | None,
    ready: Callable[[], None],
) -> None:
    """Serve in this process until a stop signal."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        try:
            context = tls_context(str(certificates.cert), str(certificates.key)) if certificates else None
        except OSError as error:
            raise ConfigError(f"--cert, --key: {error}") from error
        async with Gateway(settings) as gateway:

            def begin_to_stop() -> None:
                gateway.draining = True
                stop.set()

            for number in _STOP_SIGNALS:
                loop.add_signal_handler(number, begin_to_stop)
            worker = Worker(make_app(gateway), settings)
            await worker.serve([(each.sock, context if each.tls else None) for each in sockets], ready, stop)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one: a wake-up costs a third of plain asyncio's."""
    try:
        import uvloop  # noqa: PLC0415 - there is none on some platforms
    except ImportError:
        return None
    return uvloop.new_event_loop


# Several workers


def _worker_process(
    settings: Settings, make_app: MakeApp, sockets: Sequence[Bound], certificates: Certificates | None, pipe: Pipe
) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    _run_worker(settings, make_app, sockets, certificates, lambda: pipe.send("ready"))


def _supervise(
    settings: Settings,
    make_app: MakeApp,
    sockets: Sequence[Sequence[Bound]],
    certificates: Certificates | None,
    ready: Callable[[], None],
) -> int:
    context = multiprocessing.get_context("spawn")
    running: dict[int, tuple[BaseProcess, Pipe, float]] = {}

    def start(index: int) -> None:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=_worker_process,
            args=(settings, make_app, sockets[index], certificates, theirs),
            name=f"worker-{index}",
        )
        process.start()
        theirs.close()
        running[index] = (process, ours, time.monotonic())

    with _stop_pipe() as stopped:
        for index in range(settings.workers):
            start(index)
        waiting = set(range(settings.workers))
        while True:
            pipes = [running[index][1] for index in waiting]
            found = wait([stopped, *(process.sentinel for process, _, _ in running.values()), *pipes])
            if stopped in found:
                break
            for index, (process, pipe, since) in list(running.items()):
                if index in waiting and pipe in found and _said_ready(pipe):
                    waiting.discard(index)
                    if not waiting:
                        ready()
                if not process.is_alive():
                    logging.getLogger("h2gate").error(
                        "worker %d ended with %s; starting it anew", index, process.exitcode
                    )
                    if time.monotonic() - since < _RESTART_SECONDS:
                        _terminate(running)
                        return 1
                    waiting.discard(index)
                    start(index)
        _terminate(running)
    return 0


def _said_ready(pipe: Pipe) -> bool:
    try:
        return bool(pipe.recv())
    except EOFError:
        return False


def _terminate(running: dict[int, tuple[BaseProcess, Pipe, float]]) -> None:
    for process, _, _ in running.values():
        process.terminate()
    for process, _, _ in running.values():
        process.join()


@contextlib.contextmanager
def _stop_pipe() -> Iterator[int]:
    """A descriptor that becomes readable when a stop signal comes."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = [signal.signal(number, lambda *_: os.write(writing, b"x")) for number in _STOP_SIGNALS]
    try:
        yield reading
    finally:
        for number, handler in zip(_STOP_SIGNALS, before, strict=True):
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
