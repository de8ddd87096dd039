"""The ASGI connection scope of a request: what an application is told of it before its body."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

from h2gate.server.exchange import Exchange, Message
from h2gate.wire.engine import Header


def _origin_form(target: bytes) -> bytes:
    """A target in absolute form (RFC 9112 section 3.2.2) without scheme and authority; any other as it is."""
    authority = authority_of(target)
    if authority is None:
        return target
    rest = target.partition(b"//")[2][len(authority) :]
    return rest if rest.startswith(b"/") else b"/" + rest


def authority_of(target: bytes) -> bytes | None:
    """Of a target in absolute form; None for any other."""
    if not target.lower().startswith((b"http://", b"https://")):
        return None
    return re.split(rb"[/?#]", target.partition(b"//")[2], maxsplit=1)[0]


def scope_of(
    exchange: Exchange,
    *,
    version: str,
    scheme: str,
    headers: Sequence[Header],
    client: tuple[str, int] | None,
    server: tuple[str, int] | None,
    certificate: bytes | None = None,
) -> Message:
    """The ASGI connection scope of a request. `certificate` is the client's, DER, as its handshake has verified it."""
    path, _, query = _origin_form(exchange.target).partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": version,
        "method": exchange.method,
        "scheme": scheme,
        "path": unquote(path.decode("latin1"), errors="surrogateescape"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": client,
        "server": server,
        "extensions": {
            "h2gate.body": exchange,
            "h2gate.certificate": certificate,
            "h2gate.known_as": exchange.known_as,
            "http.response.informational": {},
        },
    }
