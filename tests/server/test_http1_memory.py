"""What an HTTP/1.1 request can make a gateway hold is charged before it is held, and given back when nobody has it."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from h2gate.server.callers import Caller
from h2gate.server.exchange import Message
from h2gate.server.http1 import READER_BYTES
from h2gate.server.http1_exchange import INBOX_BYTES, SMALL_INBOX_BYTES
from h2gate.server.listener import CONNECTION_BYTES
from h2gate.server.stream import HEADER_COST, STREAM_BYTES
from tests.conftest import Serve, Served
from tests.server.conftest import Connect
from tests.server.raw import RawClient, eventually
from tests.server.test_http1_limits import HOST, ask, read_to_end

HEADER_BYTES = HEADER_COST * 300
"""More than the header lists here cost, and less than anything else does."""


class Holding:
    """An application that takes nothing and answers nothing before it is let go."""

    def __init__(self) -> None:
        self.n_running = 0
        self._released = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "no lifespan, and hypercorn takes that for an answer"
        self._loop = asyncio.get_running_loop()
        self.n_running += 1
        await self._released.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._released.set)


@pytest.fixture
def holding() -> Iterator[Holding]:
    holding = Holding()
    yield holding
    holding.release()


@pytest.fixture
def served(serve: Serve, holding: Holding) -> Served:
    return serve(make_app=lambda _: holding, memory_budget=64 << 20)


def held(served: Served) -> int:
    budget = served.worker.budget
    return budget.n_bytes - budget.left


def leave(served: Served, n_bytes: int) -> None:
    """Somebody else has taken all but so much; the connections that there are can have it all."""

    async def take() -> None:
        assert served.worker.budget.take(served.worker.budget.left - n_bytes)

    served.inside(take())


def spare(served: Served) -> int:
    """What has to be left so that one address may take `n` more: as much as it holds, and that once more."""

    async def look() -> int:
        caller: Caller = next(iter(served.worker.callers._callers.values()))
        return caller.held

    return served.inside(look())


@pytest.mark.parametrize(
    ("fields", "cost"),
    [
        (b"", 0),
        (b"content-length: 1000\r\n", 1000),
        (b"content-length: 100000\r\n", 100_000 + READER_BYTES),
        (b"transfer-encoding: chunked\r\n", INBOX_BYTES + READER_BYTES),
    ],
    ids=["no-body", "small", "large", "unknown"],
)
def test_a_request_is_charged_until_it_is_over_and_its_application_has_returned(
    served: Served, holding: Holding, connect: Connect, fields: bytes, cost: int
) -> None:
    client = connect(served, http1=True)
    client.sock.sendall(b"PUT /x HTTP/1.1\r\n" + HOST + fields + b"\r\n")
    eventually(lambda: holding.n_running == 1, "it is at work")
    least = CONNECTION_BYTES + STREAM_BYTES + cost
    assert least < held(served) < least + HEADER_BYTES
    client.sock.close()
    eventually(lambda: not served.worker.visits or held(served) <= least + HEADER_BYTES, "the peer is gone")
    assert held(served) >= STREAM_BYTES + min(cost, INBOX_BYTES), "its application is still at work"
    holding.release()
    eventually(lambda: held(served) == 0, "all is given back")


@pytest.mark.parametrize("body", [b"content-length: 100000000\r\n", b"transfer-encoding: chunked\r\n"])
def test_no_more_is_read_than_was_charged(served: Served, holding: Holding, connect: Connect, body: bytes) -> None:
    client = connect(served, http1=True, cleartext=True)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    client.sock.sendall(b"PUT /x HTTP/1.1\r\n" + HOST + body + b"\r\n")
    eventually(lambda: holding.n_running == 1, "it is at work")
    client.sock.setblocking(False)
    chunk = (b"10000\r\n" + bytes(1 << 16) + b"\r\n") if b"chunked" in body else bytes(1 << 16)
    rest = b""
    while select.select([], [client.sock], [], 1)[1]:
        rest = rest or chunk
        rest = rest[client.sock.send(rest) :]
    (server,) = served.worker._http1.values()
    exchange: Any = server._protocol.stream
    reader: Any = server.reader
    parser: Any = server._protocol.connection
    assert 0 < exchange._inbox_bytes <= INBOX_BYTES // 2
    assert len(reader._buffer) + len(parser.trailing_data[0]) <= READER_BYTES


def test_a_request_for_which_there_is_no_memory_is_answered_503(serve: Serve, connect: Connect) -> None:
    served = serve(memory_budget=64 << 20)
    client = connect(served, http1=True)
    eventually(lambda: len(served.worker._http1) == 1, "it is served")
    leave(served, spare(served) + 10_000)
    answer = ask(client, b"PUT /files/a HTTP/1.1\r\ncontent-length: 5\r\n", HOST, b"\r\nhello")
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1\r\n" in answer
    assert served.gateway.metrics.limits_hit("memory") >= 1
    assert not served.path("a").exists()


def test_where_memory_is_short_a_body_is_taken_in_small_pieces(serve: Serve, connect: Connect) -> None:
    served = serve(memory_budget=64 << 20)
    client = connect(served, http1=True)
    eventually(lambda: len(served.worker._http1) == 1, "it is served")
    cost = STREAM_BYTES + HEADER_BYTES + SMALL_INBOX_BYTES
    leave(served, spare(served) + 2 * cost)
    content = os.urandom(3_000_000)
    head = b"PUT /files/a HTTP/1.1\r\ncontent-length: 3000000\r\nconnection: close\r\n"
    answer = ask(client, head, HOST, b"\r\n", content)
    assert answer.startswith(b"HTTP/1.1 201")
    assert served.path("a").read_bytes() == content


def test_where_memory_is_short_an_answer_is_sent_in_small_pieces(serve: Serve, connect: Connect) -> None:
    served = serve(memory_budget=64 << 20)
    content = os.urandom(3_000_000)
    assert connect(served).put("/files/a", content).status == 201
    client = connect(served, http1=True)
    eventually(lambda: len(served.worker._http1) == 1, "it is served")
    leave(served, spare(served) + 2 * (STREAM_BYTES + HEADER_BYTES))
    answer = ask(client, b"GET /files/a HTTP/1.1\r\nconnection: close\r\n", HOST, b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(content)


def test_all_is_given_back_after_uploads_and_answers_of_every_kind(serve: Serve, connect: Connect) -> None:
    served = serve()
    clients: list[RawClient] = [connect(served, http1=True, cleartext=bool(n % 2)) for n in range(4)]
    for client in clients:
        client.sock.sendall(b"PUT /files/a HTTP/1.1\r\ncontent-length: 2000000\r\n" + HOST + b"\r\n" + bytes(2_000_000))
        client.sock.sendall(b"PUT /files/missing/../a HTTP/1.1\r\ncontent-length: 5\r\n" + HOST + b"\r\nhello")
        client.sock.sendall(b"GET /files/a HTTP/1.1\r\nconnection: close\r\n" + HOST + b"\r\n")
        assert read_to_end(client).count(b"HTTP/1.1 ") == 3
    eventually(lambda: held(served) == 0, "all is given back")
