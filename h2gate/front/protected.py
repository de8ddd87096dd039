"""What the gateway tells of whom it trusts (RFC 9728), so that a client that knows its address alone can log in."""

from __future__ import annotations

import json

from h2gate.errors import MethodNotAllowed, NotFound
from h2gate.front.request import Request
from h2gate.gateway import Gateway

PATH = b"/.well-known/oauth-protected-resource"
SCOPES = ("storage.read:/", "storage.create:/", "storage.modify:/")


async def serve(request: Request, gateway: Gateway) -> None:
    """Open to everybody: it tells nothing but the issuers. Raises `NotFound` where there are none."""
    if request.method not in ("GET", "HEAD"):
        raise MethodNotAllowed(f"{request.method} is not for this", allow="GET, HEAD")
    if gateway.chain is None or not gateway.chain.issuers:
        raise NotFound("no issuer of tokens is trusted here")
    evidence = request.evidence()
    told = {
        "resource": f"{'https' if evidence.secure else 'http'}://{evidence.authority}",
        "resource_name": "h2gate",
        "authorization_servers": list(gateway.chain.issuers),
        "scopes_supported": list(SCOPES),
        "bearer_methods_supported": ["header"],
    }
    await request.answer(200, content=json.dumps(told).encode(), media_type="application/json")
