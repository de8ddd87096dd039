"""SIGTERM: who is being served is served to the end, within the grace time; nobody else is begun."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from tests.conftest import Process, Spawn, staged
from tests.server.conftest import Connect
from tests.server.raw import MAX_WINDOW, RawClient, eventually

BODY = 3 << 20


def half_an_upload(client: RawClient, name: str) -> int:
    stream = client.open("PUT", f"/files/{name}", ("content-length", str(BODY)))
    client.push(stream, bytes(BODY // 2), end=False)
    client.quiet()
    return stream


def expect_no_listener(process: Process) -> None:
    port = int(process.url.rpartition(":")[2])

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            return True
        return False

    eventually(refused, "the gateway listens no more")


def expect_clean_exit(process: Process) -> None:
    assert process.wait() == 0
    assert staged(process.data) == []
    assert "Traceback" not in "".join(process.lines)


def test_an_upload_in_flight_ends_well_between_two_goaways(spawn: Spawn, connect: Connect) -> None:
    process = spawn()
    client = connect(process)
    upload = half_an_upload(client, "in-flight")
    process.signal(signal.SIGTERM)
    client.until(lambda: len(client.goaways) == 2)
    first, second = client.goaways
    assert (first.last_stream_id, first.error_code) == (MAX_WINDOW, 0)
    assert (second.last_stream_id, second.error_code) == (upload, 0)
    late = client.open("PUT", "/files/late", ("content-length", "4"))
    client.data(late, b"late", end=True)
    client.push(upload, bytes(BODY - BODY // 2))
    assert client.answer(upload).status == 201
    client.read_to_end()
    assert client.answers[late].status == 0
    expect_clean_exit(process)
    assert (process.data / "files" / "in-flight").stat().st_size == BODY
    assert not (process.data / "files" / "late").exists()


def test_a_stream_opened_before_the_second_goaway_is_served(spawn: Spawn, connect: Connect) -> None:
    process = spawn()
    client = connect(process)
    client.answers_pings = False
    process.signal(signal.SIGTERM)
    client.until(lambda: bool(client.goaways))
    assert client.put("/files/just-in-time", bytes(1000)).status == 201
    client.read_to_end()
    assert [goaway.last_stream_id for goaway in client.goaways] == [MAX_WINDOW, 1]
    expect_clean_exit(process)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "http://127.0.0.1:0"], ids=["tls", "cleartext"])
def test_idle_connections_of_both_versions_are_closed_at_once(spawn: Spawn, connect: Connect, listen: str) -> None:
    process = spawn("--grace-seconds", "60", listen=listen)
    fresh, used = connect(process), connect(process)
    assert used.get("/healthz").status == 200
    fresh1, used1 = connect(process, http1=True), connect(process, http1=True)
    used1.sock.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert used1.sock.recv(1000).startswith(b"HTTP/1.1 200")
    began = time.monotonic()
    process.signal(signal.SIGTERM)
    for client in (fresh, used):
        client.read_to_end()
        assert client.goaways[0].last_stream_id == MAX_WINDOW
    while used1.sock.recv(1000):
        pass
    assert fresh1.sock.recv(1000) == b""
    expect_clean_exit(process)
    assert time.monotonic() - began < 10


def test_an_http1_upload_in_flight_ends_well(spawn: Spawn, connect: Connect) -> None:
    process = spawn()
    client = connect(process, http1=True)
    client.sock.sendall(b"PUT /files/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % BODY)
    client.sock.sendall(bytes(BODY // 2))
    process.signal(signal.SIGTERM)
    expect_no_listener(process)
    client.sock.sendall(bytes(BODY - BODY // 2))
    answer = client.sock.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 201")
    assert b"connection: close" in answer.lower()
    expect_clean_exit(process)
    assert (process.data / "files" / "a").stat().st_size == BODY


def test_after_the_grace_time_connections_are_cut_and_nothing_is_left(spawn: Spawn, connect: Connect) -> None:
    process = spawn("--grace-seconds", "1")
    client = connect(process)
    upload = half_an_upload(client, "never-whole")
    http1 = connect(process, http1=True)
    http1.sock.sendall(b"PUT /files/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n1" % BODY)
    eventually(lambda: bool(staged(process.data)), "uploads are coming in")
    process.signal(signal.SIGTERM)
    client.read_to_end()
    assert client.answers[upload].status == 0
    expect_clean_exit(process)
    assert list((process.data / "files").iterdir()) == []


@pytest.mark.parametrize("http1", [False, True], ids=["http2", "http1.1"])
def test_a_client_that_reads_nothing_does_not_keep_the_gateway(spawn: Spawn, connect: Connect, http1: bool) -> None:
    process = spawn("--grace-seconds", "1")
    assert connect(process).put("/files/large", bytes(32 << 20)).status == 201
    client = connect(process, http1=http1, small_buffer=True)
    if http1:
        client.sock.sendall(b"GET /files/large HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert client.sock.recv(100).startswith(b"HTTP/1.1 200")
    else:
        stream = client.open("GET", "/files/large", end=True)
        client.until(lambda: client.answers[stream].status == 200)
    process.signal(signal.SIGTERM)
    expect_clean_exit(process)


def test_an_upload_whose_sender_has_just_left_is_cleaned_up_before_the_exit(spawn: Spawn, connect: Connect) -> None:
    process = spawn()
    client = connect(process)
    for n in range(20):
        half_an_upload(client, str(n))
    client.sock.close()
    process.signal(signal.SIGTERM)
    expect_clean_exit(process)
