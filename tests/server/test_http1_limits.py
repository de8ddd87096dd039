"""What one HTTP/1.1 peer may make a gateway wait for, read and look at: each limit ends it alone, and is counted."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable

import pytest

from tests.conftest import Serve, Served
from tests.server.applications import Applications
from tests.server.conftest import Connect
from tests.server.raw import PATIENCE, RawClient, eventually

HOST = b"host: localhost\r\n"
BOTH = pytest.mark.parametrize("cleartext", [False, True], ids=["tls", "cleartext"])


def read_to_end(client: RawClient) -> bytes:
    return client.sock.makefile("rb").read()


def ask(client: RawClient, *pieces: bytes) -> bytes:
    """What is answered before the gateway closes."""
    client.sock.sendall(b"".join(pieces))
    return read_to_end(client)


def expect_limit(served: Served, connect: Connect, limit: str) -> None:
    """It was counted, and a neighbour is served."""
    assert served.gateway.metrics.limits_hit(limit) == 1
    neighbour = connect(served, http1=True)
    assert ask(neighbour, b"GET /healthz HTTP/1.1\r\nconnection: close\r\n", HOST, b"\r\n").startswith(b"HTTP/1.1 200")
    eventually(lambda: not served.worker._http1, "nothing is left of the connections")


@BOTH
def test_a_header_that_does_not_end_is_answered_408(serve: Serve, connect: Connect, cleartext: bool) -> None:
    served = serve(header_seconds=0.5)
    client = connect(served, http1=True, cleartext=cleartext)
    assert ask(client, b"PUT /files/a HTTP/1.1\r\n", HOST).startswith(b"HTTP/1.1 408")
    expect_limit(served, connect, "header_seconds")


@BOTH
def test_a_header_that_comes_byte_by_byte_has_no_longer_to_end(serve: Serve, connect: Connect, cleartext: bool) -> None:
    served = serve(header_seconds=0.5)
    client = connect(served, http1=True, cleartext=cleartext)
    client.sock.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"x-long: ")
    deadline = time.monotonic() + PATIENCE
    while not select.select([client.sock], [], [], 0.05)[0]:
        assert time.monotonic() < deadline
        client.sock.sendall(b"a")
    assert read_to_end(client).startswith(b"HTTP/1.1 408")
    expect_limit(served, connect, "header_seconds")


@BOTH
@pytest.mark.parametrize("first", [b"", b"P"], ids=["nothing", "one-byte"])
def test_a_connection_that_asks_for_nothing_is_closed(
    serve: Serve, connect: Connect, cleartext: bool, first: bytes
) -> None:
    served = serve(header_seconds=0.5)
    client = connect(served, http1=True, cleartext=cleartext)
    answer = ask(client, first)
    assert answer == b"" or (first and not cleartext and answer.startswith(b"HTTP/1.1 408"))
    expect_limit(served, connect, "header_seconds")


@pytest.mark.parametrize("together", [True, False], ids=["pipelined", "later"])
def test_the_header_of_a_further_request_has_to_end_as_well(serve: Serve, connect: Connect, together: bool) -> None:
    served = serve(header_seconds=0.5, idle_seconds=60.0)
    client = connect(served, http1=True)
    first, second = b"GET /files/a HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /files/b HTT"
    client.sock.sendall(first + second if together else first)
    assert client.sock.recv(1 << 16).startswith(b"HTTP/1.1 404")
    if not together:
        client.sock.sendall(second)
    assert b"HTTP/1.1 408" in read_to_end(client)
    expect_limit(served, connect, "header_seconds")


@BOTH
def test_a_connection_without_further_requests_is_closed_without_a_word(
    serve: Serve, connect: Connect, cleartext: bool
) -> None:
    served = serve(idle_seconds=0.3, header_seconds=20.0)
    client = connect(served, http1=True, cleartext=cleartext)
    answers = ask(client, b"GET /files/a HTTP/1.1\r\n", HOST, b"\r\n")
    assert answers.count(b"HTTP/1.1 ") == 1
    assert served.gateway.metrics.limits_hit("header_seconds") == 0
    eventually(lambda: not served.worker._http1, "nothing is left of the connection")


def test_the_longest_idle_connection_makes_room_for_another_one(serve: Serve, connect: Connect) -> None:
    served = serve(max_connections=2, idle_seconds=60.0, header_seconds=60.0)
    first = connect(served, http1=True)
    first.sock.sendall(b"GET /files/a HTTP/1.1\r\n" + HOST + b"\r\n")
    assert first.sock.recv(1 << 16).startswith(b"HTTP/1.1 404")
    second = connect(served, http1=True)
    assert b"HTTP/1.1" not in read_to_end(first), "it is closed behind its answer"
    second.sock.sendall(b"GET /files/a HTTP/1.1\r\n" + HOST + b"\r\n")
    assert second.sock.recv(1 << 16).startswith(b"HTTP/1.1 404")
    assert served.gateway.metrics.limits_hit("max_connections") > 0


def padded(list_bytes: int, scheme: str, authority: str) -> str:
    """A value for `x-pad` that makes the header list of `GET /healthz` so long (RFC 9113 section 6.5.2)."""
    fields = [(":method", "GET"), (":scheme", scheme), (":authority", authority), (":path", "/healthz"), ("x-pad", "")]
    return "a" * (list_bytes - sum(len(name) + len(value) + 32 for name, value in fields))


@pytest.mark.parametrize(("list_bytes", "status"), [(4096, 200), (4097, 431)])
def test_both_versions_take_header_lists_of_the_same_length(
    serve: Serve, connect: Connect, list_bytes: int, status: int
) -> None:
    served = serve(max_header_list=4096)
    client = connect(served)
    pad = padded(list_bytes, "https", client.authority)
    assert client.answer(client.open("GET", "/healthz", ("x-pad", pad), end=True)).status == status
    before = served.gateway.metrics.limits_hit("max_header_list")
    client = connect(served, http1=True)
    head = f"GET /healthz HTTP/1.1\r\nhost: {client.authority}\r\nx-pad: {pad}\r\n\r\n"
    client.sock.sendall(head.encode())
    assert client.sock.recv(1000).startswith(b"HTTP/1.1 %d" % status)
    assert served.gateway.metrics.limits_hit("max_header_list") - before == (status == 431)


@BOTH
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /files/" + b"a" * 5000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /files/" + b"a" * 200_000, 414),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"x: y\r\n" * 200 + b"\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"x: y\r\n" * 50_000, 431),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"x: " + b"y" * 200_000, 431),
    ],
    ids=["target", "endless-target", "many-fields", "endless-fields", "endless-field"],
)
def test_what_is_too_long_before_the_body_is_refused(
    serve: Serve, connect: Connect, cleartext: bool, head: bytes, status: int
) -> None:
    served = serve(max_header_list=4096)
    client = connect(served, http1=True, cleartext=cleartext)
    assert ask(client, head).startswith(b"HTTP/1.1 %d" % status)
    expect_limit(served, connect, "max_header_list")


@BOTH
def test_a_body_that_comes_too_slowly_is_answered_408(serve: Serve, connect: Connect, cleartext: bool) -> None:
    served = serve(body_seconds=0.5, drain_seconds=0.2)
    client = connect(served, http1=True, cleartext=cleartext)
    answer = ask(client, b"PUT /files/a HTTP/1.1\r\ncontent-length: 100000\r\n", HOST, b"\r\nabc")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_timeout" in answer
    expect_limit(served, connect, "body_seconds")
    assert not served.path("a").exists()


CHUNKED = b"PUT /files/a HTTP/1.1\r\ntransfer-encoding: chunked\r\n" + HOST + b"\r\n"


@BOTH
@pytest.mark.parametrize(
    ("limits", "body", "limit"),
    [
        ({"max_tiny_data": 100}, b"1\r\na\r\n" * 300, "max_tiny_data"),
        ({"max_overhead": 20_000}, (b"40;" + b"e" * 2000 + b"\r\n" + b"a" * 64 + b"\r\n") * 400, "max_overhead"),
        ({}, b"40;" + b"e" * 100_000, "max_header_list"),
        ({}, b"0\r\nx: " + b"y" * 100_000, "max_header_list"),
    ],
    ids=["tiny-chunks", "extensions", "endless-extension", "endless-trailer"],
)
def test_chunks_that_bring_nothing_are_refused(
    serve: Serve, connect: Connect, cleartext: bool, limits: dict[str, int], body: bytes, limit: str
) -> None:
    served = serve(**limits)
    client = connect(served, http1=True, cleartext=cleartext)
    client.sock.sendall(CHUNKED)
    for start in range(0, len(body), 4000):  # it is seen with the next read
        client.sock.sendall(body[start : start + 4000])
    assert read_to_end(client).startswith(b"HTTP/1.1 400")
    expect_limit(served, connect, limit)
    eventually(lambda: not served.staged(), "the upload is dropped")
    assert not served.path("a").exists()


def test_trailers_that_are_too_long_are_answered_431(serve: Serve, connect: Connect) -> None:
    served = serve(max_header_list=4096)
    client = connect(served, http1=True)
    trailers = b"".join(b"x-%d: y\r\n" % n for n in range(200))
    assert ask(client, CHUNKED, b"5\r\nhello\r\n0\r\n", trailers, b"\r\n").startswith(b"HTTP/1.1 431")
    expect_limit(served, connect, "max_header_list")


def test_chunks_with_extensions_as_large_as_their_data_are_taken(serve: Serve, connect: Connect) -> None:
    served = serve(max_overhead=20_000)
    client = connect(served, http1=True)
    chunk = b"400;" + b"e" * 900 + b"\r\n" + b"a" * 1024 + b"\r\n"
    client.sock.sendall(CHUNKED)
    for _ in range(200):
        client.sock.sendall(chunk)
    client.sock.sendall(b"0\r\n\r\n")
    assert client.sock.recv(1000).startswith(b"HTTP/1.1 201")
    assert served.path("a").read_bytes() == b"a" * 1024 * 200


@pytest.fixture
def applications() -> Applications:
    return Applications()


@BOTH
def test_an_answer_that_nobody_reads_is_ended(
    serve: Serve, connect: Connect, cleartext: bool, applications: Applications
) -> None:
    served = serve(make_app=lambda _: applications, answer_seconds=0.5)
    client = connect(served, http1=True, cleartext=cleartext, small_buffer=True)
    client.sock.sendall(b"GET /flood HTTP/1.1\r\n" + HOST + b"\r\n")
    eventually(lambda: "flood raised PeerGone" in applications.log, "the application learns that nobody reads")
    eventually(lambda: not served.worker._http1, "the connection is closed")
    assert served.gateway.metrics.limits_hit("answer_seconds") == 1


@BOTH
def test_a_request_that_takes_too_long_in_all_is_ended(
    serve: Serve, connect: Connect, cleartext: bool, applications: Applications
) -> None:
    served = serve(make_app=lambda _: applications, request_seconds=0.5)
    client = connect(served, http1=True, cleartext=cleartext)
    client.sock.sendall(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
    with_end: Callable[[], bool] = lambda: "wait ended" in applications.log  # noqa: E731
    eventually(with_end, "the application learns that its peer is gone")
    assert served.gateway.metrics.limits_hit("request_seconds") == 1
    eventually(lambda: not served.worker._http1, "the connection is closed")


def test_further_requests_wait_outside_while_one_is_at_work(
    serve: Serve, connect: Connect, applications: Applications
) -> None:
    served = serve(make_app=lambda _: applications)
    client = connect(served, http1=True, cleartext=True)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    client.sock.setblocking(False)
    request, sent = b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n", 0
    while select.select([], [client.sock], [], 1)[1]:
        sent += client.sock.send(request * 100)
        assert sent < 16 << 20
    assert applications.log == ["wait began"]
