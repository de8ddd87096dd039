"""Ways in to a gateway that are compared by what they cost: nobody is asked, a key, a token of an issuer, with an audit
log beside it.

The issuer is a server of this process on loopback; the gateway fetches its keys once.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import ECKey

from h2gate.auth import keys

WAYS = ("open", "key", "token", "audit")
"""`audit`: a key, and a line of the audit log for every file."""
_AUDIENCE = "https://h2gate.example"
_RIGHTS = "storage.modify:/"
_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Guard:
    """Options of the gateway, and the field of every request."""

    options: tuple[str, ...] = ()
    authorization: str = ""


@contextmanager
def guard(way: str, folder: Path) -> Iterator[Guard]:
    """One of `WAYS`, for a gateway that lives within the block."""
    if way == "open":
        yield Guard()
    elif way == "token":
        with _issuer() as (url, key):
            now = int(time.time())
            claims = {"iss": url, "sub": "instrument-7", "aud": _AUDIENCE, "scope": _RIGHTS}
            signed = jwt.encode({"alg": "ES256", "kid": "k"}, {**claims, "iat": now, "exp": now + _SECONDS}, key)
            yield _written(folder, f'[[issuers]]\nissuer = "{url}"\naudience = ["{_AUDIENCE}"]\n', signed)
    else:
        secret, lines = keys.written("instrument-7", _RIGHTS, None, None)
        yield _written(folder, lines + ("\n[audit]\n" if way == "audit" else ""), secret)


def _written(folder: Path, policy: str, credential: str) -> Guard:
    place = folder / "auth.toml"
    place.write_text(policy)
    place.chmod(0o600)
    return Guard((f"--auth={place}",), f"Bearer {credential}")


@contextmanager
def _issuer() -> Iterator[tuple[str, ECKey]]:
    """Its URL, and the key it signs with."""
    key = ECKey.generate_key("P-256", {"kid": "k", "alg": "ES256", "use": "sig"})
    told: dict[str, object] = {"/keys": {"keys": [key.as_dict(private=False)]}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(told.get(self.path, {})).encode()
            self.send_response(200 if self.path in told else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the figures are what is to be read."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        told["/.well-known/openid-configuration"] = {"issuer": url, "jwks_uri": f"{url}/keys"}
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield url, key
        finally:
            server.shutdown()
            thread.join()
