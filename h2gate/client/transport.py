"""A transport for any httpx client: HTTP/2 that uploads well, beside httpx's own HTTP/1.1.

httpcore loses early answers, never resets a cancelled stream, drops 1xx and trailers, and fails live streams on a
graceful GOAWAY; here uploads share one connection fairly and none of that happens.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

import httpx

from h2gate.client.exchange import Bounds, Exchange
from h2gate.client.failures import Unprocessed
from h2gate.client.origin import Link, Origin, SpeaksHttp1
from h2gate.errors import ConfigError

REPLAYS = 3
"""Times a request is sent at most while the gateway says that it has not looked at it."""

STREAM_WINDOW = 1 << 22
"""Bytes of an answer that may be on their way unasked."""

HttpVersion = Literal["auto", "1.1", "2"]


class Transport(httpx.AsyncBaseTransport):
    """`httpx.AsyncClient(transport=Transport())`. For one event loop.

    `http`: "auto" lets ALPN choose (cleartext is HTTP/1.1), "2" insists (cleartext by prior knowledge), "1.1" is stock.
    `connections`: at most so many to an origin. `silence_seconds`: a connection from which nothing comes for so long,
    PING unanswered, is dead. `stall_seconds`: how long a gateway that is alive may take no bytes of a body.
    Request extensions: `h2gate.informational`, `h2gate.trailers`, `h2gate.piece` (see `exchange`), httpx's `timeout`.
    """

    def __init__(
        self,
        *,
        verify: ssl.SSLContext | bool = True,
        http: HttpVersion = "auto",
        connections: int = 1,
        limits: httpx.Limits | None = None,
        stream_window: int = STREAM_WINDOW,
        silence_seconds: float = 30.0,
        stall_seconds: float = 300.0,
    ) -> None:
        self._verify = verify
        self._http = http
        self._connections = connections
        self._limits = limits or httpx.Limits(max_connections=100, max_keepalive_connections=20)
        self._stream_window = stream_window
        self._silence_seconds = silence_seconds
        self._stall_seconds = stall_seconds
        self._origins: dict[tuple[str, str, int | None], Origin] = {}
        self._http1_only: set[tuple[str, str, int | None]] = set()
        self._stock: httpx.AsyncHTTPTransport | None = None

    @property
    def connections_made(self) -> int:
        """HTTP/2 connections made so far, to all origins."""
        return sum(origin.made for origin in self._origins.values())

    @property
    def most_streams(self) -> int:
        """Streams open at once on one connection so far, at most."""
        return max((origin.most_streams for origin in self._origins.values()), default=0)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport`. Raises the classes of `failures`, which are httpx's as well."""
        url = request.url
        key = (url.scheme, url.host, url.port)
        plain = url.scheme == "http" and self._http != "2"
        if self._http == "1.1" or plain or key in self._http1_only:
            return await self._stock_transport().handle_async_request(request)
        try:
            return await self._over_http2(request, self._origin(key, url))
        except SpeaksHttp1:
            self._http1_only.add(key)
            return await self._stock_transport().handle_async_request(request)

    async def _over_http2(self, request: httpx.Request, origin: Origin) -> httpx.Response:
        bounds = Bounds.of(request, self._stall_seconds)
        attempt = 0
        while True:
            attempt += 1
            slot = origin.pick()
            slot.users += 1
            exchange: Exchange | None = None
            try:
                exchange = Exchange(await origin.connection(slot, bounds.connect), request, bounds)
                response = await exchange.run()
                exchange.on_close = slot.release
                return response
            except Unprocessed:
                slot.release()
                again = exchange is None or not exchange.body_begun or _replayable(request)
                if attempt == REPLAYS or not again:
                    raise
            except BaseException:
                slot.release()
                raise
            await asyncio.sleep(0.05 * (attempt - 1))

    def _origin(self, key: tuple[str, str, int | None], url: httpx.URL) -> Origin:
        if key not in self._origins:
            protocols = ("h2",) if self._http == "2" else ("h2", "http/1.1")
            tls = self._context() if url.scheme == "https" else None
            link = Link(tls, protocols, self._stream_window, self._silence_seconds)
            self._origins[key] = Origin(url, link, self._connections)
        return self._origins[key]

    def _context(self) -> ssl.SSLContext:
        if isinstance(self._verify, ssl.SSLContext):
            return self._verify
        return tls_context(insecure=not self._verify)

    def _stock_transport(self) -> httpx.AsyncHTTPTransport:
        if self._stock is None:
            ahead = [(socket.SOL_SOCKET, socket.SO_RCVBUF, self._stream_window // 2)]
            options = ahead if self._stream_window < STREAM_WINDOW else None
            self._stock = httpx.AsyncHTTPTransport(verify=self._context(), limits=self._limits, socket_options=options)
        return self._stock

    async def aclose(self) -> None:
        async with asyncio.TaskGroup() as group:
            for origin in self._origins.values():
                group.create_task(origin.close())
            if self._stock is not None:
                group.create_task(self._stock.aclose())

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()


def tls_context(*, ca_files: tuple[str, ...] = (), insecure: bool = False) -> ssl.SSLContext:
    """The system's authorities and those in `ca_files`; with `insecure` anybody is believed. Raises `OSError`."""
    context = ssl.create_default_context()
    for file in ca_files:
        context.load_verify_locations(cafile=file)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def trust(
    ca: Sequence[str | Path], cert: str | Path | None, key: str | Path | None, *, insecure: bool
) -> ssl.SSLContext:
    """See `tls_context`. Raises `ConfigError`."""
    if key is not None and cert is None:
        raise ConfigError("a key without its certificate")
    try:
        files = tuple(str(file) for file in ca)
        context = tls_context(ca_files=files, insecure=insecure)
    except OSError as error:
        raise ConfigError(f"{', '.join(map(str, ca))}: not a file of certificates ({error})") from error
    if cert is not None:
        try:
            # a password that is none: else a terminal would be asked for one
            context.load_cert_chain(cert, key, password="")
        except OSError as error:
            raise ConfigError(f"{cert}: not a certificate with its key, without password ({error})") from error
    return context


def _replayable(request: httpx.Request) -> bool:
    """Can the body be read again? Bytes can; others say so with a true `replayable`."""
    return isinstance(request.stream, httpx.ByteStream) or bool(getattr(request.stream, "replayable", False))
