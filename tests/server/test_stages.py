"""Everything about a request that is not its body: 100-continue, 1xx on the way, trailers, HEAD, on both versions."""

from __future__ import annotations

import http.client
import re

import pytest

from tests.conftest import Serve, Served
from tests.server.applications import Applications
from tests.server.conftest import Connect
from tests.server.raw import RawClient

EXPECT = ("expect", "100-continue")


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve(max_body=1 << 20, drain_seconds=0.2)


@pytest.fixture
def applications(serve: Serve) -> Served:
    app = Applications()
    return serve(make_app=lambda _: app)


def head_of(client: RawClient) -> tuple[int, dict[str, str]]:
    """Status and fields of the next answer, 1xx or not, on an HTTP/1.1 connection; no byte behind it is read."""
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        byte = client.sock.recv(1)
        assert byte, f"closed after {received!r}"
        received += byte
    first, *lines = received.decode().strip().split("\r\n")
    fields = dict(re.split(r":\s*", line, maxsplit=1) for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, value in fields.items()}


def ask(client: RawClient, method: str, path: str, *fields: str, body: bytes = b"") -> None:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", *fields]
    client.sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)


def body_of(client: RawClient, fields: dict[str, str]) -> bytes:
    return client.sock.makefile("rb", buffering=0).read(int(fields["content-length"])) or b""


# 100-continue


def test_http2_is_told_to_continue_when_the_body_is_wanted(served: Served, connect: Connect) -> None:
    client = connect(served)
    stream = client.open("PUT", "/files/a", ("content-length", "5"), EXPECT)
    answer = client.answers[stream]
    client.until(lambda: bool(answer.informational))
    assert answer.informational[0][":status"] == "100"
    client.data(stream, b"hello", end=True)
    assert client.answer(stream).status == 201
    assert len(answer.informational) == 1


def test_http1_is_told_to_continue_when_the_body_is_wanted(served: Served, connect: Connect) -> None:
    client = connect(served, http1=True)
    ask(client, "PUT", "/files/a", "content-length: 5", "expect: 100-continue")
    assert head_of(client)[0] == 100
    client.sock.sendall(b"hello")
    assert head_of(client)[0] == 201
    ask(client, "GET", "/files/a")
    status, fields = head_of(client)
    assert (status, body_of(client, fields)) == (200, b"hello")


REFUSED = {
    "412": (("PUT", "/files/there", ("if-none-match", "*"), ("content-length", "5")), 412),
    "413": (("PUT", "/files/a", ("content-length", "2000000")), 413),
    "415": (("PATCH", "/files/there", ("content-type", "text/html"), ("content-length", "5")), 415),
}


@pytest.mark.parametrize(("request_", "status"), REFUSED.values(), ids=REFUSED)
def test_http2_is_refused_without_100(served: Served, connect: Connect, request_: tuple[str, ...], status: int) -> None:
    client = connect(served)
    assert client.put("/files/there", b"here").status == 201
    answer = client.answer(client.open(*request_, EXPECT))  # type: ignore[arg-type]
    assert (answer.status, answer.informational) == (status, [])


@pytest.mark.parametrize(("request_", "status"), REFUSED.values(), ids=REFUSED)
def test_http1_is_refused_without_100(served: Served, connect: Connect, request_: tuple[str, ...], status: int) -> None:
    assert connect(served).put("/files/there", b"here").status == 201
    client = connect(served, http1=True)
    method, path, *fields = request_
    ask(client, method, path, *(": ".join(field) for field in fields), "expect: 100-continue")
    assert head_of(client)[0] == status


def test_a_body_that_did_not_wait_needs_no_100(served: Served, connect: Connect) -> None:
    client = connect(served)
    stream = client.open_raw(client.fields("PUT", "/files/a", EXPECT), then=b"hello")
    assert client.answer(stream).status == 201
    assert client.answers[stream].informational == []


def test_http_1_0_is_sent_no_1xx(applications: Served, connect: Connect) -> None:
    client = connect(applications, http1=True)
    client.sock.sendall(b"PUT /progress HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello")
    assert head_of(client)[0] == 200


# 104, trailers


def test_104_and_trailers_pass_on_http2(applications: Served, connect: Connect) -> None:
    client = connect(applications)
    stream = client.open("POST", "/progress", ("te", "trailers"), ("trailer", "x-checksum"))
    client.data(stream, b"hello")
    client.write(client.headers(stream, [("x-checksum", "abc")], end=True))
    answer = client.answer(stream)
    assert [(each[":status"], each["upload-offset"]) for each in answer.informational] == [
        ("104", "0"),
        ("104", "1"),
        ("104", "2"),
    ]
    assert (answer.status, bytes(answer.body)) == (200, b"5 x-checksum=abc")


def test_104_and_trailers_pass_on_http1(applications: Served, connect: Connect) -> None:
    client = connect(applications, http1=True)
    chunked = b"5\r\nhello\r\n0\r\nX-Checksum: abc\r\n\r\n"
    ask(client, "POST", "/progress", "transfer-encoding: chunked", "trailer: x-checksum", body=chunked)
    heads = [head_of(client) for _ in range(4)]
    assert [(status, fields.get("upload-offset")) for status, fields in heads] == [
        (104, "0"),
        (104, "1"),
        (104, "2"),
        (200, None),
    ]
    assert body_of(client, heads[-1][1]) == b"5 x-checksum=abc"


# HEAD


def test_head_tells_what_get_would_and_no_body(served: Served, connect: Connect) -> None:
    client = connect(served)
    assert client.put("/files/a", b"hello").status == 201
    got = client.get("/files/a")
    answer = client.answer(client.open("HEAD", "/files/a", end=True))
    assert {**answer.headers, "date": ""} == {**got.headers, "date": ""}
    assert answer.headers["content-length"] == "5"
    assert answer.body == b""
    http1 = http.client.HTTPConnection("127.0.0.1", served.plain_port, timeout=10)
    for _ in range(2):  # the connection is fit for another request afterwards
        http1.request("HEAD", "/files/a")
        response = http1.getresponse()
        assert (response.status, response.getheader("content-length"), response.read()) == (200, "5", b"")
    http1.close()
