"""What makes a request somebody's: it is signed before it goes, and sent again when another token helps.

One refresh serves all requests: whoever finds the token too old waits for it, and it goes on when they are cancelled,
since a refresh token that was used and not kept is a login lost. A token that came by a refresh and was never accepted
is not refreshed again at once: a 401 that stays is final.
"""

from __future__ import annotations

import asyncio
import copy
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import httpx

from h2gate.client.exchange import INFORMATIONAL
from h2gate.client.failures import NoToken
from h2gate.client.tokens import Token, TokenSource, seconds_left
from h2gate.errors import ConfigError, GateError

AGAIN = "h2gate.again"
"""Extension of a 401: there is something better to say now, so who sent a body may send it again."""

EARLY_SECONDS = 30.0
"""So long before its end a token is refreshed, or a fifth of its life before, if that is less."""
EARLY_PAUSE_SECONDS = 5.0
"""Between refreshes for a token's age, or half of its life."""
PAUSE_SECONDS = 30.0
"""Between refreshes that bring nothing."""

Send = Callable[[httpx.Request], Awaitable[httpx.Response]]


class Credential(Protocol):
    """For the requests to one origin."""

    async def send(self, request: httpx.Request, send: Send) -> httpx.Response:
        """`send` it, signed; a 401 that is returned is final, or has `AGAIN`. Raises what `send` does, `NoToken`, and
        what kept a token from being made."""

    async def renew(self, request: httpx.Request) -> bool:
        """Whether there is something better to say than what was sent with `request`. Raises as `send` does."""

    async def close(self) -> None:
        """What must not be cut off is waited for."""


class Bearer:
    """RFC 6750."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._token: Token | None = None
        self._in_vain = False
        """The last refresh brought nothing that was accepted so far."""
        self._failure: GateError | None = None
        """Why it brought nothing at all; whoever would ask too soon is told the same."""
        self._asked_at = -PAUSE_SECONDS
        self._asking: asyncio.Task[None] | None = None

    async def send(self, request: httpx.Request, send: Send) -> httpx.Response:
        response = await self._signed(request, send)
        if response.status_code != 401:
            return response
        try:
            if not await self.renew(request):
                return response
        except BaseException:
            await response.aclose()
            raise
        if not _may_be_repeated(request):
            response.extensions[AGAIN] = True
            return response
        await response.aclose()
        return await self._signed(request, send)

    async def _signed(self, request: httpx.Request, send: Send) -> httpx.Response:
        token = await self._current()
        request.headers["authorization"] = _field(token)
        response = await send(request)
        if response.status_code != 401 and token is self._token:
            self._in_vain = False
        return response

    async def _current(self) -> Token:
        """Not too old, if that can be had."""
        if self._token is None:
            await self._ask_if_due(None)
        token = self._token
        assert token is not None
        left, lifetime = seconds_left(token), token.lifetime_seconds or math.inf
        if left > min(EARLY_SECONDS, lifetime / 5):
            return token
        is_due = time.monotonic() - self._asked_at >= min(EARLY_PAUSE_SECONDS, lifetime / 2)
        if self._asking is None and not is_due:  # one that looks old anew has a clock that is not ours
            return token
        if left > 0:  # it still serves, whatever comes of this
            with suppress(GateError, TimeoutError):
                async with asyncio.timeout(left / 2):
                    await self._ask(token)
        else:
            await self._ask_if_due(token)
        return self._token or token

    async def renew(self, request: httpx.Request) -> bool:
        if self._token is None:
            return False
        if request.headers.get("authorization") != _field(self._token):
            return True
        stale = self._token
        await self._ask_if_due(stale)
        return self._token.value != stale.value

    async def _ask_if_due(self, stale: Token | None) -> None:
        """Not again at once when the last time was of no use."""
        if self._asking is not None or not self._in_vain or time.monotonic() - self._asked_at >= PAUSE_SECONDS:
            await self._ask(stale)
        elif self._failure is not None:
            raise copy.copy(self._failure)

    async def _ask(self, stale: Token | None) -> None:
        """One for all. Each gets an error of its own, which may be added to."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._exchange(stale))
            self._asking.add_done_callback(self._asked)
        try:
            await asyncio.shield(self._asking)
        except GateError as error:
            raise copy.copy(error) from error

    async def _exchange(self, stale: Token | None) -> None:
        began, self._failure = time.monotonic(), None
        if stale is not None:  # what comes first may be as old as it likes
            self._asked_at = began
        try:
            fresh = await self._source.token(stale)
        except GateError as error:  # what worked before may do so again
            self._asked_at = began
            error.retry = error.retry or (stale is not None and type(error) is NoToken)
            self._in_vain, self._failure = not error.retry, error
            raise
        self._in_vain = stale is not None
        if stale is None or fresh.value != stale.value:
            self._token = fresh

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # those who waited for it may be gone

    async def close(self) -> None:
        if self._asking is not None:
            await asyncio.wait({self._asking})


class Flow:
    """httpx's own way: `httpx.Auth`."""

    def __init__(self, auth: httpx.Auth) -> None:
        if auth.requires_request_body:
            raise ConfigError("an httpx.Auth that wants to see bodies cannot be used: they are sent as they are read")
        self._auth = auth

    async def send(self, request: httpx.Request, send: Send) -> httpx.Response:
        flow = self._auth.async_auth_flow(request)
        try:
            signed = await _step(anext(flow))
            while True:
                response = await send(signed)
                response.request = signed
                try:
                    if self._auth.requires_response_body:
                        await response.aread()
                    signed = await _step(flow.asend(response))
                except StopAsyncIteration:
                    return response
                except BaseException:
                    await response.aclose()
                    raise
                if not _may_be_repeated(signed):
                    response.extensions[AGAIN] = True
                    return response
                await response.aclose()
        finally:
            await flow.aclose()

    async def renew(self, request: httpx.Request) -> bool:
        return False

    async def close(self) -> None:
        pass


async def _step(work: Awaitable[httpx.Request]) -> httpx.Request:
    """What a stranger's code raises is a failure like others; its text may hold what it handles."""
    try:
        return await work
    except (StopAsyncIteration, GateError, httpx.HTTPError):
        raise
    except Exception as error:
        raise NoToken(f"httpx.Auth: {type(error).__name__}") from error


def _field(token: Token) -> str:
    return f"Bearer {token.value}"


def _may_be_repeated(request: httpx.Request) -> bool:
    """Its body is at hand. One that can be gone on with may have begun: its sender knows better what to do next."""
    body = request.stream
    at_hand = isinstance(body, httpx.ByteStream) or bool(getattr(body, "replayable", False))
    return at_hand and INFORMATIONAL not in request.extensions
