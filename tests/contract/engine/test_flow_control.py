"""Windows: the sender stops at them, credit and growth open them, and no byte of credit is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import SettingsFrame, WindowUpdateFrame

from h2gate.wire.engine import Data, EngineSettings, Header, SettingsChanged, WindowOpened

if TYPE_CHECKING:
    from tests.contract.engine.conftest import Pair, RawPeer

Fields = tuple[Header, ...]
KIB = 1024


def updates(peer: RawPeer) -> list[tuple[int, int]]:
    return [(f.stream_id, f.window_increment) for f in peer.frames() if isinstance(f, WindowUpdateFrame)]


@pytest.fixture
def opened(make_pair: Callable[..., Pair], put: Fields) -> tuple[Pair, int]:
    """A stream whose sender has put 100 KiB into a window of 64 KiB."""
    pair = make_pair(far=EngineSettings(stream_window=64 * KIB))
    stream = pair.client.request(put, end_stream=False)
    pair.client.send_data(stream, b"a" * 100 * KIB, end_stream=True)
    pair.pump()
    return pair, stream


@pytest.fixture
def small_connection_window(monkeypatch: pytest.MonkeyPatch) -> int:
    """A real one would take a GiB to half consume."""
    for module in ("nghttp2", "reference"):
        monkeypatch.setattr(f"h2gate.wire.{module}.MAX_WINDOW", 128 * KIB)
    return 128 * KIB


def test_connection_window_is_granted_in_full(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw(stream_window=2**31 - 1)
    peer.feed(peer.headers(1, put))
    for _ in range(20):
        peer.feed(*(peer.data(1, bytes(16 * KIB)) for _ in range(16)))
    assert len(peer.side.body(1)) == 5 << 20
    assert peer.frames() == []


def test_sender_stops_at_the_window_and_tells_what_is_queued(opened: tuple[Pair, int]) -> None:
    pair, stream = opened
    assert len(pair.far.body(stream)) == 64 * KIB
    assert pair.client.queued_bytes(stream) == 36 * KIB


def test_credit_lets_the_rest_go_and_tells_the_sender(opened: tuple[Pair, int]) -> None:
    pair, stream = opened
    pair.near.events.clear()
    pair.server.credit(stream, 64 * KIB)
    pair.pump()
    assert pair.far.body(stream) == b"a" * 100 * KIB
    assert pair.far.ended(stream)
    assert WindowOpened(stream) in pair.near.events
    assert pair.client.queued_bytes(stream) == 0


def test_larger_window_lets_the_rest_go_without_credit(opened: tuple[Pair, int]) -> None:
    pair, stream = opened
    pair.server.set_window(stream, 100 * KIB)
    pair.pump()
    assert len(pair.far.body(stream)) == 100 * KIB


def test_window_granted_while_bytes_are_unconsumed_is_whole_once_they_are(
    make_pair: Callable[..., Pair], put: Fields
) -> None:
    pair = make_pair(far=EngineSettings(stream_window=64 * KIB))
    stream = pair.client.request(put, end_stream=False)
    pair.client.send_data(stream, bytes(40 * KIB), end_stream=False)
    pair.pump()
    pair.server.set_window(stream, 128 * KIB)
    pair.server.credit(stream, 40 * KIB)
    pair.client.send_data(stream, bytes(400 * KIB), end_stream=False)
    pair.pump()
    received = 40 * KIB
    while received < 440 * KIB:
        pair.server.credit(stream, len(pair.far.body(stream)) - received)
        before, received = received, len(pair.far.body(stream))
        pair.pump()
        assert len(pair.far.body(stream)) > before, "the window got stuck"
    assert len(pair.far.body(stream)) == 440 * KIB


def test_window_is_made_smaller_by_credit_that_is_withheld(opened: tuple[Pair, int]) -> None:
    pair, stream = opened
    pair.server.set_window(stream, 24 * KIB)
    received = len(pair.far.body(stream))
    assert received == 64 * KIB, "what was granted stays"
    pair.server.credit(stream, 40 * KIB)
    pair.pump()
    assert len(pair.far.body(stream)) == received
    pair.server.credit(stream, 24 * KIB)
    pair.pump()
    assert len(pair.far.body(stream)) == received + 24 * KIB
    pair.server.set_window(stream, 36 * KIB)
    pair.server.credit(stream, 24 * KIB)
    pair.pump()
    assert len(pair.far.body(stream)) == 100 * KIB, "and made larger again"


def test_body_waiting_for_a_window_does_not_stop_another_stream(opened: tuple[Pair, int], put: Fields) -> None:
    pair, _ = opened
    other = pair.client.request(put, end_stream=False)
    pair.client.send_data(other, b"b" * 1000, end_stream=True)
    pair.pump()
    assert pair.far.body(other) == b"b" * 1000


def test_credit_of_half_the_window_sends_window_update(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw(stream_window=64 * KIB)
    peer.feed(peer.headers(1, put), *(peer.data(1, bytes(16 * KIB)) for _ in range(4)))
    peer.engine.credit(1, 16 * KIB)
    assert updates(peer) == []
    peer.engine.credit(1, 16 * KIB)
    assert updates(peer) == [(1, 32 * KIB)]


def test_credit_in_small_steps_loses_no_byte(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw(stream_window=64 * KIB)
    peer.feed(peer.headers(1, put), *(peer.data(1, bytes(16 * KIB)) for _ in range(4)))
    for _ in range(64):
        peer.engine.credit(1, KIB)
    assert sum(increment for _, increment in updates(peer)) == 64 * KIB


def test_credit_for_more_than_was_received_is_a_value_error(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw()
    peer.feed(peer.headers(1, put), peer.data(1, b"abc"))
    peer.engine.credit(1, 2)
    with pytest.raises(ValueError):
        peer.engine.credit(1, 2)


@pytest.mark.parametrize("over", ["by the peer's reset", "by our reset", "by both ends"])
def test_credit_after_close_returns_bytes_to_the_connection_window(
    raw: Callable[..., RawPeer], put: Fields, ok: Fields, small_connection_window: int, over: str
) -> None:
    peer = raw(stream_window=small_connection_window)
    peer.feed(peer.headers(1, put), *(peer.data(1, bytes(16 * KIB)) for _ in range(4)))
    if over == "by our reset":
        peer.engine.reset(1, 0)
    elif over == "by both ends":
        peer.engine.respond(1, ok, end_stream=True)
        peer.feed(peer.data(1, b"", end_stream=True))
    else:
        peer.feed(b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08")
    peer.frames()
    peer.engine.credit(1, 64 * KIB)
    assert updates(peer) == [(0, 64 * KIB)]


def test_data_after_our_reset_returns_to_the_connection_window_by_itself(
    raw: Callable[..., RawPeer], put: Fields, small_connection_window: int
) -> None:
    peer = raw(stream_window=small_connection_window)
    peer.feed(peer.headers(1, put))
    peer.engine.reset(1, 0)
    events = peer.feed(*(peer.data(1, bytes(16 * KIB)) for _ in range(6)))
    assert events == []
    assert sum(increment for stream, increment in updates(peer) if stream == 0) >= 64 * KIB


def test_padding_is_credited_by_the_engine(raw: Callable[..., RawPeer], put: Fields) -> None:
    peer = raw(stream_window=4 * KIB)
    peer.feed(peer.headers(1, put))
    events = peer.feed(*(peer.data(1, b"x", padding=255) for _ in range(10)))
    assert events == [Data(1, b"x", False)] * 10
    found = [increment for stream, increment in updates(peer) if stream == 1]
    assert sum(found) >= 2 * KIB
    peer.engine.credit(1, 10)


def test_settings_change_is_told_and_moves_the_windows_of_open_streams(
    raw: Callable[..., RawPeer], put: Fields, ok: Fields
) -> None:
    peer = raw()
    peer.feed(peer.headers(1, put, end_stream=True))
    peer.engine.respond(1, ok, end_stream=False)
    peer.engine.send_data(1, bytes(66000), end_stream=False)
    peer.frames()
    assert peer.engine.queued_bytes(1) == 66000 - 65535
    events = peer.feed(
        SettingsFrame(0, settings={3: 7, 4: 65535 + 400, 5: 32768}), WindowUpdateFrame(0, window_increment=10000)
    )
    assert events[:2] == [SettingsChanged(7, 32768), WindowOpened(0)]
    peer.frames()
    assert peer.engine.queued_bytes(1) == 66000 - 65535 - 400
