"""An OAuth issuer for tests, on the peer: device flow, refresh tokens that are good once, and what it may say instead.

Whoever uses a refresh token twice loses the login, as with real issuers that watch for thieves.
"""

from __future__ import annotations

import itertools
import json
from typing import Any
from urllib.parse import parse_qsl

from h2gate.client.provider import DEVICE_GRANT
from tests.client.peer import Call, Peer

JSON = (b"content-type", b"application/json")


class Issuer(Peer):
    """`async with issuer.serving(tls)`; `url` is the issuer's."""

    def __init__(self) -> None:
        super().__init__(self._serve)
        self.live: set[str] = set()
        """Access tokens that a gateway should take."""
        self.lifetime_seconds: float | None = 3600
        self.answers: list[str] = []
        """What polling is told, one after the other; then it is approved."""
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.metadata: dict[str, Any] = {}
        """Members that differ from what is true."""
        self.device: dict[str, Any] = {}
        self.is_down = False
        self.dead_on_reuse = False
        self._numbers = itertools.count(1)
        self._refresh: set[str] = set()
        self._used: set[str] = set()

    def n_asked(self, path: str) -> int:
        return sum(asked == path for asked, _ in self.asked)

    async def _serve(self, call: Call) -> None:
        form = dict(parse_qsl((await call.read()).decode()))
        self.asked.append((call.path, form))
        if self.is_down:
            call.answer(503)
            return
        status, members = self._answer(call.path, form)
        call.answer(status, JSON, body=json.dumps(members).encode())

    def _answer(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        match path:
            case "/.well-known/openid-configuration":
                return 200, {
                    "issuer": self.url,
                    "token_endpoint": f"{self.url}/token",
                    "device_authorization_endpoint": f"{self.url}/device",
                    "revocation_endpoint": f"{self.url}/revoke",
                    **self.metadata,
                }
            case "/device":
                return 200, {
                    "device_code": "the device code",
                    "user_code": "WDJB-MJHT",
                    "verification_uri": f"{self.url}/activate",
                    "verification_uri_complete": f"{self.url}/activate?user_code=WDJB-MJHT",
                    "expires_in": 600,
                    **self.device,
                }
            case "/revoke":
                self._refresh.discard(form["token"])
                return 200, {}
            case "/token" if form["grant_type"] == DEVICE_GRANT:
                if self.answers and (word := self.answers.pop(0)) != "approved":
                    return 400, {"error": word}
                assert form["device_code"] == "the device code"
                return 200, self.grant()
            case "/token":
                return self._refreshed(form["refresh_token"])
        return 404, {}

    def _refreshed(self, token: str) -> tuple[int, dict[str, Any]]:
        if token in self._used:
            self.dead_on_reuse = True
            self._refresh.clear()
        if token not in self._refresh:
            return 400, {"error": "invalid_grant", "error_description": f"not good any more: {token}"}
        self._refresh.remove(token)
        self._used.add(token)
        return 200, self.grant()

    def grant(self) -> dict[str, Any]:
        """New tokens; the access tokens of before are dead."""
        number = next(self._numbers)
        self.live.clear()
        self.live.add(f"access-{number}")
        self._refresh.add(f"refresh-{number}")
        found: dict[str, Any] = {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}"}
        found |= {"token_type": "Bearer"}
        return found | ({"expires_in": self.lifetime_seconds} if self.lifetime_seconds is not None else {})
