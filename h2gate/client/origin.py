"""The connections to one origin: made when first needed, replaced when they leave, the least busy one taken first."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field

import httpx

from h2gate.client.connection import Connection
from h2gate.client.failures import ConnectTimedOut, Unreachable
from h2gate.wire.engine import EngineSettings, Role
from h2gate.wire.nghttp2 import Nghttp2Engine


class SpeaksHttp1(Exception):
    """ALPN chose HTTP/1.1 (or nothing)."""


@dataclass(frozen=True, slots=True)
class Link:
    """How connections are made. Sizes in bytes."""

    tls: ssl.SSLContext | None
    protocols: tuple[str, ...] = ("h2", "http/1.1")
    stream_window: int = 1 << 22
    silence_seconds: float = 30.0


@dataclass(slots=True)
class _Slot:
    connection: Connection | None = None
    users: int = 0
    """Requests that have chosen this slot; also while it still connects."""
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def release(self) -> None:
        self.users -= 1


class Origin:
    """Everything `Transport` keeps of a scheme, host and port."""

    def __init__(self, url: httpx.URL, link: Link, connections: int) -> None:
        self._host = url.host
        self._port = url.port or {"https": 443, "http": 80}[url.scheme]
        self._link = link
        self._slots = [_Slot() for _ in range(connections)]
        self._old: set[Connection] = set()
        self._http1 = False
        self.made = 0
        """Connections made so far."""

    @property
    def most_streams(self) -> int:
        """Streams open at once on one of the present connections so far, at most."""
        return max((slot.connection.most_streams for slot in self._slots if slot.connection is not None), default=0)

    def pick(self) -> _Slot:
        """The least busy slot. The caller counts itself in `users` and takes itself out again."""
        return min(self._slots, key=lambda slot: slot.users)

    async def connection(self, slot: _Slot, seconds: float | None) -> Connection:
        """The slot's connection, made now if there is none. Raises `Unreachable`, `ConnectTimedOut`, `SpeaksHttp1`."""
        current = slot.connection
        if current is not None and current.usable:
            return current
        try:
            async with asyncio.timeout(seconds), slot.connecting:
                if self._http1:
                    raise SpeaksHttp1
                current = slot.connection
                if current is None or not current.usable:
                    if current is not None:
                        self._retire(current)
                    slot.connection = current = await self._connect()
                return current
        except TimeoutError:
            raise ConnectTimedOut(f"no connection to {self._host}:{self._port} within {seconds:g} s") from None

    def _retire(self, connection: Connection) -> None:
        """It may still have streams to finish; `close` must not forget it."""
        if not connection.closed.done():
            self._old.add(connection)
            connection.closed.add_done_callback(lambda _: self._old.discard(connection))

    async def _connect(self) -> Connection:
        loop, link = asyncio.get_running_loop(), self._link
        settings = EngineSettings(stream_window=link.stream_window, max_frame_bytes=1 << 16)

        def make() -> Connection:
            return Connection(Nghttp2Engine(Role.CLIENT, settings), silence_seconds=link.silence_seconds)

        if link.tls is not None:
            link.tls.set_alpn_protocols(list(link.protocols))  # again: the context may be shared with others
        try:
            _, connection = await loop.create_connection(
                make,
                self._host,
                self._port,
                ssl=link.tls,
                server_hostname=self._host if link.tls else None,
                ssl_shutdown_timeout=1.0 if link.tls else None,
            )
        except ssl.SSLCertVerificationError as error:
            raise self._untrusted(error) from error
        except (OSError, ssl.SSLError) as error:
            why = getattr(error, "strerror", None) or str(error) or "the connection ended at once"
            raise Unreachable(f"cannot connect to {self._host}:{self._port}: {why}") from error
        await self._settle(connection)
        self.made += 1
        return connection

    def _untrusted(self, error: ssl.SSLCertVerificationError) -> Unreachable:
        failure = Unreachable(
            f"the certificate of {self._host}:{self._port} is not trusted ({error.verify_message}); "
            "name its authority with --ca FILE"
        )
        failure.retry = False
        return failure

    async def _settle(self, connection: Connection) -> None:
        if self._link.tls is not None and connection.protocol != "h2":
            connection.drop(politely=True)
            self._retire(connection)
            if "http/1.1" not in self._link.protocols:
                raise Unreachable(f"{self._host}:{self._port} does not speak HTTP/2")
            self._http1 = True
            raise SpeaksHttp1
        try:
            await asyncio.shield(connection.settled)
        except BaseException:
            connection.drop(politely=False)
            raise

    async def close(self) -> None:
        """All connections, at the same time."""
        current = {slot.connection for slot in self._slots if slot.connection is not None}
        async with asyncio.TaskGroup() as group:
            for connection in current | self._old:
                group.create_task(connection.close())
