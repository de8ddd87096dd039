"""Streams that end early: answered, reset or given up by either side, while their neighbours go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2gate.wire.engine import ErrorCode, Header, Headers, Reset

if TYPE_CHECKING:
    from tests.contract.engine.conftest import Pair

Fields = tuple[Header, ...]


def test_early_answer_then_late_data_then_reset_without_error(pair: Pair, put: Fields, ok: Fields) -> None:
    stream = pair.client.request(put, end_stream=False)
    other = pair.client.request(put, end_stream=False)
    pair.client.send_data(stream, b"a" * 1000, end_stream=False)
    pair.pump()
    pair.server.respond(stream, ok, end_stream=True)
    pair.pump()
    assert Headers(stream, ok, True) in pair.near.events

    pair.client.send_data(stream, b"late", end_stream=False)
    pair.pump()
    assert pair.far.body(stream) == b"a" * 1000 + b"late"
    pair.server.credit(stream, 1004)
    pair.server.reset(stream, ErrorCode.NO_ERROR)
    pair.client.send_data(stream, b"crosses the reset", end_stream=False)
    pair.pump()
    assert pair.near.of(Reset) == [Reset(stream, ErrorCode.NO_ERROR, remote=True)]
    assert pair.far.of(Reset) == []
    assert pair.far.body(stream) == b"a" * 1000 + b"late"

    pair.client.send_data(other, b"unharmed", end_stream=True)
    pair.pump()
    assert pair.far.body(other) == b"unharmed"


def test_reset_by_the_client_is_told_once(pair: Pair, put: Fields) -> None:
    stream = pair.client.request(put, end_stream=False)
    pair.pump()
    pair.client.reset(stream, ErrorCode.CANCEL)
    pair.client.reset(stream, ErrorCode.CANCEL)
    pair.pump()
    assert pair.far.of(Reset) == [Reset(stream, ErrorCode.CANCEL, remote=True)]
    assert pair.near.of(Reset) == []


def test_reset_by_the_server_is_told_once(pair: Pair, put: Fields) -> None:
    stream = pair.client.request(put, end_stream=False)
    pair.pump()
    pair.server.reset(stream, ErrorCode.REFUSED_STREAM)
    pair.pump()
    assert pair.near.of(Reset) == [Reset(stream, ErrorCode.REFUSED_STREAM, remote=True)]
    assert pair.far.of(Reset) == []


def test_resets_that_cross_are_no_error(pair: Pair, put: Fields) -> None:
    stream = pair.client.request(put, end_stream=False)
    pair.pump()
    pair.client.reset(stream, ErrorCode.CANCEL)
    pair.server.reset(stream, ErrorCode.NO_ERROR)
    pair.pump()
    assert pair.near.of(Reset) == pair.far.of(Reset) == []
    assert not pair.client.done
    assert not pair.server.done


def test_reset_drops_what_is_queued(pair: Pair, put: Fields) -> None:
    stream = pair.client.request(put, end_stream=False)
    pair.client.send_data(stream, bytes(3 << 20), end_stream=True)
    pair.pump()
    assert pair.client.queued_bytes(stream) > 0
    pair.client.reset(stream, ErrorCode.CANCEL)
    assert pair.client.queued_bytes(stream) == 0
    before = len(pair.far.body(stream))
    pair.pump()
    assert len(pair.far.body(stream)) == before


def call_everything(pair: Pair, stream: int, ok: Fields) -> None:
    for engine in (pair.client, pair.server):
        engine.send_data(stream, b"x", end_stream=True)
        engine.send_trailers(stream, ((b"x", b"y"),))
        engine.credit(stream, 0)
        engine.set_window(stream, 1 << 24)
        engine.reset(stream, ErrorCode.CANCEL)
        assert engine.queued_bytes(stream) == 0
    pair.server.respond(stream, ok, end_stream=True)
    pair.server.inform(stream, ((b":status", b"104"),))


def test_calls_on_a_stream_both_ended_do_nothing(pair: Pair, put: Fields, ok: Fields) -> None:
    stream = pair.client.request(put, end_stream=True)
    pair.pump()
    pair.server.respond(stream, ok, end_stream=True)
    pair.pump()
    pair.forget()
    call_everything(pair, stream, ok)
    assert pair.client.data_to_send() == pair.server.data_to_send() == b""


def test_calls_on_a_stream_that_was_reset_do_nothing(pair: Pair, put: Fields, ok: Fields) -> None:
    stream = pair.client.request(put, end_stream=False)
    pair.pump()
    pair.client.reset(stream, ErrorCode.CANCEL)
    pair.pump()
    call_everything(pair, stream, ok)
    assert pair.client.data_to_send() == pair.server.data_to_send() == b""


def test_calls_on_a_stream_that_never_was_do_nothing_and_hide_no_later_reset(
    pair: Pair, put: Fields, ok: Fields
) -> None:
    call_everything(pair, 1, ok)
    assert pair.client.data_to_send() == pair.server.data_to_send() == b""
    stream = pair.client.request(put, end_stream=False)
    pair.pump()
    pair.client.reset(stream, ErrorCode.CANCEL)
    pair.pump()
    assert (stream, pair.far.of(Reset)) == (1, [Reset(1, ErrorCode.CANCEL, remote=True)])


def test_stream_that_ended_while_we_wrote_takes_late_calls(pair: Pair, put: Fields, ok: Fields) -> None:
    stream = pair.client.request(put, end_stream=True)
    pair.pump()
    pair.server.respond(stream, ok, end_stream=False)
    pair.server.send_data(stream, b"all", end_stream=True)
    pair.server.data_to_send()
    pair.server.send_data(stream, b"late", end_stream=True)
    pair.server.send_trailers(stream, ((b"x", b"y"),))
    assert pair.server.data_to_send() == b""
