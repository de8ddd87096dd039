"""Leaving a connection: gracefully from either side, in two phases, or because it is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, PingFrame, RstStreamFrame, WindowUpdateFrame

from h2gate.wire.engine import Engine, ErrorCode, GoAway, Header, Headers, Reset, Role, StreamsExhausted

if TYPE_CHECKING:
    from tests.contract.engine.conftest import Pair, RawPeer

Fields = tuple[Header, ...]


def goaways(peer: RawPeer) -> list[tuple[int, int]]:
    return [(f.last_stream_id, f.error_code) for f in peer.frames() if isinstance(f, GoAwayFrame)]


def test_new_connection_is_not_done(pair: Pair) -> None:
    assert not pair.client.done
    assert not pair.server.done


def test_goaway_by_the_server_lets_covered_streams_finish(pair: Pair, put: Fields, ok: Fields) -> None:
    stream = pair.client.request(put, end_stream=False)
    pair.pump()
    pair.server.goaway()
    pair.pump()
    assert pair.near.events == [GoAway(stream, ErrorCode.NO_ERROR)]
    assert not pair.client.done
    assert not pair.server.done
    with pytest.raises(StreamsExhausted):
        pair.client.request(put, end_stream=True)

    pair.client.send_data(stream, b"a" * 40000, end_stream=True)
    pair.pump()
    pair.server.respond(stream, ok, end_stream=True)
    pair.pump()
    assert pair.far.body(stream) == b"a" * 40000
    assert pair.near.of(Headers) == [Headers(stream, ok, True)]
    assert pair.client.done
    assert pair.server.done


def test_goaway_by_the_client_lets_its_streams_finish(pair: Pair, put: Fields, ok: Fields) -> None:
    stream = pair.client.request(put, end_stream=False)
    pair.client.goaway()
    pair.pump()
    assert pair.far.of(GoAway) == [GoAway(0, ErrorCode.NO_ERROR)]
    with pytest.raises(StreamsExhausted):
        pair.client.request(put, end_stream=True)

    pair.client.send_data(stream, b"rest", end_stream=True)
    pair.pump()
    assert not pair.server.done
    pair.server.respond(stream, ok, end_stream=True)
    pair.pump()
    assert pair.far.body(stream) == b"rest"
    assert pair.near.of(Headers) == [Headers(stream, ok, True)]
    assert pair.client.done
    assert pair.server.done


def test_goaway_on_an_idle_connection_ends_it(pair: Pair) -> None:
    pair.server.goaway()
    assert not pair.server.done, "the GOAWAY is still to be written"
    pair.pump()
    assert pair.client.done
    assert pair.server.done


def test_request_that_crossed_the_goaway_is_refused_and_never_seen(pair: Pair, put: Fields, ok: Fields) -> None:
    covered = pair.client.request(put, end_stream=False)
    pair.pump()
    crossing = pair.client.request(put, end_stream=False)
    pair.client.send_data(crossing, b"lost", end_stream=False)
    pair.server.goaway()
    pair.pump()
    assert pair.near.of(Reset) == [Reset(crossing, ErrorCode.REFUSED_STREAM, remote=False)]
    assert [event.stream_id for event in pair.far.of(Headers)] == [covered]
    assert pair.far.body(crossing) == b""

    pair.client.send_data(covered, b"kept", end_stream=True)
    pair.pump()
    pair.server.respond(covered, ok, end_stream=True)
    pair.pump()
    assert pair.far.body(covered) == b"kept"
    assert pair.client.done
    assert pair.server.done


def test_shutdown_notice_still_takes_requests_under_way(pair: Pair, put: Fields, ok: Fields) -> None:
    first = pair.client.request(put, end_stream=True)
    pair.pump()
    crossing = pair.client.request(put, end_stream=True)
    pair.server.shutdown_notice()
    pair.pump()
    assert pair.near.events == [GoAway(2**31 - 1, ErrorCode.NO_ERROR)]
    assert [event.stream_id for event in pair.far.of(Headers)] == [first, crossing]
    with pytest.raises(StreamsExhausted):
        pair.client.request(put, end_stream=True)
    assert not pair.server.done

    pair.server.goaway()
    pair.pump()
    assert pair.near.events[-1] == GoAway(crossing, ErrorCode.NO_ERROR)
    for stream in (first, crossing):
        pair.server.respond(stream, ok, end_stream=True)
    pair.pump()
    assert pair.near.of(Headers) == [Headers(first, ok, True), Headers(crossing, ok, True)]
    assert pair.client.done
    assert pair.server.done


def test_shutdown_notice_of_a_client_is_nothing(pair: Pair) -> None:
    pair.client.shutdown_notice()
    assert pair.client.data_to_send() == b""
    assert not pair.client.done


BROKEN = {
    "data on an idle stream": (DataFrame(7, b"x").serialize(), None),
    "window update of zero": (b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00", None),
    "settings of a wrong length": (
        b"\x00\x00\x05\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "frame over the limit": (b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", ErrorCode.FRAME_SIZE_ERROR),
    "broken header compression": (b"\x00\x00\x01\x01\x05\x00\x00\x00\x01\xff", None),
    "naked continuation": (b"\x00\x00\x01\x09\x04\x00\x00\x00\x01\x82", ErrorCode.PROTOCOL_ERROR),
    "ping on a stream": (b"\x00\x00\x08\x06\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00", None),
    "goaway cut short": (b"\x00\x00\x04\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00", ErrorCode.FRAME_SIZE_ERROR),
    "connection window overflow": (
        WindowUpdateFrame(0, window_increment=2**31 - 1).serialize(),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_connection_error_is_told_by_goaway_and_then_done(raw: Callable[..., RawPeer], put: Fields, name: str) -> None:
    peer = raw()
    frame, code = BROKEN[name]
    before = peer.feed(peer.headers(1, put), frame, PingFrame(0, b"too late"))
    assert before == [Headers(1, put, False)], "what came before the error is told"
    assert not peer.engine.done, "the GOAWAY is still to be written"
    ((last, found),) = goaways(peer)
    assert last == 1
    assert found == code if code is not None else found != ErrorCode.NO_ERROR
    assert peer.engine.done
    assert peer.feed(PingFrame(0, b"too late")) == []
    assert peer.frames() == []


@pytest.mark.parametrize(
    "greeting", [b"GET / HTTP/1.1\r\nhost: gate.example\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n"]
)
def test_wrong_preface_is_a_connection_error(bare: Callable[[Role], Engine], greeting: bytes) -> None:
    engine = bare(Role.SERVER)
    engine.data_to_send()
    assert engine.receive(memoryview(greeting)) == []
    assert engine.data_to_send()[3] == GoAwayFrame.type
    assert engine.done


def call_everything(engine: Engine, put: Fields, ok: Fields) -> None:
    engine.respond(1, ok, end_stream=False)
    engine.inform(1, ((b":status", b"104"),))
    engine.send_data(1, b"x", end_stream=True)
    engine.send_trailers(1, ((b"x", b"y"),))
    engine.set_window(1, 1 << 24)
    engine.reset(1, 0)
    engine.ping(b"anybody?")
    engine.shutdown_notice()
    engine.goaway()
    assert engine.queued_bytes(1) == 0


def test_calls_after_a_connection_error_do_nothing(raw: Callable[..., RawPeer], put: Fields, ok: Fields) -> None:
    peer = raw()
    peer.feed(peer.headers(1, put), peer.data(1, b"abc"), DataFrame(7, b"x"))
    peer.frames()
    peer.engine.credit(1, 3)
    call_everything(peer.engine, put, ok)
    assert peer.engine.data_to_send() == b""
    assert peer.engine.done


def test_request_after_a_connection_error_raises(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw(Role.CLIENT)
    peer.feed(DataFrame(7, b"x"))
    peer.frames()
    assert peer.engine.done
    with pytest.raises(StreamsExhausted):
        peer.engine.request(put, end_stream=True)


def test_calls_after_a_graceful_end_do_nothing(pair: Pair, put: Fields, ok: Fields) -> None:
    stream = pair.client.request(put, end_stream=True)
    pair.pump()
    pair.server.goaway()
    pair.server.respond(stream, ok, end_stream=True)
    pair.pump()
    assert pair.server.done
    call_everything(pair.server, put, ok)
    assert pair.server.receive(memoryview(RstStreamFrame(1, error_code=8).serialize())) == []
    pair.server.data_to_send()
    assert pair.server.done


@pytest.mark.parametrize("role", Role)
def test_nothing_is_written_once_it_is_done_whatever_is_called(raw: Callable[..., RawPeer], role: Role) -> None:
    peer = raw(role)
    peer.engine.goaway()
    assert [type(frame) for frame in peer.frames()] == [GoAwayFrame]
    assert peer.engine.done
    peer.engine.ping(b"8 bytes.")
    peer.engine.shutdown_notice()
    peer.engine.goaway()
    assert peer.frames() == []
    assert peer.engine.done
