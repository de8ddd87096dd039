"""A httpx request sent on a `Connection`, and its answer as a httpx response: the body goes while the answer may come.

A final answer that does not need the rest of the body ends the sending at once; whatever ends the exchange (an answer,
an error, a cancelled caller, a response closed early) leaves no task, no open iterator and no half-open stream behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import httpx

from h2gate.client.connection import Connection
from h2gate.client.failures import PoolTimedOut, ReadTimedOut, WrongLength
from h2gate.client.stream import QUEUE, Stream
from h2gate.wire.engine import Header

TRAILERS = "h2gate.trailers"
"""Request extension: a callable giving `[(name, value), …]` once the body is sent. Response extension: the list, filled
when the body has been read."""

SENT = "h2gate.sent"
"""Request extension: called when all of a body that came piece by piece has left; the answer is still to come."""

INFORMATIONAL = "h2gate.informational"
"""Request extension: a callable that gets `(status, headers)` of every 1xx answer."""

PIECE = "h2gate.piece"
"""Request extension: so many bytes of the answer at most are handed on, and credited, at once."""

_HOP_BY_HOP = {b"host", b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te"}
"""What HTTP/2 has no use for (RFC 9113 section 8.2.2)."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long each wait may last, in seconds; None is as long as the connection is alive."""

    connect: float | None
    read: float | None
    write: float | None
    pool: float | None
    stall: float

    @classmethod
    def of(cls, request: httpx.Request, stall: float) -> Bounds:
        given = cast("dict[str, float | None]", request.extensions.get("timeout", {}))
        return cls(given.get("connect"), given.get("read"), given.get("write"), given.get("pool"), stall)


