"""The thinnest path: a file goes in by PUT and comes out by GET."""

from __future__ import annotations

import hashlib
import ssl
from typing import Any

import httpx
import pytest


@pytest.mark.parametrize("http2", [True, False])
def test_what_is_put_comes_back_with_its_digest(serve: Any, http2: bool) -> None:
    served = serve()
    trust = ssl.create_default_context(cafile=served.ca)
    body = bytes(range(256)) * 10_000
    with httpx.Client(http1=not http2, http2=http2, verify=trust) as client:
        stored = client.put(f"{served.url}/files/a/b.bin", content=body)
        assert stored.status_code == 201
        found = client.get(f"{served.url}/files/a/b.bin")
    assert found.content == body
    assert found.headers["repr-digest"] == stored.headers["repr-digest"]
    assert served.path("a/b.bin").read_bytes() == body
    assert hashlib.sha256(body).hexdigest()
    assert served.staged() == []
