"""A worker as a process: this one, or several that are started anew when they die and end when their parent does."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from typing import Any

from h2gate import heap, logs
from h2gate.config import Settings
from h2gate.gateway import Gateway
from h2gate.server.certificates import Certificates
from h2gate.server.exchange import App
from h2gate.server.reloading import load_certificates, reloader
from h2gate.server.sockets import Bound
from h2gate.server.worker import Worker

MakeApp = Callable[[Gateway], App]
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_RELOAD_SIGNAL = signal.SIGHUP
_RESTART_SECONDS = 1.0
_EXIT_SECONDS = 10.0

log = logging.getLogger("h2gate")


def run_worker(
    settings: Settings,
    make_app: MakeApp,
    sockets: Sequence[Bound],
    certificates: Certificates | None,
    ready: Callable[[], None],
    parent: Pipe | None = None,
) -> None:
    """Serve in this process until a stop signal, or until the parent is gone."""
    heap.tune()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        context = load_certificates(certificates) if certificates else None
        async with Gateway(settings) as gateway:

            def begin_to_stop() -> None:
                if parent is not None:
                    loop.remove_reader(parent.fileno())
                gateway.draining = True
                stop.set()

            for number in _STOP_SIGNALS:
                loop.add_signal_handler(number, begin_to_stop)
            if parent is not None:
                loop.add_reader(parent.fileno(), begin_to_stop)
            worker = Worker(make_app(gateway), settings, gateway.budget, gateway.metrics)
            begin_to_reload = reloader(worker, certificates, gateway.reload_policy, lambda: gateway.client_ca)
            loop.add_signal_handler(_RELOAD_SIGNAL, begin_to_reload)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [_RELOAD_SIGNAL])
            _spare_the_collector()
            await worker.serve([(each.sock, context if each.tls else None) for each in sockets], ready, stop)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _spare_the_collector() -> None:
    """What is there before the first request stays to the end: the collector need not go through it again and again,
    which costs a small upload 5 %, and more the more libraries a policy needs."""
    gc.collect()
    gc.freeze()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one: a wake-up costs a third of plain asyncio's."""
    try:
        import uvloop  # noqa: PLC0415 - there is none on some platforms
    except ImportError:
        return None
    return uvloop.new_event_loop


@dataclass(frozen=True, slots=True)
class Inherited:
    """A descriptor that a worker holds as well: the lock of the data folder is free when the last of them has ended."""

    fd: int

    def __reduce__(self) -> tuple[Callable[[Any], Inherited], tuple[Any]]:
        return _inherited, (DupFd(self.fd),)


def _inherited(passed: Any) -> Inherited:
    return Inherited(passed.detach())


def _worker_process(
    settings: Settings,
    make_app: MakeApp,
    sockets: Sequence[Bound],
    certificates: Certificates | None,
    lock: Inherited,
    pipe: Pipe,
) -> None:
    logs.configure(settings.log_format)
    run_worker(settings, make_app, sockets, certificates, lambda: pipe.send("ready"), parent=pipe)


@dataclass(slots=True)
class _Running:
    """One worker. `pipe` says "ready", and is closed on its side when it ends."""

    process: BaseProcess
    pipe: Pipe
    since: float
    is_ready: bool = False


class _Supervisor:
    """Starts the workers, starts anew those that die, ends them all."""

    def __init__(self, settings: Settings, start: Callable[[int, Pipe], BaseProcess], ready: Callable[[], None]):
        self._settings = settings
        self._start_process = start
        self._tell_ready = ready
        self._told = False
        self._running: dict[int, _Running] = {}

    def run(self, stopped: int) -> int:
        """Until `stopped` is readable; the exit code."""
        for index in range(self._settings.workers):
            self._start(index)
        while True:
            ends = [each.process.sentinel for each in self._running.values()]
            pipes = [each.pipe for each in self._running.values() if not each.is_ready]
            if stopped in wait([stopped, *ends, *pipes]):
                return 0
            for index, each in list(self._running.items()):
                each.is_ready = each.is_ready or _said_ready(each.pipe)
                if each.process.exitcode is not None and not self._may_start_anew(index, each, stopped):
                    return 0 if wait([stopped], 0) else 1
            if not self._told and all(each.is_ready for each in self._running.values()):
                self._told = True
                self._tell_ready()

    def _start(self, index: int) -> None:
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        with reload_held_back():
            process = self._start_process(index, theirs)
        theirs.close()
        self._running[index] = _Running(process, ours, time.monotonic())

    def _may_start_anew(self, index: int, dead: _Running, stopped: int) -> bool:
        """Start it anew, unless not even the first start went well or it is time to stop."""
        dead.pipe.close()
        log.error("worker %d ended with %s", index, dead.process.exitcode)
        if not (self._told or dead.is_ready):
            return False
        if time.monotonic() - dead.since < _RESTART_SECONDS and wait([stopped], _RESTART_SECONDS):
            return False
        self._start(index)
        return True

    def pass_on(self, number: int) -> None:
        """To all workers that there are; for one that is just starting it waits until that can hear it."""
        for each in self._running.values():
            if each.process.pid is not None and each.process.exitcode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each.process.pid, number)

    def terminate(self) -> None:
        """Let the workers end their requests; end those that take much longer than that may take."""
        for each in self._running.values():
            each.process.terminate()
        deadline = time.monotonic() + self._settings.grace_seconds + _EXIT_SECONDS
        for each in self._running.values():
            each.process.join(max(0.0, deadline - time.monotonic()))
            if each.process.exitcode is None:
                log.error("%s does not end; killing it", each.process.name)
                each.process.kill()


def supervise(
    settings: Settings,
    make_app: MakeApp,
    sockets: Sequence[Sequence[Bound]],
    certificates: Certificates | None,
    lock: Inherited,
    ready: Callable[[], None],
) -> int:
    """Serve in `settings.workers` processes until a stop signal; the exit code. `ready` is called when all serve."""

    def start(index: int, pipe: Pipe) -> BaseProcess:
        process = multiprocessing.get_context("spawn").Process(
            target=_worker_process,
            args=(settings, make_app, sockets[index], certificates, lock, pipe),
            name=f"worker-{index}",
        )
        process.start()
        return process

    supervisor = _Supervisor(settings, start, ready)
    with _stop_pipe() as stopped, _on_reload(supervisor.pass_on):
        try:
            return supervisor.run(stopped)
        finally:
            supervisor.terminate()


def _said_ready(pipe: Pipe) -> bool:
    try:
        return pipe.poll() and bool(pipe.recv())
    except (EOFError, OSError):
        return False


@contextlib.contextmanager
def reload_held_back() -> Iterator[None]:
    """Whoever is started in here gets the signal to reload when it is ready for it: until then it would end it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [_RELOAD_SIGNAL])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _on_reload(handle: Callable[[int], None]) -> Iterator[None]:
    before = signal.signal(_RELOAD_SIGNAL, lambda number, _: handle(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [_RELOAD_SIGNAL])
    try:
        yield
    finally:
        signal.signal(_RELOAD_SIGNAL, before)


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