class Exchange:
    """One use: `run`, then read `body`, then `close`."""

    def __init__(self, connection: Connection, request: httpx.Request, bounds: Bounds) -> None:
        self._connection = connection
        self._request = request
        self._bounds = bounds
        self._trailers = cast("Callable[[], list[tuple[Any, Any]]] | None", request.extensions.get(TRAILERS))
        self._on_sent = cast("Callable[[], None] | None", request.extensions.get(SENT))
        self._stream: Stream | None = None
        self._sender: asyncio.Task[None] | None = None
        self.on_close: Callable[[], None] | None = None
        """Called once when the response is closed."""
        self.body_begun = False
        """Bytes were taken from the request's stream: it can only be sent again if it can be read again."""

    async def run(self) -> httpx.Response:
        """The response with its header section; its body is still to be read. Raises the classes of `failures`."""
        body, headers = self._request.stream, _header_section(self._request)
        whole = b"".join(body) if isinstance(body, httpx.ByteStream) else None
        stream = self._stream = await self._open(headers, end_stream=whole == b"" and self._trailers is None)
        try:
            if whole is None or len(whole) > QUEUE:
                self._send_beside(stream, cast(httpx.AsyncByteStream, body))
            elif not stream.sent:
                stream.queue(whole)
                stream.end(self._last_words())
            status, fields = await self._response(stream)
        except BaseException:
            await self.close()
            raise
        return httpx.Response(
            status,
            headers=fields,
            stream=Body(self, stream, self._bounds.read, self._request.extensions.get(PIECE)),
            extensions={"http_version": b"HTTP/2", TRAILERS: stream.trailers, "stream_id": stream.id},
        )

    async def _open(self, headers: list[Header], *, end_stream: bool) -> Stream:
        callback = self._request.extensions.get(INFORMATIONAL)
        try:
            async with asyncio.timeout(self._bounds.pool):
                return await self._connection.open(headers, end_stream=end_stream, on_informational=callback)
        except TimeoutError:
            raise PoolTimedOut(f"the gateway allowed no further stream for {self._bounds.pool:g} s") from None

    async def _response(self, stream: Stream) -> tuple[int, list[Header]]:
        if self._sender is not None:  # its waits have bounds of their own
            both: set[asyncio.Future[Any]] = {self._sender, stream.response}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        try:
            async with asyncio.timeout(self._bounds.read):
                return await asyncio.shield(stream.response)
        except TimeoutError:
            raise ReadTimedOut(f"no answer came for {self._bounds.read:g} s") from None

    # -- the body of the request

    def _send_beside(self, stream: Stream, body: httpx.AsyncByteStream) -> None:
        sender = self._sender = asyncio.create_task(self._send(stream, body))

        def stop() -> None:
            if sender is not asyncio.current_task():
                sender.cancel()

        stream.on_enough = stop

    async def _send(self, stream: Stream, body: httpx.AsyncByteStream) -> None:
        length = self._request.headers.get("content-length")
        left = int(length) if length is not None else None
        last = memoryview(b"")
        """What makes the body whole is held back until the iterator agrees that it is; END_STREAM goes with it."""
        try:
            async with aclosing(_iterate(body)) as chunks:
                async for chunk in chunks:
                    self.body_begun = True
                    left = _count_down(left, chunk)
                    for start in range(0, len(chunk), QUEUE):
                        await self._room(stream, QUEUE)
                        stream.queue(last)
                        last = memoryview(chunk)[start : start + QUEUE]
                    if left != 0:
                        stream.queue(last)
                        last = memoryview(b"")
            if left:
                raise WrongLength(f"the body ended {left} bytes before its content-length")
            stream.queue(last)
            stream.end(self._last_words())
            await self._room(stream, 0)
            if self._on_sent is not None:
                self._on_sent()
        except Exception as error:  # noqa: BLE001
            stream.fail(error)  # whoever waits for the answer, or reads it, is told

    async def _room(self, stream: Stream, below: int) -> None:
        await stream.room(below, write_seconds=self._bounds.write, stall_seconds=self._bounds.stall)

    def _last_words(self) -> list[Header]:
        given = self._trailers() if self._trailers is not None else []
        return [(_encode(name).lower(), _encode(value)) for name, value in given]

    # -- the end

    async def close(self) -> None:
        """Stop sending, reset the stream unless both ends are through with it, give back its credit. Any time."""
        stream, sender = self._stream, self._sender
        if stream is None:
            return
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()
        stream.on_enough = None
        stream.take()
        self._connection.abandon(stream)
        stream.response.cancel()
        if sender is not None and sender is not asyncio.current_task():
            sender.cancel()
            await asyncio.wait({sender}, timeout=self._bounds.stall)


class Body(httpx.AsyncByteStream):
    """The response's body, as it comes; taking a piece gives its credit back."""

    def __init__(self, exchange: Exchange, stream: Stream, read_seconds: float | None, most: int | None = None) -> None:
        self._most = most
        self._exchange = exchange
        self._stream = stream
        self._read_seconds = read_seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (data := await self._stream.read(self._read_seconds, self._most)) is not None:
            yield data

    async def aclose(self) -> None:
        await self._exchange.close()


async def _iterate(body: httpx.AsyncByteStream) -> AsyncGenerator[bytes, None]:
    """`body` as a generator, which can be closed for certain; that closes what `body` opened."""
    chunks = aiter(body)
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


def _count_down(left: int | None, chunk: bytes) -> int | None:
    if left is None:
        return None
    if len(chunk) > left:
        raise WrongLength("the body is longer than its content-length")
    return left - len(chunk)


def _header_section(request: httpx.Request) -> list[Header]:
    raw = [(name.lower(), value) for name, value in request.headers.raw]
    authority = next((value for name, value in raw if name == b"host"), request.url.netloc)
    pseudo = [
        (b":method", request.method.encode("ascii")),
        (b":scheme", request.url.raw_scheme),
        (b":authority", authority),
        (b":path", request.url.raw_path),
    ]
    return pseudo + [(name, value) for name, value in raw if name not in _HOP_BY_HOP]


def _encode(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
