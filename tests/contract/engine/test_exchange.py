"""Requests, bodies, answers and trailers between any two engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from h2gate.wire.engine import Data, EngineSettings, Header, Headers, Informational, Pong, StreamsExhausted, Trailers

if TYPE_CHECKING:
    from tests.contract.engine.conftest import Pair

Fields = tuple[Header, ...]


def test_request_with_body_and_answer_arrive_whole(pair: Pair, put: Fields, ok: Fields) -> None:
    stream = pair.client.request((*put, (b"content-length", b"50000")), end_stream=False)
    pair.client.send_data(stream, b"a" * 30000, end_stream=False)
    pair.client.send_data(stream, memoryview(b"b" * 20000), end_stream=True)
    pair.pump()
    assert pair.far.of(Headers) == [Headers(stream, (*put, (b"content-length", b"50000")), False)]
    assert pair.far.body(stream) == b"a" * 30000 + b"b" * 20000
    assert pair.far.ended(stream)

    pair.server.respond(stream, ok, end_stream=False)
    pair.server.send_data(stream, b"stored", end_stream=True)
    pair.pump()
    assert pair.near.of(Headers) == [Headers(stream, ok, False)]
    assert pair.near.body(stream) == b"stored"
    assert pair.near.ended(stream)


def test_request_and_answer_without_body_end_with_their_headers(pair: Pair, put: Fields, ok: Fields) -> None:
    stream = pair.client.request(put, end_stream=True)
    pair.pump()
    pair.server.respond(stream, ok, end_stream=True)
    pair.pump()
    assert pair.far.events == [Headers(stream, put, True)]
    assert pair.near.events == [Headers(stream, ok, True)]


def test_empty_data_ends_the_stream_with_an_event(pair: Pair, put: Fields) -> None:
    stream = pair.client.request(put, end_stream=False)
    pair.pump()
    pair.client.send_data(stream, b"", end_stream=True)
    pair.pump()
    assert pair.far.events == [Headers(stream, put, False), Data(stream, b"", True)]


def test_informational_answers_come_before_the_final_one(pair: Pair, put: Fields, ok: Fields) -> None:
    stream = pair.client.request(put, end_stream=False)
    pair.pump()
    first, second = ((b":status", b"100"),), ((b":status", b"104"), (b"upload-offset", b"7"))
    pair.server.inform(stream, first)
    pair.server.inform(stream, second)
    pair.server.respond(stream, ok, end_stream=True)
    pair.pump()
    expected = [Informational(stream, first), Informational(stream, second), Headers(stream, ok, True)]
    assert pair.near.events == expected


def test_trailers_follow_the_body_both_ways(pair: Pair, put: Fields, ok: Fields) -> None:
    digest, status = ((b"content-digest", b"sha-256=:AA==:"),), ((b"x-stored", b"yes"),)
    stream = pair.client.request(put, end_stream=False)
    pair.client.send_data(stream, b"a" * 40000, end_stream=False)
    pair.client.send_trailers(stream, digest)
    pair.pump()
    pair.server.respond(stream, ok, end_stream=False)
    pair.server.send_data(stream, b"fine", end_stream=False)
    pair.server.send_trailers(stream, status)
    pair.pump()
    assert pair.far.body(stream) == b"a" * 40000
    assert pair.far.events[-1] == Trailers(stream, digest)
    assert pair.near.body(stream) == b"fine"
    assert pair.near.events[-1] == Trailers(stream, status)
    assert not pair.far.ended(stream)
    assert not pair.near.ended(stream)


def test_trailers_wait_behind_a_body_that_waits_for_credit(make_pair: Callable[..., Pair], put: Fields) -> None:
    pair = make_pair(far=EngineSettings(stream_window=65535))
    stream = pair.client.request(put, end_stream=False)
    pair.client.send_data(stream, b"a" * 70000, end_stream=False)
    pair.client.send_trailers(stream, ((b"x", b"y"),))
    pair.pump()
    assert pair.far.of(Trailers) == []
    pair.server.credit(stream, 65535)
    pair.pump()
    assert len(pair.far.body(stream)) == 70000
    assert pair.far.events[-1] == Trailers(stream, ((b"x", b"y"),))


def test_interleaved_streams_keep_their_own_bytes(pair: Pair, put: Fields) -> None:
    bodies = {pair.client.request(put, end_stream=False): bytes([n]) * (20000 + n) for n in range(8)}
    for stream, body in bodies.items():
        pair.client.send_data(stream, body, end_stream=True)
    pair.pump()
    assert {stream: pair.far.body(stream) for stream in bodies} == bodies


def test_large_header_block_arrives_whole(pair: Pair, put: Fields) -> None:
    fields = (*put, *((b"x-%d" % n, bytes([97 + n % 26]) * 1500) for n in range(18)))
    stream = pair.client.request(fields, end_stream=True)
    pair.pump()
    assert pair.far.events == [Headers(stream, fields, True)]


def test_ping_is_answered_with_its_bytes(pair: Pair) -> None:
    pair.client.ping(b"eight by")
    pair.server.ping(b"tes back")
    pair.pump()
    assert pair.near.events == [Pong(b"eight by")]
    assert pair.far.events == [Pong(b"tes back")]


def test_ping_of_other_than_eight_bytes_is_a_value_error(pair: Pair) -> None:
    with pytest.raises(ValueError):
        pair.client.ping(b"seven b")


def test_request_beyond_the_peers_limit_raises_and_works_when_one_ended(
    make_pair: Callable[..., Pair], put: Fields, ok: Fields
) -> None:
    pair = make_pair(far=EngineSettings(max_streams=2))
    first = pair.client.request(put, end_stream=False)
    second = pair.client.request(put, end_stream=False)
    with pytest.raises(StreamsExhausted):
        pair.client.request(put, end_stream=False)
    pair.pump()
    pair.server.respond(first, ok, end_stream=True)
    pair.pump()
    with pytest.raises(StreamsExhausted):
        pair.client.request(put, end_stream=False)
    pair.client.send_data(first, b"", end_stream=True)
    pair.pump()
    third = pair.client.request(put, end_stream=True)
    pair.pump()
    assert [event.stream_id for event in pair.far.of(Headers)] == [first, second, third]


def test_request_has_room_again_after_a_reset(make_pair: Callable[..., Pair], put: Fields) -> None:
    pair = make_pair(far=EngineSettings(max_streams=1))
    first = pair.client.request(put, end_stream=False)
    pair.pump()
    pair.client.reset(first, 8)
    second = pair.client.request(put, end_stream=True)
    pair.pump()
    assert [event.stream_id for event in pair.far.of(Headers)] == [first, second]


def test_call_out_of_order_on_an_open_stream_is_a_value_error(pair: Pair, put: Fields, ok: Fields) -> None:
    stream = pair.client.request(put, end_stream=False)
    pair.pump()
    with pytest.raises(ValueError):
        pair.server.send_data(stream, b"before the answer", end_stream=False)
    pair.server.respond(stream, ok, end_stream=False)
    with pytest.raises(ValueError):
        pair.server.respond(stream, ok, end_stream=False)
    with pytest.raises(ValueError):
        pair.server.inform(stream, ((b":status", b"104"),))
    pair.client.send_data(stream, b"", end_stream=True)
    with pytest.raises(ValueError):
        pair.client.send_data(stream, b"more", end_stream=False)
    with pytest.raises(ValueError):
        pair.client.send_trailers(stream, ((b"x", b"y"),))


def test_server_cannot_request(pair: Pair, put: Fields) -> None:
    with pytest.raises(ValueError):
        pair.server.request(put, end_stream=True)
