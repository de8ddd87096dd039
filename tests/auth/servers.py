"""A small HTTP server in a thread, for what the gateway asks of others; what it answers is for tests to choose."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Asked:
    path: str
    headers: Mapping[str, str]
    """Lower-case names."""
    method: str = "GET"


@dataclass
class Peer:
    """`answer` may wait for `release`, which is set when the server ends."""

    url: str
    answer: Callable[[Asked], Reply]
    asked: list[Asked] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    came: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Counts the questions that were not waited for yet."""

    async def waited_for(self, n_questions: int = 1) -> None:
        """Returns when so many more have come."""
        for _ in range(n_questions):
            assert await asyncio.to_thread(self.came.acquire, timeout=20)

    def held(self, asked: Asked) -> Reply:
        """No answer until `release`."""
        self.release.wait(60)
        return Reply(503)


@contextmanager
def serving(answer: Callable[[Asked], Reply], port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    """On 127.0.0.1. At its end all connections end, as those of a process do that is gone."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, self.command)
            peer.asked.append(asked)
            peer.came.release()
            reply = peer.answer(asked)
            self.send_response(reply.status)
            for name, value in (*reply.headers, ("content-length", str(len(reply.body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *args: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # whoever asked has lost patience
                super().handle()

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True
        request_queue_size = 512

        def process_request(self, request: Any, client_address: Any) -> None:
            connections.append(request)
            super().process_request(request, client_address)

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A handshake that failed: whoever asked says why."""

    connections: list[socket.socket] = []
    with Server(("127.0.0.1", port), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        peer = Peer(f"http{'s' if tls else ''}://localhost:{server.server_address[1]}", answer)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield peer
        finally:
            peer.release.set()
            server.shutdown()
            for each in connections:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            thread.join(10)
