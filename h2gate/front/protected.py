"""What the gateway tells of whom it trusts (RFC 9728), so that a client that knows its address alone can log in."""

from __future__ import annotations

import json
from collections.abc import Sequence

PATH = "/.well-known/oauth-protected-resource"
SCOPES = ("storage.read:/", "storage.create:/", "storage.modify:/")


def document(resource: str, issuers: Sequence[str]) -> bytes:
    """JSON. `resource` is the gateway's own address (scheme and authority), `issuers` whose tokens it takes."""
    told = {
        "resource": resource,
        "resource_name": "h2gate",
        "authorization_servers": list(issuers),
        "scopes_supported": list(SCOPES),
        "bearer_methods_supported": ["header"],
    }
    return json.dumps(told).encode()
