"""An issuer of tokens on loopback whose keys, answers and tokens tests choose."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from h2gate.auth.base import Evidence
from h2gate.auth.issuers import Issuer
from tests.auth.servers import Asked, Peer, Reply, serving

AUDIENCE = "https://gate.example"
SCOPE = "openid storage.create:/inbox storage.read:/"
Private = RSAKey | ECKey | OKPKey | OctKey

RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
OTHER = RSAKey.generate_key(2048, {"kid": "other"})


class _Registry(JWSRegistry):
    """Signs with whatever it is told to, warnings aside."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]

    def check_header(self, header: dict[str, Any]) -> None:
        pass


def b64(text: bytes | str | Mapping[str, Any]) -> str:
    if isinstance(text, Mapping):
        text = json.dumps(text)
    return urlsafe_b64encode(text.encode() if isinstance(text, str) else text).rstrip(b"=").decode()


class Issuing:
    """It serves `keys` and signs with `sign`."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.keys: list[dict[str, Any]] = [dict(each.as_dict(private=False)) for each in (RSA, EC, ED)]
        self.replies: dict[str, Reply] = {}
        """By path, instead of its own."""
        peer.answer = self.answer

    @property
    def url(self) -> str:
        return self.peer.url

    def paths(self) -> list[str]:
        return [each.path for each in self.peer.asked]

    def answer(self, asked: Asked) -> Reply:
        if asked.path in self.replies:
            return self.replies[asked.path]
        if asked.path == "/.well-known/openid-configuration":
            return self.about(issuer=self.url, jwks_uri=f"{self.url}/jwks")
        return Reply(body=json.dumps({"keys": self.keys}).encode())

    def about(self, **said: object) -> Reply:
        return Reply(body=json.dumps(said).encode())

    def settings(self, **other: Any) -> Issuer:
        return Issuer(**{"issuer": self.url, "audience": (AUDIENCE,)} | other)

    def claims(self, **other: Any) -> dict[str, Any]:
        """Good ones; None leaves one out."""
        now = int(time.time())
        good = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "exp": now + 600, "iat": now, "scope": SCOPE}
        return {name: value for name, value in (good | other).items() if value is not None}

    def sign(
        self, claims: Mapping[str, Any] | None = None, key: Private = RSA, algorithm: str = "RS256", **header: Any
    ) -> str:
        """A token; `header` gives further parameters, and None leaves one out."""
        full = {"alg": algorithm, "typ": "at+jwt", "kid": key.get("kid")} | header
        named = {name: value for name, value in full.items() if value is not None}
        registry = _Registry(strict_check_header=False)
        said = self.claims() if claims is None else dict(claims)
        return jwt.encode(named, said, key, registry=registry, default_type=None)


@contextmanager
def issuing() -> Iterator[Issuing]:
    with serving(lambda asked: Reply(500)) as peer:
        yield Issuing(peer)


def evidence(token: str = "", **other: Any) -> Evidence:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    default = {"method": "PUT", "target": "/files/a", "headers": headers, "peer": "192.0.2.1"}
    return Evidence(**default | other)
