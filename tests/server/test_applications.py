"""Applications that fail, wait or never stop, and peers that leave or do not read: each harms its own stream only."""

from __future__ import annotations

import pytest

from tests.conftest import Serve, Served
from tests.server.applications import Applications
from tests.server.conftest import Connect
from tests.server.raw import RawClient, eventually


@pytest.fixture
def app() -> Applications:
    return Applications()


def start(serve: Serve, app: Applications, **settings: float) -> Served:
    return serve(make_app=lambda _: app, **settings)


def ask(client: RawClient, path: str) -> bytes:
    """Everything that comes back on an HTTP/1.1 connection of its own."""
    client.sock.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
    return client.sock.makefile("rb").read()


def assert_cut(answer: bytes, beginning: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: 100" in head.lower()
    assert body == beginning


@pytest.mark.parametrize("path", ["/raise-before", "/silent", "/two-fields"])
def test_an_application_without_an_answer_is_answered_for_with_500(
    serve: Serve, connect: Connect, app: Applications, path: str
) -> None:
    served = start(serve, app)
    client = connect(served)
    assert client.get(path).status == 500
    assert client.get("/hello").status == 200
    assert ask(connect(served, http1=True), path).startswith(b"HTTP/1.1 500")


def test_an_application_that_fails_in_its_answer_resets_its_stream(
    serve: Serve, connect: Connect, app: Applications
) -> None:
    served = start(serve, app)
    client = connect(served)
    broken = client.get("/raise-after")
    assert (broken.reset, broken.ended) == (2, False)
    assert client.get("/hello").status == 200
    assert_cut(ask(connect(served, http1=True, cleartext=True), "/raise-after"), b"the beginning")
    assert not any(each.streams for each in served.worker.connections)


def test_an_answer_shorter_than_announced_is_not_taken_for_whole(
    serve: Serve, connect: Connect, app: Applications
) -> None:
    served = start(serve, app)
    client = connect(served)
    answer = client.get("/too-short")
    assert (answer.headers["content-length"], len(answer.body)) == ("100", 13)
    assert client.get("/hello").status == 200
    assert_cut(ask(connect(served, http1=True, cleartext=True), "/too-short"), b"not a hundred")


@pytest.mark.parametrize("cleartext", [False, True], ids=["tls", "cleartext"])
@pytest.mark.parametrize("version", ["reset", "http2", "http1.1"])
def test_an_application_that_waits_learns_that_the_peer_left(
    serve: Serve, connect: Connect, app: Applications, version: str, cleartext: bool
) -> None:
    served = start(serve, app)
    client = connect(served, cleartext=cleartext, http1=version == "http1.1")
    if version == "http1.1":
        client.sock.sendall(b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n")
    else:
        stream = client.open("GET", "/wait", end=True)
    eventually(lambda: app.log == ["wait began"], "the request is being answered")
    if version == "reset":
        client.reset(stream)
    else:
        client.sock.close()
    eventually(lambda: app.log == ["wait began", "wait ended"], "the application was told")


def test_an_application_that_hangs_is_cancelled_when_the_grace_time_is_over(
    serve: Serve, connect: Connect, app: Applications
) -> None:
    served = start(serve, app, grace_seconds=0.2)
    client = connect(served)
    client.open("GET", "/hang", end=True)
    http1 = connect(served, http1=True)
    http1.sock.sendall(b"GET /hang HTTP/1.1\r\nhost: localhost\r\n\r\n")
    eventually(lambda: app.log == ["hang began"] * 2, "both requests are being answered")
    served.loop.call_soon_threadsafe(served.stop.set)
    client.read_to_end()
    eventually(lambda: app.log[2:] == ["hang raised CancelledError"] * 2, "both are cancelled")


@pytest.mark.parametrize("cleartext", [False, True], ids=["tls", "cleartext"])
@pytest.mark.parametrize("http1", [False, True], ids=["http2", "http1.1"])
def test_a_client_that_does_not_read_is_sent_a_bounded_amount_and_then_cut_off(
    serve: Serve, connect: Connect, app: Applications, http1: bool, cleartext: bool
) -> None:
    served = start(serve, app, answer_seconds=1.0)
    client = connect(served, http1=http1, cleartext=cleartext, small_buffer=True)
    if http1:
        client.sock.sendall(b"GET /flood HTTP/1.1\r\nhost: localhost\r\n\r\n")
    else:
        client.open("GET", "/flood", end=True)
    other = connect(served)
    eventually(lambda: "flood sent" in app.log, "the answer began")
    while "flood raised PeerGone" not in app.log:
        assert other.get("/hello").status == 200
        assert app.log.count("flood sent") < 200, "12.5 MiB are too many for a client that does not read"
    print(f"{app.log.count('flood sent') * 64} KiB were sent to a client that does not read")


def test_a_stream_whose_window_is_shut_is_reset_while_its_neighbour_goes_on(
    serve: Serve, connect: Connect, app: Applications
) -> None:
    client = connect(start(serve, app, answer_seconds=0.5), window=0)
    stream = client.open("GET", "/flood", end=True)
    client.until(lambda: client.answers[stream].reset is not None)
    assert client.answers[stream].reset == 8
    assert app.log.count("flood sent") <= 16, "no more than the send buffer"
    eventually(lambda: "flood raised PeerGone" in app.log, "the application is told")


@pytest.mark.parametrize("http1", [False, True], ids=["http2", "http1.1"])
def test_a_connection_without_requests_is_closed_after_idle_seconds(
    serve: Serve, connect: Connect, app: Applications, http1: bool
) -> None:
    served = start(serve, app, idle_seconds=0.3)
    client = connect(served, http1=http1)
    if http1:
        assert client.sock.recv(100) == b""
        client.sock.close()
    else:
        assert client.get("/hello").status == 200
        client.read_to_end()
        assert [goaway.last_stream_id for goaway in client.goaways] == [1]
    eventually(lambda: not (served.worker.connections or served.worker._http1), "nothing is left")


def test_a_cleartext_connection_that_says_nothing_is_closed_after_idle_seconds(
    serve: Serve, connect: Connect, app: Applications
) -> None:
    client = connect(start(serve, app, idle_seconds=0.3), http1=True, cleartext=True)
    client.sock.sendall(b"PRI * HT")
    assert client.sock.recv(100) == b""


@pytest.mark.parametrize("http1", [False, True], ids=["http2", "http1.1"])
def test_a_body_that_stops_coming_is_answered_with_408(serve: Serve, connect: Connect, http1: bool) -> None:
    served = serve(body_seconds=0.3, drain_seconds=0.1)
    client = connect(served, http1=http1)
    if http1:
        client.sock.sendall(b"PUT /files/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\nhello")
        assert client.sock.makefile("rb").read().startswith(b"HTTP/1.1 408")
    else:
        stream = client.open("PUT", "/files/a", ("content-length", "1000000"))
        client.data(stream, b"hello")
        client.until(lambda: client.answers[stream].reset is not None)
        assert (client.answers[stream].status, client.answers[stream].reset) == (408, 0)
    eventually(lambda: served.staged() == [], "nothing is kept")
