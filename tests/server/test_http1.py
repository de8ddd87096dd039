"""HTTP/1.1 connections: kept alive, pipelined, chunked, and answered early without a reset."""

from __future__ import annotations

import http.client
import select
import socket
from collections.abc import Iterator

import pytest

from tests.conftest import Serve, Served
from tests.server.conftest import Connect
from tests.server.raw import RawClient, eventually


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve(drain_seconds=0.8)


@pytest.fixture
def client(served: Served) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", served.plain_port, timeout=20)
    yield connection
    connection.close()


def test_one_connection_serves_many_uploads(served: Served, client: http.client.HTTPConnection) -> None:
    client.connect()
    sock = client.sock
    for n in range(200):
        client.request("PUT", f"/files/{n}", body=bytes(n * 100))
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (201, b"")
    assert client.sock is sock
    assert sorted(path.stat().st_size for path in (served.data / "files").iterdir()) == [n * 100 for n in range(200)]


@pytest.mark.parametrize("chunk", [1, 1000, 300_000])
def test_chunked_uploads_are_stored_whole(served: Served, client: http.client.HTTPConnection, chunk: int) -> None:
    body = bytes(range(256)) * (20 if chunk == 1 else 12_000)
    chunks = (body[at : at + chunk] for at in range(0, len(body), chunk))
    client.request("PUT", "/files/a", body=chunks, encode_chunked=True, headers={"transfer-encoding": "chunked"})
    assert client.getresponse().status == 201
    assert served.path("a").read_bytes() == body


def test_pipelined_requests_are_answered_in_order(served: Served, connect: Connect) -> None:
    client = connect(served, http1=True)
    requests = [
        b"PUT /files/%d HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n%s" % (n, bytes([n]) * 100_000)
        for n in range(20)
    ]
    client.sock.sendall(b"".join(requests) + b"GET /files/7 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    answers = client.sock.makefile("rb").read()
    assert answers.count(b"HTTP/1.1 201") == 20
    assert answers.endswith(bytes([7]) * 100_000)
    assert answers.index(b"location: /files/3\r\n") < answers.index(b"location: /files/4\r\n")


def test_a_client_that_shuts_its_side_down_after_its_requests_is_answered(served: Served, connect: Connect) -> None:
    for name in range(20):
        client = connect(served, http1=True, cleartext=True)
        request = b"PUT /files/%d HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhello" % name
        client.sock.sendall(request * 2)
        client.sock.shutdown(socket.SHUT_WR)
        answers = client.sock.makefile("rb").read()
        assert answers.startswith(b"HTTP/1.1 201")
        assert answers.count(b"HTTP/1.1 204") == 1
    eventually(lambda: not served.worker._http1, "the connections are closed")


def test_after_an_early_answer_with_a_short_rest_the_connection_is_used_again(
    served: Served, client: http.client.HTTPConnection
) -> None:
    client.connect()
    sock = client.sock
    for _ in range(3):
        client.request("PATCH", "/files/missing", body=bytes(1 << 20))
        answer = client.getresponse()
        assert answer.status == 404
        assert b"not_found" in answer.read()
    assert client.sock is sock


@pytest.mark.parametrize("cleartext", [False, True], ids=["tls", "cleartext"])
def test_an_early_answer_to_an_endless_body_is_readable_after_the_connection_closed(
    served: Served, connect: Connect, cleartext: bool
) -> None:
    client = connect(served, http1=True, cleartext=cleartext)
    client.sock.sendall(b"PATCH /files/missing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000000000\r\n\r\n")
    sent = 0
    with pytest.raises(OSError, match=r"(?i)reset|broken pipe|eof"):
        while sent < 1 << 30:
            client.sock.sendall(bytes(1 << 18))
            sent += 1 << 18
    print(f"{sent >> 20} MiB were taken before the connection closed")
    assert sent < 64 << 20
    expect_not_found(client)
    eventually(lambda: not served.worker._http1, "nothing is left of the connection")


def test_a_sender_is_stopped_before_its_connection_is_closed(serve: Serve, connect: Connect) -> None:
    """So that one which looks for an answer only when it cannot send finds it."""
    client = connect(serve(drain_seconds=30), http1=True, cleartext=True)
    client.sock.sendall(b"PATCH /files/missing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000000000\r\n\r\n")
    sent = 0
    while select.select([], [client.sock], [], 1)[1]:
        sent += client.sock.send(bytes(1 << 12))
        assert sent < 64 << 20
    assert sent > 4 << 20
    expect_not_found(client)


def expect_not_found(client: RawClient) -> None:
    answer = client.sock.recv(1 << 16)
    while b"}" not in answer:
        answer += client.sock.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"not_found" in answer


def test_an_early_answer_to_a_sender_that_waits_is_followed_by_a_close(served: Served, connect: Connect) -> None:
    client = connect(served, http1=True)
    client.sock.sendall(b"PATCH /files/missing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n123")
    assert client.sock.makefile("rb").read().startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "broken",
    [
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"PUT /files/a HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"PUT /files/a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
    ],
    ids=["no-version", "no-host", "two-lengths", "bad-chunk"],
)
def test_what_is_not_http_is_refused_and_the_connection_closed(served: Served, connect: Connect, broken: bytes) -> None:
    client = connect(served, http1=True)
    client.sock.sendall(broken)
    assert client.sock.makefile("rb").read().startswith(b"HTTP/1.1 400")
    assert not (served.data / "files" / "a").exists()
