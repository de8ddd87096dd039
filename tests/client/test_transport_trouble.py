"""GOAWAY, refusals and silence: what is safe to send again is, what is dead is found, what is slow is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from h2gate.client import Transport
from h2gate.client.failures import ReadTimedOut, Unprocessed, Unreachable, WriteTimedOut
from h2gate.client.transport import tls_context
from h2gate.errors import ConnectFailed
from h2gate.wire.engine import EngineSettings, ErrorCode
from tests.client.conftest import Tls
from tests.client.peer import Call, Peer
from tests.client.test_transport import MIB, connected, pieces, store


async def test_goaway_lets_the_upload_in_flight_finish_and_the_next_takes_a_new_connection(tls: Tls) -> None:
    async with connected(tls, store) as (peer, client):
        gate = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield bytes(1000)
            await gate.wait()
            yield bytes(3 * MIB)

        upload = asyncio.create_task(client.put("/a", content=body()))
        await peer.until(lambda: any(call.received for call in peer.calls))
        peer.connections[0].engine.goaway()
        peer.connections[0].flush()
        second = await client.put("/b", content=bytes(MIB))  # crosses with the GOAWAY, and is sent again
        gate.set()
        assert (await upload).headers["x-bytes"] == str(1000 + 3 * MIB)
        assert second.headers["x-bytes"] == str(MIB)
        assert len(peer.connections) == 2
        await peer.connections[0].lost


@pytest.mark.parametrize("kind", ["goaway", "refused"])
async def test_request_that_was_not_looked_at_is_sent_again_when_its_body_can_be(tls: Tls, kind: str) -> None:
    turned_away = False

    async def handler(call: Call) -> None:
        nonlocal turned_away
        if not turned_away:
            await call.inbox.get()
            turned_away = True
            if kind == "goaway":
                call.connection.goaway(0)
            else:
                call.refuse(ErrorCode.REFUSED_STREAM)
            return
        await store(call)

    async with connected(tls, handler) as (peer, client):
        response = await client.put("/a", content=bytes(5 * MIB))
        assert response.headers["x-bytes"] == str(5 * MIB)
        assert len(peer.connections) == (2 if kind == "goaway" else 1)


async def test_request_that_was_not_looked_at_fails_when_its_body_cannot_be_read_again(tls: Tls) -> None:
    async def handler(call: Call) -> None:
        await call.inbox.get()
        call.connection.goaway(0)

    async with connected(tls, handler) as (_, client):
        with pytest.raises(Unprocessed) as caught:
            await client.put("/a", content=pieces(5 * MIB))
    assert caught.value.retry


async def test_reset_stream_fails_alone(tls: Tls) -> None:
    async def handler(call: Call) -> None:
        if call.path == "/bad":
            await call.inbox.get()
            call.refuse(ErrorCode.INTERNAL_ERROR)
        else:
            await store(call)

    async with connected(tls, handler) as (peer, client):
        good = asyncio.create_task(client.put("/good", content=pieces(8 * MIB)))
        with pytest.raises(ConnectFailed, match="INTERNAL_ERROR"):
            await client.put("/bad", content=pieces(8 * MIB))
        assert (await good).headers["x-bytes"] == str(8 * MIB)
        assert len(peer.connections) == 1


async def test_complete_answer_and_reset_in_one_write_is_an_answer(tls: Tls) -> None:
    async def handler(call: Call) -> None:
        await call.inbox.get()
        engine = call.connection.engine
        engine.respond(call.stream_id, [(b":status", b"507")], end_stream=False)
        engine.send_data(call.stream_id, b"full", end_stream=True)
        call.connection.flush()
        call.refuse(ErrorCode.NO_ERROR)

    async with connected(tls, handler) as (_, client):
        response = await client.put("/a", content=pieces(64 * MIB))
    assert (response.status_code, response.content) == (507, b"full")


async def test_peer_that_answers_pings_but_grants_no_credit_is_not_dead(tls: Tls) -> None:
    go_on = asyncio.Event()

    async def handler(call: Call) -> None:
        await go_on.wait()
        await store(call)

    async with connected(tls, handler, patience=0.2, silence_seconds=0.4) as (peer, client):
        upload = asyncio.create_task(client.put("/a", content=pieces(4 * MIB)))
        await peer.until(lambda: bool(peer.connections) and peer.connections[0].pings >= 4)
        assert not upload.done()
        go_on.set()
        assert (await upload).headers["x-bytes"] == str(4 * MIB)


async def test_credit_withheld_too_long_is_a_failure(tls: Tls) -> None:
    async def handler(call: Call) -> None:
        await asyncio.Event().wait()

    async with connected(tls, handler, patience=0.1, stall_seconds=0.3) as (peer, client):
        with pytest.raises(WriteTimedOut):
            await client.put("/a", content=pieces(4 * MIB))
        assert await peer.call("/a").reset == ErrorCode.CANCEL


async def test_peer_that_does_not_answer_pings_is_dead(tls: Tls) -> None:
    async def handler(call: Call) -> None:
        call.connection.transport.pause_reading()

    async with connected(tls, handler, patience=30, silence_seconds=0.4) as (_, client):
        with pytest.raises(ConnectFailed, match="silent"):
            await client.put("/a", content=b"x")


async def test_answer_that_does_not_come_is_a_read_timeout_and_resets(tls: Tls) -> None:
    async def handler(call: Call) -> None:
        await asyncio.Event().wait()

    async with connected(tls, handler, patience=0.2) as (peer, client):
        with pytest.raises(ReadTimedOut):
            await client.put("/a", content=b"x")
        assert await peer.call("/a").reset == ErrorCode.CANCEL


async def test_no_free_stream_in_time_is_a_pool_timeout(tls: Tls) -> None:
    async def handler(call: Call) -> None:
        await asyncio.Event().wait()

    async with connected(tls, handler, EngineSettings(max_streams=1), patience=5) as (peer, client):
        first = asyncio.create_task(client.put("/a", content=b"x"))
        await peer.until(lambda: len(peer.calls) == 1)
        with pytest.raises(httpx.PoolTimeout):
            await client.put("/b", content=b"x", timeout=httpx.Timeout(5, pool=0.1))
        first.cancel()
        await asyncio.wait({first})


async def test_nobody_listening_is_told_with_host_and_port() -> None:
    async with httpx.AsyncClient(transport=Transport()) as client:
        with pytest.raises(httpx.ConnectError, match=r"127\.0\.0\.1:1\b") as caught:
            await client.get("https://127.0.0.1:1/")
    assert isinstance(caught.value, Unreachable)
    assert caught.value.retry


async def test_certificate_of_a_stranger_is_refused_for_good(tls: Tls) -> None:
    async with Peer(store).serving(tls.server) as peer, httpx.AsyncClient(transport=Transport()) as client:
        with pytest.raises(Unreachable, match="not trusted") as caught:
            await client.get(peer.url)
    assert not caught.value.retry


async def test_peer_that_sends_no_settings_is_a_connect_timeout(tls: Tls) -> None:
    writers: list[asyncio.StreamWriter] = []  # one that nobody holds would be closed
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0, ssl=tls.server)
    port = server.sockets[0].getsockname()[1]
    transport = Transport(verify=tls_context(ca_files=(str(tls.ca),)))
    async with server, httpx.AsyncClient(transport=transport, timeout=0.5) as client:
        with pytest.raises(httpx.ConnectTimeout):
            await client.get(f"https://127.0.0.1:{port}/")
        for writer in writers:
            writer.transport.abort()


async def test_client_closed_with_uploads_in_flight_fails_them_and_says_goodbye(tls: Tls) -> None:
    async def handler(call: Call) -> None:
        await asyncio.Event().wait()

    async with connected(tls, handler) as (peer, client):
        upload = asyncio.create_task(client.put("/a", content=pieces(8 * MIB)))
        await peer.until(lambda: any(call.received for call in peer.calls))
        await client.aclose()
        with pytest.raises(ConnectFailed, match="closed"):
            await upload
        await peer.connections[0].lost


@pytest.mark.parametrize("sent", [999, 1001])
async def test_body_of_another_length_than_announced_is_reset_and_told(tls: Tls, sent: int) -> None:
    async with connected(tls, store) as (peer, client):
        with pytest.raises(httpx.LocalProtocolError, match="content-length"):
            await client.put("/a", content=pieces(sent, 500), headers={"content-length": "1000"})
        assert await peer.call("/a").reset == ErrorCode.CANCEL
        assert (await client.put("/b", content=b"x")).status_code == 201
        assert len(peer.connections) == 1


async def test_failing_callback_fails_its_own_request_only(tls: Tls) -> None:
    async def handler(call: Call) -> None:
        call.inform(103)
        await store(call)

    def fail(status: int, headers: object) -> None:
        raise ValueError(f"no {status} wanted")

    async with connected(tls, handler) as (peer, client):
        other = asyncio.create_task(client.put("/a", content=pieces(8 * MIB)))
        with pytest.raises(ValueError, match="no 103 wanted"):
            await client.put("/b", content=pieces(8 * MIB), extensions={"h2gate.informational": fail})
        assert (await other).headers["x-bytes"] == str(8 * MIB)
        assert len(peer.connections) == 1
