"""Messages that two parsers could read differently (RFC 9112 section 11.2), upgrades, and targets in every form."""

from __future__ import annotations

import pytest

from tests.conftest import Serve, Served
from tests.server.conftest import Connect
from tests.server.test_http1_limits import HOST, ask

NEXT = b"GET /files/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
"""What hides behind a message whose end can be told in two ways."""


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve(header_seconds=5.0)


def put(*fields: bytes, version: bytes = b"1.1") -> bytes:
    return b"PUT /files/a HTTP/" + version + b"\r\n" + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (put(b"content-length: 5", b"transfer-encoding: chunked") + b"0\r\n\r\n" + NEXT, 400),
        (put(b"content-length: 5", b"content-length: 6") + b"hello", 400),
        (put(b"content-length: 5, 6") + b"hello", 400),
        (put(b"content-length: +5") + b"hello", 400),
        (put(b"content-length: 5 ", b"content-length: 0x5") + b"hello", 400),
        (put(b"transfer-encoding: chunked, identity") + b"0\r\n\r\n", 400),
        (put(b"transfer-encoding: chunked, chunked") + b"0\r\n\r\n", 400),
        (put(b"transfer-encoding: chunked", b"transfer-encoding: identity") + b"0\r\n\r\n", 400),
        (put(b"transfer-encoding: identity") + b"hello", 400),
        (put(b"transfer-encoding: xchunked") + b"0\r\n\r\n", 400),
        (put(b"transfer-encoding: gzip, chunked") + b"0\r\n\r\n", 501),
        (put(b"transfer-encoding: gzip", b"transfer-encoding: chunked") + b"0\r\n\r\n", 501),
        (put(b"transfer-encoding: chunked", version=b"1.0") + b"0\r\n\r\n", 400),
        (put(b"content-length : 5") + b"hello", 400),
        (put(b"content-length: 5").replace(HOST, b" x: y\r\n" + HOST) + b"hello", 400),
        (put(b"content-length: 5\rx: y") + b"hello", 400),
        (put(b"x: a\0b"), 400),
        (put(b"transfer-encoding: chunked") + b"5\nhello\r\n0\r\n\r\n", 400),
        (put(b"transfer-encoding: chunked") + b"5\r\nhelloX\r\n0\r\n\r\n", 400),
        (put(b"transfer-encoding: chunked") + b"-5\r\nhello\r\n0\r\n\r\n", 400),
        (put(b"transfer-encoding: chunked") + b"0x5\r\nhello\r\n0\r\n\r\n", 400),
        (b"GET /healthz\r\n\r\n", 400),
        (b"GET /healthz HTTP/0.9\r\n" + HOST + b"\r\n", 505),
        (b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
    ids=lambda it: None if isinstance(it, int) else it[:90].decode("latin1").encode("unicode_escape").decode(),
)
def test_what_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read(
    served: Served, connect: Connect, message: bytes, status: int
) -> None:
    client = connect(served, http1=True, cleartext=True)
    answers = ask(client, message)
    assert answers.startswith(b"HTTP/1.1 %d" % status)
    assert answers.count(b"HTTP/1.1 ") == 1
    assert not served.path("a").exists()
    neighbour = connect(served, http1=True)
    assert ask(neighbour, NEXT.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "message",
    [
        put(b"content-length: 5", b"content-length: 5") + b"hello",
        put(b"content-length:\t5") + b"hello",
        put(b"x-folded: a\r\n\tb", b"content-length: 5") + b"hello",
        put(b"transfer-encoding: CHUNKED") + b"5;a=b\r\nhello\r\n0\r\n\r\n",
        put(b"content-length: 5").replace(b"\r\n", b"\n") + b"hello",
        put(b"content-length: 5").replace(b"/files/a", b"http://localhost/files/a") + b"hello",
    ],
    ids=["one-length-twice", "tab", "folded", "extension", "bare-lf", "absolute-form"],
)
def test_what_can_be_read_in_one_way_is_taken_and_the_next_request_is_the_next(
    served: Served, connect: Connect, message: bytes
) -> None:
    client = connect(served, http1=True)
    answers = ask(client, message, b"GET /files/a HTTP/1.1\r\nconnection: close\r\n", HOST, b"\r\n")
    assert answers.startswith(b"HTTP/1.1 201")
    assert answers.count(b"HTTP/1.1 200") == 1
    assert answers.endswith(b"hello")


@pytest.mark.parametrize(
    "fields",
    [
        (b"connection: upgrade, http2-settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQAoAAAAAIAAAAA"),
        (b"connection: upgrade", b"upgrade: websocket", b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
         b"sec-websocket-version: 13"),
        (b"connection: upgrade", b"upgrade: TLS/1.3"),
    ],
    ids=["h2c", "websocket", "tls"],
)  # fmt: skip
@pytest.mark.parametrize("cleartext", [False, True], ids=["tls", "cleartext"])
def test_an_upgrade_is_not_done_and_the_connection_goes_on_as_it_is(
    served: Served, connect: Connect, cleartext: bool, fields: tuple[bytes, ...]
) -> None:
    client = connect(served, http1=True, cleartext=cleartext)
    first = b"".join([b"GET /files/a HTTP/1.1\r\n", HOST, *(field + b"\r\n" for field in fields), b"\r\n"])
    answers = ask(client, first, b"GET /healthz HTTP/1.1\r\nconnection: close\r\n", HOST, b"\r\n")
    assert answers.startswith(b"HTTP/1.1 404")
    assert b"HTTP/1.1 200" in answers
    assert b"HTTP/1.1 101" not in answers


@pytest.mark.parametrize("line", [b"CONNECT localhost:443", b"OPTIONS *"])
def test_other_forms_of_target_are_answered_and_the_connection_goes_on(
    served: Served, connect: Connect, line: bytes
) -> None:
    client = connect(served, http1=True)
    after = b"GET /healthz HTTP/1.1\r\nconnection: close\r\n" + HOST + b"\r\n"
    first, _, rest = ask(client, line, b" HTTP/1.1\r\n", HOST, b"\r\n", after).partition(b"\r\n")
    assert 200 <= int(first.split()[1]) < 500
    assert (int(first.split()[1]) < 300) <= line.startswith(b"OPTIONS")
    assert b"HTTP/1.1 200" in rest


def test_a_target_in_absolute_form_says_who_is_meant_and_not_the_host_field(serve: Serve, connect: Connect) -> None:
    hosts: list[list[bytes]] = []

    async def tell(scope: dict[str, object], receive: object, send: object) -> None:
        assert scope["type"] == "http", "no lifespan, and hypercorn takes that for an answer"
        hosts.append([value for name, value in scope["headers"] if name == b"host"])  # type: ignore[attr-defined]
        assert scope["path"] == "/x"
        await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    client = connect(serve(make_app=lambda _: tell), http1=True)
    close = b" HTTP/1.1\r\nconnection: close\r\nhost: other\r\n\r\n"
    assert ask(client, b"GET http://meant:8443/x", close).startswith(b"HTTP/1.1 204")
    assert hosts == [[b"meant:8443"]]
