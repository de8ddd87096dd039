"""One process's share of the serving: its sockets, its connections, its way out.

Hypercorn gives the configuration, TLS, lifespan and HTTP/1.1; what accepts is ours, since a connection must know its
protocol before the first byte is read, and leave within the grace time (hypercorn waits for all of them).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from email.utils import formatdate
from typing import Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from h2gate.budget import Budget
from h2gate.config import Settings
from h2gate.metrics import Metrics
from h2gate.server.callers import Callers
from h2gate.server.certificates import Shown
from h2gate.server.connection import Connection
from h2gate.server.doorway import Doorway
from h2gate.server.efforts import Efforts
from h2gate.server.exchange import App
from h2gate.server.fairness import Fairness
from h2gate.server.http1 import Http1Server
from h2gate.server.inlet import Inlet
from h2gate.server.listener import Listener, Visit
from h2gate.server.turns import Turns
from h2gate.wire.engine import Engine, EngineSettings, Header, Role
from h2gate.wire.frame_limits import FrameLimits
from h2gate.wire.nghttp2 import Nghttp2Engine
from h2gate.wire.reference import ReferenceEngine

log = logging.getLogger("h2gate.server")

READ_BYTES = 256 << 10
FRAME_BYTES = 64 << 10
MIN_LEFT_BYTES = 4 << 20
"""With less of the budget left no connection is accepted."""
_SPARE_PLACES = 16
"""So many connections, and one in so many, are asked to leave before it is too late."""
_POLITE_SECONDS = 0.05
"""For a connection that was asked to leave, when there is no room."""
_LOOK_SECONDS = 1.0
_CUT_SECONDS = 2.0
_FOREVER = 2**62


ENGINES: dict[str, Callable[[Role, EngineSettings], Engine]] = {"nghttp2": Nghttp2Engine, "reference": ReferenceEngine}


class Worker:
    """Serves `app` until told to stop."""

    def __init__(self, app: App, settings: Settings, budget: Budget, metrics: Metrics):
        self.app = app
        self.settings = settings
        self.budget = budget
        self.metrics = metrics
        self.loop = asyncio.get_running_loop()
        self.tls: ssl.SSLContext | None = None
        """For connections that are accepted from now on."""
        self.buffer = memoryview(bytearray(READ_BYTES))
        """What every connection reads into: nothing stays in it beyond one call."""
        self.callers = Callers(budget, settings.max_address_connections, settings.max_address_offences)
        self.fairness = Fairness(self.loop)
        self.efforts = Efforts(self.fairness.step_back)
        self.turns = Turns(self.loop, READ_BYTES)
        self.visits: set[Visit] = set()
        """Every connection, in whatever state."""
        self.doorways: set[Doorway] = set()
        self.connections: set[Connection] = set()
        self.shortest_seconds = min(filter(None, (
            settings.idle_seconds, settings.header_seconds, settings.body_seconds, settings.answer_seconds,
            settings.request_seconds,
        )))  # fmt: skip
        """Of all that is waited for."""
        self.stopping = False
        self.config = _config(settings)
        self.context = WorkerContext(None)
        self.wrapped_app = ASGIWrapper(app)
        self.lifespan_state: dict[str, Any] = {}
        self._make_engine = ENGINES[settings.engine]
        self._http1: dict[asyncio.Task[None], Http1Server] = {}
        self._date = (0, (b"date", b""))
        self._less = asyncio.Event()
        self._describe()

    def certificate(self, shown: Shown | None) -> bytes | None:
        """That of a client as long as it counts, DER."""
        return shown.der if shown is not None and shown.still_counts(self.tls) else None

    def _describe(self) -> None:
        """What can be seen of it."""
        gauge = self.metrics.gauge
        gauge("memory_budget_bytes", "Memory that peers may make the gateway use", lambda: self.budget.n_bytes)
        gauge("memory_held_bytes", "What they have taken of it", lambda: self.budget.n_bytes - self.budget.left)
        gauge("connections", "Connections, those included that are at their handshake", lambda: len(self.visits))
        gauge("http1_connections", "Connections that speak HTTP/1.1", lambda: len(self._http1))
        gauge("window_bytes", "Credit outstanding: what HTTP/2 peers may send without asking", self._promised_bytes)
        gauge("tasks", "asyncio tasks", lambda: len(asyncio.all_tasks(self.loop)))
        gauge("streams", "HTTP/2 requests at work", lambda: sum(len(each.streams) for each in self.connections))

    def _promised_bytes(self) -> int:
        return sum(stream.promised_bytes for each in self.connections for stream in each.streams.values())

    def engine(self) -> Engine:
        """A fresh engine for a connection that has chosen HTTP/2."""
        settings = self.settings
        limits = FrameLimits(**{each.name: getattr(settings, f"max_{each.name}") for each in fields(FrameLimits)})
        promised = EngineSettings(
            max_streams=settings.max_streams,
            stream_window=settings.stream_window,
            max_frame_bytes=FRAME_BYTES,
            max_header_list_bytes=settings.max_header_list,
            max_continuations=settings.max_continuations,
            limits=limits,
        )
        return self._make_engine(Role.SERVER, promised)

    def serve_http1(self, inlet: Inlet, visit: Visit) -> None:
        """Hand a connection to Hypercorn."""
        server = Http1Server(self, inlet, visit.caller)
        task = self.loop.create_task(server.run())
        self._http1[task] = server
        task.add_done_callback(self._http1.pop)
        task.add_done_callback(lambda _: visit.leave())

    async def room(self) -> None:
        """Returns when one more connection may be accepted. Connections that are idle make room for it: shortly before
        there is none they are asked to leave, and then those that were asked are cut."""
        places = self.settings.max_connections
        spare = min(_SPARE_PLACES, places // _SPARE_PLACES)
        if len(self.visits) >= places - spare:
            self._ask_to_leave()
        while len(self.visits) >= places or self.budget.left < MIN_LEFT_BYTES:
            limit = "memory" if self.budget.left < MIN_LEFT_BYTES else "max_connections"
            self.metrics.limit_hit(limit, "all together", "accepting pauses")
            self._less.clear()
            seconds = _POLITE_SECONDS if self._ask_to_leave() else _LOOK_SECONDS
            left = self.loop.create_task(self._less.wait())
            more = self.loop.create_task(self.budget.given_back())
            await asyncio.wait((left, more), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            left.cancel()
            more.cancel()

    def _ask_to_leave(self) -> bool:
        """One connection that is idle, whether there is one: of the address that has the most of them, the one that
        has been idle for the longest, and before all others one that was asked already."""
        idle: list[Connection | Http1Server] = [
            *(each for each in self.connections if not each.streams),
            *(each for each in self._http1.values() if each.is_idle),
        ]
        if idle:
            max(idle, key=lambda each: (each.is_leaving, each.caller.n_connections, -each.idle_since)).leave_idle()
        return bool(idle)

    def left(self, visit: Visit) -> None:
        """A connection has ended."""
        self.visits.discard(visit)
        self._less.set()

    def date_field(self) -> Header:
        """`date` for an answer (RFC 9110 section 6.6.1), made once a second."""
        now = int(time.time())
        if self._date[0] != now:
            self._date = (now, (b"date", formatdate(now, usegmt=True).encode()))
        return self._date[1]

    async def serve(
        self,
        sockets: Sequence[tuple[socket.socket, ssl.SSLContext | None]],
        ready: Callable[[], None],
        stop: asyncio.Event,
    ) -> None:
        """Accept on `sockets`, call `ready`, and go on until `stop`; then let requests in flight end, for a time."""
        self.tls = next((context for _, context in sockets if context is not None), None)
        lifespan = Lifespan(self.wrapped_app, self.config, self.loop, self.lifespan_state)
        lifespan_task = self.loop.create_task(lifespan.handle_lifespan())
        await lifespan.wait_for_startup()
        listeners = [Listener(self, sock, tls=context is not None) for sock, context in sockets]
        accepting = [self.loop.create_task(each.run()) for each in listeners]
        ready()
        stopped = self.loop.create_task(stop.wait())
        await asyncio.wait([stopped, *accepting], return_when=asyncio.FIRST_COMPLETED)
        for task in (stopped, *accepting):
            task.cancel()
        await asyncio.wait([stopped, *accepting])
        await self._drain()
        await lifespan.wait_for_shutdown()
        lifespan_task.cancel()
        with suppress(asyncio.CancelledError):
            await lifespan_task

    async def _drain(self) -> None:
        """Requests in flight may end within the grace time; then the connections are cut."""
        self.stopping = True
        await self.context.terminated.set()
        for doorway in list(self.doorways):
            doorway.close()
        for connection in list(self.connections):
            connection.drain()
        for server in self._http1.values():
            server.leave_idle()
        if late := await self._ended(self.settings.grace_seconds):
            log.warning("the grace time is over; cutting %d connections", late)
            await self._cut()

    async def _cut(self) -> None:
        """An application learns from its next `receive` or `send` that the peer is gone; one that calls neither is
        cancelled. Blocking work (a disk that hangs) is not waited for without end."""
        for connection in list(self.connections):
            connection.abort()
        for task in self._http1:
            task.cancel()
        if await self._ended(_CUT_SECONDS):
            for connection in list(self.connections):
                connection.cancel()
            if left := await self._ended(_CUT_SECONDS):
                log.error("%d connections have requests that do not end", left)

    async def _ended(self, seconds: float) -> int:
        """Wait until all connections, also those that come in meanwhile, have ended; how many have not in time."""
        deadline = self.loop.time() + seconds
        while ends := [*self._http1, *(each.ended for each in self.connections)]:
            left = deadline - self.loop.time()
            if left <= 0:
                return len(ends)
            await asyncio.wait(ends, timeout=left)
        return 0


def _config(settings: Settings) -> Config:
    config = Config()
    config.include_server_header = False
    config.keep_alive_max_requests = _FOREVER
    config.graceful_timeout = settings.grace_seconds
    return config


_TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 and up, ALPN h2 and http/1.1: Hypercorn's context with the options it loses by assigning them.

    Of TLS 1.2 only what is authenticated and forward secret (RFC 9113 section 9.2.2); of TLS 1.3 all is.
    """
    config = Config()
    config.certfile, config.keyfile = certificate, key
    config.ciphers = _TLS12_CIPHERS
    context = config.create_ssl_context()
    assert context is not None
    context.options |= ssl.OP_ALL | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_ENABLE_MIDDLEBOX_COMPAT
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_IGNORE_UNEXPECTED_EOF
    return context
