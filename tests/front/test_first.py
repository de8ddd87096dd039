"""The thinnest path: a file goes in by PUT and comes out by GET."""

from __future__ import annotations

import base64
import hashlib
import ssl
from typing import Any

import httpx
import pytest


@pytest.mark.parametrize(("http2", "engine"), [(True, "nghttp2"), (True, "reference"), (False, "nghttp2")])
def test_what_is_put_comes_back_with_its_digest(serve: Any, http2: bool, engine: str) -> None:
    served = serve(engine=engine)
    trust = ssl.create_default_context(cafile=served.ca)
    body = bytes(range(256)) * 10_000
    with httpx.Client(http1=not http2, http2=http2, verify=trust) as client:
        stored = client.put(f"{served.url}/files/a/b.bin", content=body)
        assert stored.status_code == 201
        found = client.get(f"{served.url}/files/a/b.bin")
    assert found.content == body
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    assert found.headers["repr-digest"] == stored.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert served.path("a/b.bin").read_bytes() == body
    assert served.staged() == []
