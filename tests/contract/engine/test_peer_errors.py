"""What a peer does wrong stays as small as the RFC wants it, and bytes may be cut anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import Frame, GoAwayFrame, PingFrame, RstStreamFrame, WindowUpdateFrame

from h2gate.wire.engine import Data, ErrorCode, Header, Headers, Pong, Reset, Role
from h2gate.wire.frame_limits import FrameLimits

if TYPE_CHECKING:
    from tests.contract.engine.conftest import Pair, RawPeer

Fields = tuple[Header, ...]


def resets(frames: list[Frame]) -> list[tuple[int, int]]:
    return [(frame.stream_id, frame.error_code) for frame in frames if isinstance(frame, RstStreamFrame)]


def test_bytes_cut_at_every_position_make_the_same_events(raw: Callable[..., RawPeer], put: Fields) -> None:
    def script(peer: RawPeer) -> bytes:
        frames = (
            peer.headers(1, put),
            peer.data(1, b"abc", padding=3),
            PingFrame(0, b"eight by"),
            peer.data(1, b"def"),
            peer.headers(1, ((b"x", b"y"),), end_stream=True),
        )
        return b"".join(frame.serialize() for frame in frames)

    whole = raw()
    size = len(script(raw()))
    expected, answer = whole.feed(script(whole)), [frame.serialize() for frame in whole.frames()]
    assert len(expected) == 4
    for cut in range(1, size):
        peer = raw()
        stream = script(peer)
        assert peer.feed(stream[:cut]) + peer.feed(stream[cut:]) == expected
        assert [frame.serialize() for frame in peer.frames()] == answer


def test_bytes_one_by_one_from_the_preface_on(make_pair: Callable[..., Pair], put: Fields) -> None:
    pair = make_pair()
    stream = pair.client.request(put, end_stream=False)
    pair.client.send_data(stream, b"abc", end_stream=True)
    wire = pair.client.data_to_send()
    for n in range(len(wire)):
        pair.far.take(wire[n : n + 1])
    assert pair.far.events == [Headers(stream, put, False), Data(stream, b"abc", True)]


def test_buffer_may_be_reused_after_receive(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw()
    peer.feed(peer.headers(1, put))
    buffer = bytearray(peer.data(1, b"kept").serialize())
    (event,) = peer.engine.receive(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert event == Data(1, b"kept", False)


@pytest.mark.reference_miss("content_length_mismatch_ends_connection")
@pytest.mark.parametrize("body", [b"too long", b"less"])
def test_content_length_mismatch_resets_the_stream_at_once_and_no_other(
    raw: Callable[..., RawPeer], put: Fields, body: bytes
) -> None:
    peer = raw()
    peer.feed(peer.headers(1, (*put, (b"content-length", b"6"))), peer.headers(3, put))
    events = peer.feed(peer.data(1, body, end_stream=True))
    assert events[-1:] == [Reset(1, ErrorCode.PROTOCOL_ERROR, remote=False)]
    assert resets(peer.frames()) == [(1, ErrorCode.PROTOCOL_ERROR)]
    assert peer.feed(peer.data(3, b"fine", end_stream=True)) == [Data(3, b"fine", True)]


@pytest.mark.reference_miss("malformed_request_ends_connection")
@pytest.mark.parametrize("field", [(b"Upper", b"x"), (b"connection", b"close"), (b":late", b"x"), (b"x", b"a\r\nb")])
def test_malformed_request_is_reset_unseen_and_its_neighbour_lives(
    raw: Callable[..., RawPeer], put: Fields, field: Header
) -> None:
    peer = raw()
    assert peer.feed(peer.headers(1, (*put, field), end_stream=True)) == []
    assert resets(peer.frames()) == [(1, ErrorCode.PROTOCOL_ERROR)]
    assert peer.feed(peer.headers(3, put, end_stream=True)) == [Headers(3, put, True)]


@pytest.mark.reference_miss("stream_over_the_limit_ends_connection")
def test_stream_over_the_limit_is_refused_before_our_settings_are_known(
    raw: Callable[..., RawPeer], put: Fields
) -> None:
    peer = raw(acknowledge=False, max_streams=1)
    assert peer.feed(peer.headers(1, put), peer.headers(3, put)) == [Headers(1, put, False)]
    assert resets(peer.frames()) == [(3, ErrorCode.REFUSED_STREAM)]
    assert peer.feed(peer.data(1, b"fine", end_stream=True)) == [Data(1, b"fine", True)]


@pytest.mark.reference_miss("stream_over_the_limit_ends_connection")
def test_stream_over_the_limit_that_was_acknowledged_is_refused_alone(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw(max_streams=1)
    assert peer.feed(peer.headers(1, put), peer.headers(3, put), peer.data(3, b"late")) == [Headers(1, put, False)]
    assert resets(peer.frames()) == [(3, ErrorCode.REFUSED_STREAM)]
    assert peer.feed(peer.data(1, b"fine", end_stream=True)) == [Data(1, b"fine", True)]
    peer.engine.respond(1, [(b":status", b"200")], end_stream=True)
    peer.frames()
    assert peer.feed(peer.headers(5, put)) == [Headers(5, put, False)]


@pytest.mark.reference_miss("stream_over_the_limit_ends_connection")
@pytest.mark.parametrize("n_streams", [30, 5000], ids=["some", "more-than-any-read-should-have"])
def test_streams_over_the_limit_without_end_end_the_connection(
    raw: Callable[..., RawPeer], put: Fields, n_streams: int
) -> None:
    peer = raw(max_streams=1, limits=FrameLimits(excess_streams=10))
    peer.feed(*(peer.headers(stream, put) for stream in range(1, 2 * n_streams, 2)))
    assert [frame.error_code for frame in peer.frames() if isinstance(frame, GoAwayFrame)] == [
        ErrorCode.ENHANCE_YOUR_CALM
    ]
    assert peer.engine.exceeded == "excess_streams"
    assert peer.engine.done


def test_rapid_resets_end_the_connection(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw(limits=FrameLimits(resets=10))
    for stream in range(1, 61, 2):
        peer.feed(peer.headers(stream, put), RstStreamFrame(stream, error_code=ErrorCode.CANCEL))
    assert any(isinstance(frame, GoAwayFrame) and frame.error_code for frame in peer.frames())
    assert peer.engine.done
    assert 10 <= len(peer.side.of(Headers)) < 20


def test_resets_of_streams_that_are_over_are_fair_once_each(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw(limits=FrameLimits(resets=10))
    over = range(1, 61, 2)
    for stream in over:
        peer.feed(peer.headers(stream, put, end_stream=True))
        peer.engine.respond(stream, [(b":status", b"201")], end_stream=True)
        peer.frames()
        peer.feed(RstStreamFrame(stream, error_code=ErrorCode.STREAM_CLOSED))
    assert [frame for frame in peer.frames() if isinstance(frame, GoAwayFrame)] == []
    assert not peer.engine.done
    assert peer.side.of(Reset) == []


@pytest.mark.reference_miss("late_resets_are_not_seen")
def test_resets_without_end_of_streams_that_are_over_end_the_connection(
    raw: Callable[..., RawPeer], put: Fields
) -> None:
    peer = raw(limits=FrameLimits(resets=10))
    peer.feed(peer.headers(1, put, end_stream=True))
    peer.engine.respond(1, [(b":status", b"201")], end_stream=True)
    for _ in range(30):
        peer.feed(RstStreamFrame(1, error_code=ErrorCode.STREAM_CLOSED))
    assert any(isinstance(frame, GoAwayFrame) and frame.error_code for frame in peer.frames())
    assert peer.engine.done


@pytest.mark.reference_miss("reset_of_idle_stream_is_ignored")
def test_reset_of_an_idle_stream_ends_the_connection(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw()
    peer.feed(peer.headers(1, put), RstStreamFrame(9, error_code=ErrorCode.CANCEL))
    peer.frames()
    assert peer.engine.done


@pytest.mark.reference_miss("late_frames_are_answered_each")
def test_data_after_our_reset_is_not_answered(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw()
    peer.feed(peer.headers(1, put))
    peer.engine.reset(1, ErrorCode.NO_ERROR)
    assert resets(peer.frames()) == [(1, ErrorCode.NO_ERROR)]
    peer.feed(peer.data(1, b"late"), peer.data(1, b"later", end_stream=True))
    assert peer.frames() == []


@pytest.mark.reference_miss("late_informational_ends_connection")
def test_informational_after_our_reset_is_dropped(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw(Role.CLIENT)
    first, second = (peer.engine.request(put, end_stream=False) for _ in range(2))
    peer.engine.reset(first, ErrorCode.CANCEL)
    peer.frames()
    peer.feed(peer.headers(first, ((b":status", b"103"),)))
    peer.feed(peer.headers(second, ((b":status", b"201"),), end_stream=True))
    assert peer.side.of(Headers) == [Headers(second, ((b":status", b"201"),), True)]


@pytest.mark.parametrize("stream_id", [2, 7])
def test_stream_that_a_server_opens_ends_the_connection(
    raw: Callable[..., RawPeer], put: Fields, stream_id: int
) -> None:
    peer = raw(Role.CLIENT)
    peer.engine.request(put, end_stream=True)
    peer.frames()
    assert peer.feed(peer.headers(stream_id, put)) == []
    assert [frame.error_code for frame in peer.frames() if isinstance(frame, GoAwayFrame)] == [ErrorCode.PROTOCOL_ERROR]
    assert peer.engine.done


def test_stream_window_overflow_is_a_flow_control_error(raw: Callable[..., RawPeer], put: Fields) -> None:
    """Of the stream in the RFC; nghttp2 ends the connection, so that nobody can make it reset stream after stream."""
    peer = raw()
    peer.feed(peer.headers(1, put), WindowUpdateFrame(1, window_increment=2**31 - 1))
    assert [getattr(frame, "error_code", None) for frame in peer.frames()] == [ErrorCode.FLOW_CONTROL_ERROR]
    assert peer.engine.done or peer.side.of(Reset) == [Reset(1, ErrorCode.FLOW_CONTROL_ERROR, remote=False)]


def test_data_beyond_the_stream_window_is_an_error(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw(stream_window=1000)
    peer.feed(peer.headers(1, put), peer.data(1, bytes(1000)))
    peer.feed(peer.data(1, b"x"))
    codes = [getattr(frame, "error_code", None) for frame in peer.frames()]
    assert codes == [ErrorCode.FLOW_CONTROL_ERROR]
    assert len(peer.side.body(1)) == 1000


def test_header_list_far_over_the_limit_ends_the_connection_with_calm(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw(max_header_list_bytes=1024)
    fields = (*put, *((b"x-%d" % n, b"v" * 100) for n in range(60)))
    assert peer.feed(peer.headers(1, fields, end_stream=True)) == []
    assert [getattr(frame, "error_code", None) for frame in peer.frames()] == [ErrorCode.ENHANCE_YOUR_CALM]
    assert peer.engine.done


def test_unknown_frame_is_ignored(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw()
    unknown = b"\x00\x00\x03\xee\x00\x00\x00\x00\x01abc"
    assert peer.feed(peer.headers(1, put), unknown) == [Headers(1, put, False)]
    assert peer.frames() == []


def test_answer_to_a_ping_is_written_without_a_call(raw: Callable[..., RawPeer]) -> None:
    peer = raw(Role.CLIENT)
    assert peer.feed(PingFrame(0, b"eight by")) == []
    assert [(frame.opaque_data, "ACK" in frame.flags) for frame in peer.frames()] == [(b"eight by", True)]  # type: ignore[attr-defined]
    peer.engine.ping(b"our turn")
    assert peer.feed(PingFrame(0, b"our turn", flags=["ACK"])) == [Pong(b"our turn")]
