"""The transport under plain httpx, against a real peer over TLS: what httpcore gets wrong must go right here."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trustme

from h2gate.client import Transport
from h2gate.client.stream import QUEUE
from h2gate.client.transport import tls_context
from h2gate.errors import ConnectFailed
from h2gate.wire.engine import EngineSettings, ErrorCode
from tests.client.conftest import Tls
from tests.client.peer import Call, Handler, Peer

MIB = 1 << 20


@asynccontextmanager
async def connected(
    tls: Tls, handler: Handler, settings: EngineSettings | None = None, *, patience: float = 10, **options: Any
) -> AsyncIterator[tuple[Peer, httpx.AsyncClient]]:
    transport = Transport(verify=tls_context(ca_files=(str(tls.ca),)), **options)
    async with (
        Peer(handler, settings).serving(tls.server) as peer,
        httpx.AsyncClient(transport=transport, base_url=peer.url, timeout=patience) as client,
    ):
        yield peer, client


async def pieces(n_bytes: int, piece: int = 1 << 17) -> AsyncIterator[bytes]:
    for start in range(0, n_bytes, piece):
        yield bytes(min(piece, n_bytes - start))


async def store(call: Call) -> None:
    """201, with the number of bytes that came."""
    call.answer(201, (b"x-bytes", b"%d" % len(await call.read())))


async def test_body_and_fields_arrive_and_the_answer_comes_back(tls: Tls) -> None:
    async def echo(call: Call) -> None:
        assert call.headers[":method"] == "PUT"
        assert call.headers[":authority"].startswith("127.0.0.1:")
        assert "host" not in call.headers
        call.answer(201, (b"x-kind", call.headers["x-kind"].encode()), body=await call.read())

    async with connected(tls, echo) as (_, client):
        response = await client.put("/a?b=c", content=b"hello", headers={"X-Kind": "test"})
    assert (response.status_code, response.content, response.headers["x-kind"]) == (201, b"hello", "test")
    assert response.http_version == "HTTP/2"


async def test_body_of_unknown_length_is_sent_whole(tls: Tls) -> None:
    async with connected(tls, store) as (peer, client):
        response = await client.put("/a", content=pieces(5 * MIB + 7))
    assert response.headers["x-bytes"] == str(5 * MIB + 7)
    assert "content-length" not in peer.call("/a").headers
    assert "transfer-encoding" not in peer.call("/a").headers


async def test_large_bytes_are_sent_whole(tls: Tls) -> None:
    async with connected(tls, store) as (_, client):
        response = await client.put("/a", content=bytes(9 * MIB + 1))
    assert response.headers["x-bytes"] == str(9 * MIB + 1)


async def test_one_early_413_of_eight_uploads_leaves_seven_whole_on_the_same_connection(tls: Tls) -> None:
    refused = asyncio.Event()

    async def handler(call: Call) -> None:
        if call.path == "/3":
            await call.inbox.get()
            call.answer(413, body=b"too much")
            return
        await refused.wait()
        await store(call)

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(1 << 16)
            finally:
                closed.append(True)

    closed: list[bool] = []
    async with connected(tls, handler) as (peer, client):
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(client.put(f"/{n}", content=pieces(3 * MIB))) for n in range(8) if n != 3]
            early = await client.send(httpx.Request("PUT", f"{peer.url}/3", stream=Endless()))
            refused.set()
        assert (early.status_code, early.content) == (413, b"too much")
        assert [task.result().headers["x-bytes"] for task in others] == [str(3 * MIB)] * 7
        assert await peer.call("/3").reset == ErrorCode.NO_ERROR
        assert len(peer.connections) == 1
        assert closed == [True]


async def test_cancelled_upload_is_reset_and_the_connection_goes_on(tls: Tls) -> None:
    async def handler(call: Call) -> None:
        await (store(call) if call.path == "/next" else asyncio.Event().wait())

    async with connected(tls, handler) as (peer, client):
        upload = asyncio.create_task(client.put("/a", content=pieces(64 * MIB)))
        await peer.until(lambda: any(call.received for call in peer.calls))
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        assert await peer.call("/a").reset == ErrorCode.CANCEL
        assert (await client.put("/next", content=b"x")).status_code == 201
        assert len(peer.connections) == 1


async def test_failing_body_reaches_the_caller_and_resets_the_stream(tls: Tls) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise OSError("the disk is gone")

    async with connected(tls, store) as (peer, client):
        with pytest.raises(OSError, match="the disk is gone"):
            await client.put("/a", content=broken())
        assert await peer.call("/a").reset == ErrorCode.CANCEL


async def test_stream_without_credit_holds_little_and_stops_no_other(tls: Tls) -> None:
    taken = 0
    go_on = asyncio.Event()

    async def handler(call: Call) -> None:
        if call.path == "/slow":
            await go_on.wait()
        await store(call)

    async def counted() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(64):
            taken += 1 << 17
            yield bytes(1 << 17)

    async with connected(tls, handler, EngineSettings(stream_window=1 << 17)) as (peer, client):
        slow = asyncio.create_task(client.put("/slow", content=counted()))
        await peer.until(lambda: any(call.received == 1 << 17 for call in peer.calls))
        others = [await client.put(f"/{n}", content=pieces(MIB)) for n in range(4)]
        assert {response.headers["x-bytes"] for response in others} == {str(MIB)}
        assert taken <= QUEUE + (4 << 17)
        go_on.set()
        assert (await slow).headers["x-bytes"] == str(8 * MIB)


async def test_large_upload_does_not_starve_a_small_one(tls: Tls) -> None:
    async with connected(tls, store, EngineSettings(stream_window=16 * MIB)) as (peer, client):
        large = asyncio.create_task(client.put("/large", content=pieces(128 * MIB)))
        await peer.until(lambda: any(call.received for call in peer.calls))
        before = peer.call("/large").received
        await client.put("/small", content=bytes(1000))
        assert peer.call("/large").received - before < 48 * MIB
        assert (await large).headers["x-bytes"] == str(128 * MIB)


async def test_request_trailers_arrive(tls: Tls) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(3):
            sent += 1000
            yield bytes(1000)

    async with connected(tls, store) as (peer, client):
        extensions = {"h2gate.trailers": lambda: [("X-Sum", str(sent))]}
        for path, content in (("/a", body()), ("/b", b"whole"), ("/c", b"")):
            response = await client.put(path, content=content, extensions=extensions)
            assert response.status_code == 201
    assert [call.trailers for call in peer.calls] == [[(b"x-sum", b"3000")]] * 3


async def test_response_trailers_are_given(tls: Tls) -> None:
    async def handler(call: Call) -> None:
        call.answer(200, body=b"x" * 100, trailers=[(b"x-sum", b"100")])

    async with connected(tls, handler) as (_, client):
        response = await client.get("/")
    assert response.extensions["h2gate.trailers"] == [(b"x-sum", b"100")]


async def test_informational_answers_reach_the_callback_while_the_body_is_sent(tls: Tls) -> None:
    seen: list[tuple[int, list[tuple[bytes, bytes]]]] = []
    heard = asyncio.Event()

    async def handler(call: Call) -> None:
        call.inform(104, (b"upload-offset", b"5"))
        await store(call)

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await heard.wait()
        yield b"second"

    def listen(status: int, headers: list[tuple[bytes, bytes]]) -> None:
        seen.append((status, headers))
        heard.set()

    async with connected(tls, handler) as (_, client):
        response = await client.put("/a", content=body(), extensions={"h2gate.informational": listen})
    assert response.headers["x-bytes"] == "11"
    assert seen == [(104, [(b"upload-offset", b"5")])]


async def test_two_hundred_uploads_at_once_on_a_peer_that_allows_twenty_are_all_stored(tls: Tls) -> None:
    most = 0
    open_now = 0

    async def handler(call: Call) -> None:
        nonlocal most, open_now
        open_now += 1
        most = max(most, open_now)
        body = await call.read()
        open_now -= 1
        call.answer(201, (b"x-bytes", b"%d" % len(body)))

    async with connected(tls, handler, EngineSettings(max_streams=20), patience=30) as (peer, client):
        sizes = [n * 997 % 200_000 for n in range(200)]
        answers = await asyncio.gather(*(client.put(f"/{n}", content=pieces(size)) for n, size in enumerate(sizes)))
        assert [int(answer.headers["x-bytes"]) for answer in answers] == sizes
        assert len(peer.connections) == 1
    assert 2 <= most <= 20


async def test_response_body_is_held_back_while_nobody_reads_it(tls: Tls) -> None:
    async def handler(call: Call) -> None:
        call.answer(200, body=bytes(4 * MIB))

    async with (
        connected(tls, handler, stream_window=1 << 17) as (peer, client),
        client.stream("GET", "/a") as response,
    ):
        await client.get("/b")  # the connection is not held up: another body of 4 MiB came whole
        assert peer.connections[0].engine.queued_bytes(peer.call("/a").stream_id) >= 3 * MIB
        assert len(await response.aread()) == 4 * MIB


async def test_response_closed_early_is_reset_and_the_connection_goes_on(tls: Tls) -> None:
    async def handler(call: Call) -> None:
        call.answer(200, body=bytes(8 * MIB))

    async with connected(tls, handler, stream_window=1 << 17) as (peer, client):
        async with client.stream("GET", "/a") as response:
            await anext(response.aiter_raw())
        assert await peer.call("/a").reset == ErrorCode.CANCEL
        assert len((await client.get("/b")).content) == 8 * MIB
        assert len(peer.connections) == 1


async def test_connection_cut_in_the_body_fails_every_upload_at_once(tls: Tls) -> None:
    async def handler(call: Call) -> None:
        await asyncio.Event().wait()

    async with connected(tls, handler) as (peer, client):
        uploads = [asyncio.create_task(client.put(f"/{n}", content=pieces(64 * MIB))) for n in range(4)]
        await peer.until(lambda: len(peer.calls) == 4 and all(call.received for call in peer.calls))
        start = time.monotonic()
        peer.connections[0].transport.abort()
        results = await asyncio.gather(*uploads, return_exceptions=True)
        assert time.monotonic() - start < 2
        assert all(isinstance(each, ConnectFailed) and isinstance(each, httpx.TransportError) for each in results)


async def test_upload_over_cleartext_with_prior_knowledge() -> None:
    transport = Transport(http="2")
    async with (
        Peer(store).serving(None) as peer,
        httpx.AsyncClient(transport=transport, base_url=peer.url) as client,
    ):
        assert (await client.put("/a", content=b"abc")).headers["x-bytes"] == "3"
    assert transport.connections_made == 1


async def test_several_connections_share_the_uploads(tls: Tls) -> None:
    together = asyncio.Event()

    async def handler(call: Call) -> None:
        await together.wait()
        await store(call)

    async with connected(tls, handler, connections=3) as (peer, client):
        uploads = [asyncio.create_task(client.put(f"/{n}", content=b"x")) for n in range(9)]
        await peer.until(lambda: len(peer.calls) == 9)
        together.set()
        await asyncio.gather(*uploads)
        assert [len(connection.calls) for connection in peer.connections] == [3, 3, 3]


async def test_server_without_http2_is_served_over_http1(tls: Tls, authority: trustme.CA) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while head := await reader.readline():
            length = 0
            while (line := await reader.readline()).strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            requests.append((head.split()[1].decode(), await reader.readexactly(length)))
            writer.write(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    requests: list[tuple[str, bytes]] = []
    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    transport = Transport(verify=tls_context(ca_files=(str(tls.ca),)))
    async with httpx.AsyncClient(transport=transport, base_url=url) as client:
        for path in ("/a", "/b"):
            response = await client.put(path, content=b"body")
            assert (response.status_code, response.http_version) == (201, "HTTP/1.1")
    server.close()
    await asyncio.gather(*(writer.wait_closed() for writer in connections))
    assert requests == [("/a", b"body"), ("/b", b"body")]
    assert len(connections) == 2  # one that found out, one that was used


async def test_server_without_http2_is_refused_when_http2_is_insisted_on(tls: Tls, authority: trustme.CA) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with Peer(store).serving(context) as peer:
        transport = Transport(verify=tls_context(ca_files=(str(tls.ca),)), http="2")
        async with httpx.AsyncClient(transport=transport) as client:
            with pytest.raises(httpx.ConnectError, match="does not speak HTTP/2"):
                await client.get(peer.url)
