"""Uploads cancelled or cut in the middle, many times over: nothing is left of them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Serve, Served
from tests.server.conftest import Connect, Leftovers
from tests.server.raw import RawClient, eventually

SIZES = {"small": 10 << 10, "large": 3 << 20}
TIMES = 200


@pytest.fixture(params=list(SIZES))
def size(request: pytest.FixtureRequest) -> int:
    return SIZES[request.param]


@pytest.fixture
def served(serve: Serve, connect: Connect) -> Served:
    """A gateway that has had its first requests, so that its threads and folders are there."""
    found = serve()
    for http2 in (True, False):
        with RawClient(found.url, found.ca, http1=not http2) as client:
            if http2:
                assert client.put("/files/first", bytes(4 << 20)).status == 201
            else:
                send_head(client, "first", 10)
                client.sock.sendall(bytes(10))
                assert client.sock.recv(100).startswith(b"HTTP/1.1 204")
    eventually(lambda: not (found.worker.connections or found.worker._http1), "the first connections are closed")
    return found


def abort(client: RawClient) -> None:
    """Close with a TCP reset."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sock.close()


def close(client: RawClient) -> None:
    client.sock.close()


def send_head(client: RawClient, name: str, size: int, *fields: str) -> None:
    lines = [f"PUT /files/{name} HTTP/1.1", "host: localhost", f"content-length: {size}", *fields]
    client.sock.sendall("\r\n".join([*lines, "", ""]).encode())


def cuts(size: int) -> Iterator[int]:
    """How much of the body is sent before it is cut: from nothing to all but the last byte."""
    for n in range(TIMES):
        yield min(size - 1, size * n // (TIMES - 1))


def test_cancelled_uploads_leave_nothing_on_the_connection(
    served: Served, connect: Connect, leftovers: Callable[[Served], Leftovers], size: int
) -> None:
    client = connect(served)
    before = leftovers(served)
    for n, cut in enumerate(cuts(size)):
        stream = client.open("PUT", f"/files/{n}", ("content-length", str(size)))
        client.push(stream, bytes(cut), end=False)
        client.reset(stream)
    assert client.get("/healthz").status == 200
    assert not client.goaways
    before.expect_none()
    assert [path.name for path in (served.data / "files").iterdir()] == ["first"]


@pytest.mark.parametrize("leave", [close, abort])
@pytest.mark.parametrize("cleartext", [False, True], ids=["tls", "cleartext"])
def test_connections_cut_in_an_upload_leave_nothing(
    served: Served,
    connect: Connect,
    leftovers: Callable[[Served], Leftovers],
    size: int,
    leave: Callable[[RawClient], None],
    cleartext: bool,
) -> None:
    before = leftovers(served)
    for n, cut in enumerate(cuts(size)):
        client = connect(served, cleartext=cleartext)
        for part in range(2):
            stream = client.open("PUT", f"/files/{n}.{part}", ("content-length", str(size)))
            client.push(stream, bytes(cut), end=False)
        leave(client)
    before.expect_none()
    assert [path.name for path in (served.data / "files").iterdir()] == ["first"]


@pytest.mark.parametrize("leave", [close, abort])
@pytest.mark.parametrize("cleartext", [False, True], ids=["tls", "cleartext"])
def test_http1_connections_cut_in_an_upload_leave_nothing(
    served: Served,
    connect: Connect,
    leftovers: Callable[[Served], Leftovers],
    size: int,
    leave: Callable[[RawClient], None],
    cleartext: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = leftovers(served)
    for n, cut in enumerate(cuts(size)):
        client = connect(served, cleartext=cleartext, http1=True)
        send_head(client, str(n), size)
        client.sock.sendall(bytes(cut))
        leave(client)
    before.expect_none()
    assert [path.name for path in (served.data / "files").iterdir()] == ["first"]
    assert [record.getMessage() for record in caplog.records] == [], "a sender that leaves is no news"
