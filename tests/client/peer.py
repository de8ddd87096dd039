"""The other end for tests of the client: a real TLS server on the engine seam whose every frame a test may decide."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from h2gate.wire.engine import Data, EngineSettings, Event, Header, Headers, Reset, Role, Trailers
from h2gate.wire.nghttp2 import Nghttp2Engine

PATIENCE = 10.0


@dataclass(eq=False)
class Call:
    """One request as the peer sees it."""

    connection: PeerConnection
    stream_id: int
    headers: dict[str, str]
    inbox: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    trailers: list[Header] = field(default_factory=list)
    reset: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    received: int = 0
    """Bytes of the body that have arrived, credited or not."""

    @property
    def path(self) -> str:
        return self.headers[":path"]

    async def body(self, *, credit: bool = True) -> AsyncIterator[bytes]:
        while (data := await self.inbox.get()) is not None:
            if credit:
                self.credit(len(data))
            yield data

    async def read(self) -> bytes:
        return b"".join([data async for data in self.body()])

    def credit(self, n_bytes: int) -> None:
        self.connection.engine.credit(self.stream_id, n_bytes)
        self.connection.flush()

    def inform(self, status: int, *headers: Header) -> None:
        self.connection.engine.inform(self.stream_id, [(b":status", b"%d" % status), *headers])
        self.connection.flush()

    def answer(self, status: int, *headers: Header, body: bytes = b"", trailers: list[Header] | None = None) -> None:
        engine = self.connection.engine
        whole = not body and trailers is None
        engine.respond(self.stream_id, [(b":status", b"%d" % status), *headers], end_stream=whole)
        if body:
            engine.send_data(self.stream_id, body, end_stream=trailers is None)
        if trailers is not None:
            engine.send_trailers(self.stream_id, trailers)
        self.connection.flush()

    def refuse(self, code: int) -> None:
        self.connection.engine.reset(self.stream_id, code)
        self.connection.flush()


Handler = Callable[[Call], Awaitable[None]]


class PeerConnection(asyncio.Protocol):
    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.engine = Nghttp2Engine(Role.SERVER, peer.settings)
        self.calls: dict[int, Call] = {}
        self.pings = 0
        self.lost = asyncio.get_running_loop().create_future()
        self._frames = b""
        self._skipped_preface = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.peer.connections.append(self)
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._count_pings(data)
        for event in self.engine.receive(memoryview(data)):
            self._handle(event)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)
        for call in self.calls.values():
            call.inbox.put_nowait(None)

    def flush(self) -> None:
        while not self.transport.is_closing() and (data := self.engine.data_to_send()):
            self.transport.write(data)
        if self.engine.done:
            self.transport.close()

    def goaway(self, last_stream_id: int) -> None:
        """A GOAWAY of our own making, which may leave out streams that have begun."""
        self.transport.write(struct.pack("!I", 8 << 8 | 0x7) + struct.pack("!BIII", 0, 0, last_stream_id, 0))

    def _handle(self, event: Event) -> None:
        match event:
            case Headers(stream_id, headers, end_stream):
                decoded = {name.decode(): value.decode() for name, value in headers}
                call = self.calls[stream_id] = Call(self, stream_id, decoded)
                if end_stream:
                    call.inbox.put_nowait(None)
                self.peer.begin(call)
            case Data(stream_id, data, end_stream):
                call = self.calls[stream_id]
                call.received += len(data)
                call.inbox.put_nowait(data)
                if end_stream:
                    call.inbox.put_nowait(None)
                self.peer.stir()
            case Trailers(stream_id, headers):
                self.calls[stream_id].trailers = list(headers)
                self.calls[stream_id].inbox.put_nowait(None)
            case Reset(stream_id, code):
                self.calls[stream_id].inbox.put_nowait(None)
                self.calls[stream_id].reset.set_result(code)
                self.peer.stir()

    def _count_pings(self, data: bytes) -> None:
        self._frames += data
        if not self._skipped_preface and len(self._frames) >= 24:
            self._skipped_preface, self._frames = True, self._frames[24:]
        while self._skipped_preface and len(self._frames) >= 9:
            length, kind, flags = int.from_bytes(self._frames[:3]), self._frames[3], self._frames[4]
            if len(self._frames) < 9 + length:
                return
            self.pings += kind == 0x6 and not flags & 1
            self._frames = self._frames[9 + length :]
            self.peer.stir()


class Peer:
    """Serves `handler` until the end of the block; a handler that fails, fails the test."""

    def __init__(self, handler: Handler, settings: EngineSettings | None = None) -> None:
        self.settings = settings or EngineSettings()
        self.connections: list[PeerConnection] = []
        self.url = ""
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self._stirred = asyncio.Event()

    @property
    def calls(self) -> list[Call]:
        return [call for connection in self.connections for call in connection.calls.values()]

    def call(self, path: str) -> Call:
        return next(call for call in self.calls if call.path == path)

    def begin(self, call: Call) -> None:
        task = asyncio.ensure_future(self._handler(call))
        self._tasks.add(task)
        self.stir()

    def stir(self) -> None:
        self._stirred.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the peer sees to become so."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._stirred.clear()
                await self._stirred.wait()

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None) -> AsyncIterator[Peer]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: PeerConnection(self), "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        try:
            yield self
        finally:
            server.close()
            for connection in self.connections:
                connection.transport.abort()
            for task in self._tasks:
                task.cancel()
            results = await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.gather(*(connection.lost for connection in self.connections))
        failures = [each for each in results if isinstance(each, Exception)]
        assert not failures, failures
