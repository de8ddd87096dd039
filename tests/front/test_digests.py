"""Digests of RFC 9530: as a field or a trailer, over both HTTP versions; what does not match is not stored."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from h2gate.client import Transport
from h2gate.client.exchange import TRAILERS
from h2gate.fields import digest_field
from tests.conftest import Serve, Served

BODIES = [b"", b"small", bytes(3 << 20)]
SHA256, SHA512 = "sha-256", "sha-512"
FIELDS = ["repr-digest", "content-digest"]


def digest_of(algorithm: str, body: bytes) -> str:
    return digest_field(algorithm, hashlib.new(algorithm.replace("-", ""), body).digest())


def wrong(algorithm: str) -> str:
    return digest_of(algorithm, b"something else")


@pytest.mark.parametrize("body", BODIES, ids=len)
@pytest.mark.parametrize("algorithm", [SHA256, SHA512])
@pytest.mark.parametrize("field", FIELDS)
def test_body_with_the_right_digest_is_stored_and_with_a_wrong_one_not(
    http: httpx.Client, place: str, folder: Path, field: str, algorithm: str, body: bytes
) -> None:
    refused = http.put(f"{place}/a", content=body, headers={field: wrong(algorithm)})
    assert (refused.status_code, refused.json()["code"]) == (400, "digest_mismatch")
    assert not folder.exists()
    stored = http.put(f"{place}/a", content=body, headers={field: digest_of(algorithm, body)})
    assert stored.status_code == 201
    assert stored.headers["repr-digest"] == digest_of(SHA256, body)


@pytest.mark.parametrize(
    "value",
    ["sha-256=abc", "sha-256=:abc", "sha-256=:a:b", "sha-256", "sha-256=1", "=:YQ==:", "sha-256=(:YQ==:)", "\u00e9"],
)
def test_malformed_digest_is_refused_as_a_bad_field(http: httpx.Client, place: str, value: str) -> None:
    refused = http.put(f"{place}/a", content=b"x", headers={b"repr-digest": value.encode("latin1")})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_field")
    assert http.get(f"{place}/a").status_code == 404


def test_unknown_algorithm_is_ignored_and_does_not_hide_a_known_one(http: httpx.Client, place: str) -> None:
    assert http.put(f"{place}/a", content=b"x", headers={"repr-digest": "md5=:YQ==:"}).status_code == 201
    both = {"repr-digest": f"md5=:YQ==:, {wrong(SHA512)}"}
    assert http.put(f"{place}/a", content=b"x", headers=both).status_code == 400


def test_two_fields_that_contradict_each_other_are_a_mismatch(http: httpx.Client, place: str) -> None:
    for right, other in (FIELDS, reversed(FIELDS)):
        headers = {right: digest_of(SHA256, b"x"), other: wrong(SHA256)}
        refused = http.put(f"{place}/a", content=b"x", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (400, "digest_mismatch")
    assert http.get(f"{place}/a").status_code == 404


Send = Callable[..., tuple[int, dict[str, str], bytes]]


@pytest.fixture(params=["http2", "http1"])
def with_trailer(request: pytest.FixtureRequest, gateway: Served, raw: Callable[..., bytes]) -> Send:
    """`with_trailer(method, path, body, name, value, headers)`: status, fields and body of the answer."""

    async def over_http2(method: str, path: str, body: bytes, name: str, value: str, headers: dict[str, str]) -> Answer:
        async def chunks() -> object:
            yield body

        trust = ssl.create_default_context(cafile=gateway.ca)
        async with httpx.AsyncClient(transport=Transport(verify=trust, http="2"), base_url=gateway.url) as client:
            extensions = {TRAILERS: lambda: [(name, value)]}
            found = await client.request(method, path, content=chunks(), headers=headers, extensions=extensions)  # type: ignore[arg-type]
            return found.status_code, dict(found.headers), found.content

    def over_http1(method: str, path: str, body: bytes, name: str, value: str, headers: dict[str, str]) -> Answer:
        lines = "".join(f"{key}: {each}\r\n" for key, each in headers.items())
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n{lines}\r\n"
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in _split(body))
        return parsed(raw(head.encode(), chunks, f"0\r\n{name}: {value}\r\n\r\n".encode()))

    def send(method: str, path: str, body: bytes, name: str, value: str, **headers: str) -> Answer:
        if request.param == "http2":
            return asyncio.run(over_http2(method, path, body, name, value, headers))
        return over_http1(method, path, body, name, value, headers)

    return send


Answer = tuple[int, dict[str, str], bytes]


def _split(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]


def parsed(answer: bytes) -> Answer:
    head, _, content = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin1").split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, value in fields.items()}, content


@pytest.mark.parametrize("body", BODIES, ids=len)
@pytest.mark.parametrize("algorithm", [SHA256, SHA512])
def test_digest_in_a_trailer_is_verified(
    with_trailer: Send, place: str, folder: Path, algorithm: str, body: bytes
) -> None:
    status, _, content = with_trailer("PUT", f"{place}/a", body, "repr-digest", wrong(algorithm))
    assert (status, json.loads(content)["code"]) == (400, "digest_mismatch")
    assert not folder.exists()
    status, headers, _ = with_trailer("PUT", f"{place}/a", body, "content-digest", digest_of(algorithm, body))
    assert (status, headers["repr-digest"]) == (201, digest_of(SHA256, body))
    assert (folder / "a").read_bytes() == body


def test_malformed_digest_in_a_trailer_is_refused_and_stores_nothing(
    with_trailer: Send, place: str, folder: Path
) -> None:
    status, _, content = with_trailer("PUT", f"{place}/a", b"x", "repr-digest", "sha-256=nonsense!")
    assert (status, json.loads(content)["code"]) == (400, "bad_field")
    assert not folder.exists()


def test_right_digest_in_a_trailer_does_not_excuse_a_wrong_one_in_the_field(
    with_trailer: Send, place: str, folder: Path
) -> None:
    trailer = ("repr-digest", digest_of(SHA256, b"x"))
    status, _, content = with_trailer("PUT", f"{place}/a", b"x", *trailer, **{"content-digest": wrong(SHA256)})
    assert (status, json.loads(content)["code"]) == (400, "digest_mismatch")
    assert not folder.exists()


def test_append_verifies_an_announced_trailer_and_refuses_one_that_was_not_announced(
    with_trailer: Send, http: httpx.Client, place: str
) -> None:
    http.put(f"{place}/a", content=b"one")
    right = ("content-digest", digest_of(SHA512, b"two"))
    status, _, content = with_trailer("PATCH", f"{place}/a", b"two", *right)
    assert (status, json.loads(content)["code"]) == (400, "bad_field")
    announced = {"trailer": "content-digest"}
    status, _, _ = with_trailer("PATCH", f"{place}/a", b"two", "content-digest", wrong(SHA512), **announced)
    assert status == 400
    assert http.get(f"{place}/a").content == b"one"
    status, headers, _ = with_trailer("PATCH", f"{place}/a", b"two", *right, **announced)
    assert (status, headers["repr-digest"]) == (204, digest_of(SHA256, b"onetwo"))
    assert http.get(f"{place}/a").content == b"onetwo"


def test_trailers_of_a_resumable_upload_are_verified(with_trailer: Send, http: httpx.Client, place: str) -> None:
    url = http.post(f"{place}/a", headers={"upload-complete": "?0"}).headers["location"]
    end = {"upload-offset": "0", "upload-complete": "?1"}
    status, headers, _ = with_trailer("PATCH", url, b"x", "content-digest", wrong(SHA512), **end)
    assert (status, headers["upload-complete"], headers["upload-offset"]) == (400, "?0", "0")
    status, headers, _ = with_trailer("PATCH", url, b"x", "content-digest", digest_of(SHA512, b"x"), **end)
    assert (status, headers["upload-complete"]) == (201, "?1")
    status, headers, _ = with_trailer(
        "PUT", f"{place}/b", b"x", "repr-digest", wrong(SHA256), **{"upload-complete": "?1"}
    )
    assert (status, headers["upload-complete"]) == (400, "?1")
    assert http.get(f"{place}/b").status_code == 404


@pytest.mark.parametrize("http2", [True, False])
def test_gateway_without_digests_verifies_what_is_sent_and_answers(
    serve: Serve, trust: ssl.SSLContext, http2: bool
) -> None:
    served: Served = serve(digest=False)
    with httpx.Client(http1=not http2, http2=http2, verify=trust, base_url=served.url) as http:
        none = http.put("/files/none", content=b"x")
        assert (none.status_code, "repr-digest" in none.headers, "etag" in none.headers) == (201, False, True)
        for algorithm in (SHA256, SHA512):
            refused = http.put("/files/a", content=b"x", headers={"repr-digest": wrong(algorithm)})
            assert (refused.status_code, refused.json()["code"]) == (400, "digest_mismatch")
            sent = http.put("/files/a", content=b"x", headers={"repr-digest": digest_of(algorithm, b"x")})
            assert sent.status_code in (201, 204)
            assert sent.headers.get("repr-digest") == (digest_of(SHA256, b"x") if algorithm == SHA256 else None)
        assert http.patch("/files/none", content=b"y").status_code == 204
        assert http.get("/files/none").content == b"xy"
    assert served.staged() == []
