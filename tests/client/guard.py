"""A real gateway that wants tokens: those in `live` are taken, for as long as they are there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from h2gate.errors import ExpiredCredential
from h2gate.front.app import create_app
from h2gate.gateway import Gateway
from h2gate.server.exchange import App
from h2gate.upload import Batch


class Guard:
    """`serve(make_app=guard)`. `live` may be shared with an issuer."""

    def __init__(self, live: set[str], *, issuers: list[str] | None = None) -> None:
        self.live = live
        self.issuers = issuers or []
        self.seen: list[tuple[str, str, str]] = []
        """Method, path and token of each request."""
        self.on_body: Callable[[str, int], None] = lambda path, n_bytes: None
        """Told how many bytes of a body have come; may raise."""
        self._app: App

    def __call__(self, gateway: Gateway) -> App:
        self._app = create_app(gateway)
        return self._serve

    def n_refused(self) -> int:
        return self._refused

    _refused = 0

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if scope["path"] == "/.well-known/oauth-protected-resource":
            resource = f"{scope['scheme']}://{headers.get('host', '')}"
            await _answer(send, 200, {"resource": resource, "authorization_servers": self.issuers})
            return
        token = headers.get("authorization", "").removeprefix("Bearer ")
        self.seen.append((scope["method"], scope["path"], token))
        if token not in self.live:
            self._refused += 1
            await _answer(send, 401, {"code": ExpiredCredential.code, "detail": f"of old: {token}"})
            return
        body = scope["extensions"]["h2gate.body"]
        watched = _Watched(body, lambda n_bytes: self.on_body(scope["path"], n_bytes))
        await self._app({**scope, "extensions": {**scope["extensions"], "h2gate.body": watched}}, receive, send)


class _Watched:
    def __init__(self, body: Any, told: Callable[[int], None]) -> None:
        self._body = body
        self._told = told
        self._n_bytes = 0

    async def pull(self) -> Batch:
        batch: Batch = await self._body.pull()
        self._n_bytes += batch.n_bytes
        self._told(self._n_bytes)
        return batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


async def _answer(send: Any, status: int, members: dict[str, Any]) -> None:
    kind = b"application/problem+json" if status >= 400 else b"application/json"
    headers = [(b"content-type", kind), (b"www-authenticate", b'Bearer realm="h2gate", error="invalid_token"')]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(members).encode()})
