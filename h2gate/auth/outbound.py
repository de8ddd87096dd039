"""Questions to servers of others: bounded in time and bytes, never redirected, never remembered.

What one answer sets (a cookie, say) must not go out with the question of another, so nothing here has a memory, takes
anything from the environment, or undoes a coding that could expand.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx

from h2gate.tables import Table

_FIELDS = ((b"user-agent", b"h2gate"), (b"accept", b"*/*"), (b"accept-encoding", b"identity"))
_KEPT_SECONDS = 4.0
"""An idle connection is kept; less than the five seconds after which some servers close theirs."""


class Unanswered(Exception):
    """No answer that makes sense came in time. Its text holds no secret. Whoever asked says what follows."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came. `body` is whole."""

    status: int
    headers: httpx.Headers
    body: bytes

    def json(self) -> dict[str, Any]:
        """The object that a good answer holds. Raises `Unanswered` for any other answer."""
        if self.status != HTTPStatus.OK:
            raise Unanswered(f"the answer is {self.status}")
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise Unanswered("the answer is no JSON object")
        return found


def url(table: Table, key: str) -> str:
    """An address that questions may go to: https, or http on this machine. Raises `ConfigError`."""
    text = table.text(key)
    found = parsed(text)
    if found is None:
        raise table.error(key, f"{text!r} is not https://HOST… (http only on this machine), plain and without user")
    return text


def parsed(text: str) -> httpx.URL | None:
    """`text` as such an address, else None."""
    try:
        found = httpx.URL(text)
        n = found.port  # may raise
    except (httpx.InvalidURL, ValueError):
        return None
    plain = not (found.userinfo or found.fragment or text != text.strip()) and (n is None or 0 < n < 1 << 16)
    secure = found.scheme == "https" or (found.scheme == "http" and _is_here(found.host))
    return found if plain and secure and found.host else None


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _was_closed(error: httpx.TransportError) -> bool:
    """A connection that was kept may be closed at the other end in the moment it is used: that says nothing yet."""
    return not isinstance(error, httpx.RemoteProtocolError) or str(error).startswith("Server disconnected")


class Outbound:
    """Asks, over at most `connections` pooled connections. For one event loop, from its first question on."""

    def __init__(self, ca: Path | None, *, seconds: float, max_bytes: int, connections: int) -> None:
        """`seconds` a question may take in all, `max_bytes` the body of an answer may have."""
        self._ca = ca
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._connections = connections
        self._transport: httpx.AsyncHTTPTransport | None = None

    def _opened(self) -> httpx.AsyncHTTPTransport:
        """A client would keep cookies; what is under it keeps connections alone."""
        if self._transport is None:
            self._transport = httpx.AsyncHTTPTransport(
                verify=ssl.create_default_context(cafile=self._ca),
                limits=httpx.Limits(max_connections=self._connections, keepalive_expiry=_KEPT_SECONDS),
                trust_env=False,
            )
        return self._transport

    async def get(self, address: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> Answer:
        """The answer to a GET. Raises `Unanswered`, `ValueError` where `headers` cannot be sent."""
        try:
            async with asyncio.timeout(self._seconds):
                try:
                    return await self._get(address, headers)
                except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
                    if not _was_closed(error):
                        raise
                    return await self._get(address, headers)
        except TimeoutError:
            raise Unanswered(f"no answer in {self._seconds:g} seconds") from None
        except httpx.LocalProtocolError as error:
            raise ValueError(str(error)) from None
        except (httpx.HTTPError, httpx.StreamError, OSError, ValueError) as error:
            raise Unanswered(f"{type(error).__name__}: {error}"[:200]) from None

    async def _get(self, address: str, headers: Sequence[tuple[bytes, bytes]]) -> Answer:
        timeouts = {"timeout": httpx.Timeout(self._seconds).as_dict()}
        request = httpx.Request("GET", address, headers=[*_FIELDS, *headers], extensions=timeouts)
        response = await self._opened().handle_async_request(request)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self._max_bytes:
                    raise Unanswered(f"the answer is longer than {self._max_bytes} bytes")
            return Answer(response.status_code, response.headers, bytes(body))
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Let go of the connections."""
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None
