"""Only what the peer itself said counts against it, wherever the bytes are cut, and not much of it is remembered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from h2gate.wire.engine import Data, EngineSettings, ErrorCode, Headers, Role
from h2gate.wire.frame_limits import FrameLimits
from h2gate.wire.nghttp2 import Nghttp2Engine
from h2gate.wire.order import KEPT_STREAMS, Order
from tests.wire.case import OPENING, Sight
from tests.wire.octets import (
    GET,
    Kind,
    Setting,
    continuation,
    data,
    frame,
    get,
    goaway,
    headers,
    ping,
    priority,
    put,
    reset,
    settings,
    window,
)

CLOSED, PROTOCOL = ErrorCode.STREAM_CLOSED, ErrorCode.PROTOCOL_ERROR

FAULTS = {
    "headers after the end": (get(1), get(1), CLOSED),
    "headers after trailers": (put(1) + headers(1, b""), headers(1, b""), CLOSED),
    "headers after the end of a body": (put(1) + data(1, b"x") + data(1, end=True), headers(1, b""), CLOSED),
    "headers on a stream that was skipped": (get(5), get(3), PROTOCOL),
    "data on a stream that was skipped": (put(5), data(3, b"x"), CLOSED),
    "priority on no stream": (get(1), priority(0), PROTOCOL),
    "reserved bit": (get(1), headers(1 | 1 << 31, b""), CLOSED),
    "another stream goes on": (put(1) + get(3) + data(1, b"x"), get(3), CLOSED),
}
"""What comes before, the frame out of order, and the code."""

LATE = {
    "data after the end": get(1) + data(1, b"x"),
    "data after the end of a body": put(1) + data(1, b"x") + data(1, end=True) + data(1),
    "data after a reset": put(1) + reset(1) + data(1, b"x", end=True),
    "data after the end and a reset": get(1) + reset(1) + data(1, b"x"),
    "trailers after a reset": put(1) + reset(1) + headers(1, b""),
    "data again and again": get(1) + data(1, b"x") * 3 + reset(1) + data(1, b"x") + headers(1, b""),
    "data after a block of many frames": headers(1, GET, end_headers=False)
    + continuation(1, b"", end_headers=False)
    + continuation(1, b"")
    + data(1, b"x"),
    "data with the reserved bit": get(1) + frame(Kind.DATA, 0, 1 | 1 << 31, b"x"),
    "data beside a stream that goes on": put(3) + reset(3) + put(5) + data(3, b"x") + data(5, b"x"),
}
"""The peer goes on with a stream that it ended."""

IN_ORDER = {
    "body": put(1) + data(1, b"x") + data(1, b"y", end=True),
    "trailers": put(1) + data(1, b"x") + headers(1, b""),
    "streams side by side": put(1) + put(3) + data(1, b"x") + data(3, b"x", end=True) + data(1, b"x", end=True),
    "what may still come": get(1) + window(1, 1) + reset(1) + reset(1) + window(1, 1) + priority(1),
    "streams skipped": get(7) + get(19),
    "unknown frames": get(1) + frame(0xEE, 0xFF, 1, b"unknown"),
    "whatever libnghttp2 finds": data(9, b"idle") + get(2) + data(2) + headers(1, GET, end_headers=False) + get(1),
    "of the connection": ping(b"8 octets") + goaway() + window(0, 1),
}


def faults(order: Order, octets: bytes, *cuts: int) -> list[tuple[int, ErrorCode]]:
    """The first fault, if any, with its place counted from the beginning of `octets`."""
    for begin, end in zip((0, *cuts), (*cuts, len(octets)), strict=True):
        if (fault := order.fault(memoryview(octets)[begin:end])) is not None:
            return [(begin + fault[0], fault[1])]
    return []


@pytest.mark.parametrize(("before", "broken", "code"), FAULTS.values(), ids=FAULTS)
def test_frame_out_of_order_is_found_where_it_begins(before: bytes, broken: bytes, code: ErrorCode) -> None:
    octets = OPENING + before + broken + ping(b"after it")
    assert faults(Order(), octets) == [(len(OPENING + before), code)]


@pytest.mark.parametrize(("before", "broken", "code"), FAULTS.values(), ids=FAULTS)
def test_frame_out_of_order_is_found_wherever_it_is_cut(before: bytes, broken: bytes, code: ErrorCode) -> None:
    octets, place = OPENING + before + broken, len(OPENING + before)
    for cut in range(1, len(octets)):
        found = faults(Order(), octets, cut)
        assert found == [(cut if place < cut < place + 9 else place, code)]
    one_by_one = faults(Order(), octets, *range(1, len(octets)))
    assert one_by_one == [(place + 8, code)]


@pytest.mark.parametrize("octets", LATE.values(), ids=LATE)
def test_stream_that_goes_on_after_its_end_is_named_once_wherever_it_is_cut(octets: bytes) -> None:
    late = 3 if octets.startswith(put(3)) else 1
    for cut in range(1, len(octets)):
        order = Order()
        assert faults(order, OPENING + octets, len(OPENING) + cut) == []
        assert order.late == [late]


@pytest.mark.parametrize("octets", IN_ORDER.values(), ids=IN_ORDER)
def test_frames_in_order_pass_wherever_they_are_cut(octets: bytes) -> None:
    for cut in range(len(OPENING + octets)):
        order = Order()
        assert faults(order, OPENING + octets, cut) == []
        assert order.late == []


def test_stream_opened_long_ago_is_neither_judged_nor_remembered() -> None:
    order = Order()
    others = b"".join(get(3 + 2 * n) for n in range(KEPT_STREAMS))
    assert faults(order, OPENING + put(1) + others + data(1, b"x", end=True) + data(1, b"y")) == []
    assert len(order._streams) == KEPT_STREAMS
    assert faults(order, data(1, b"z") + data(3, b"x")) == []
    assert order.late == [3], "the oldest that is kept"


@limits(max_examples=300, deadline=None, database=None)
@given(st.binary(max_size=400), st.integers(1, 400))
def test_noise_never_raises_and_is_cut_alike(noise: bytes, cut: int) -> None:
    def outcome(*pieces: bytes) -> ErrorCode | None:
        order = Order()
        found = [order.fault(memoryview(piece)) for piece in (OPENING, *pieces)]
        return next((fault[1] for fault in found if fault is not None), None)

    assert outcome(noise) == outcome(noise[:cut], noise[cut:])


def test_what_came_before_the_fault_is_told_and_nothing_behind_it() -> None:
    engine = Nghttp2Engine(Role.SERVER, EngineSettings())
    events = engine.receive(memoryview(OPENING + get(1) + put(3) + data(3, b"kept") + get(1) + get(5)))
    assert [type(event) for event in events if isinstance(event, Headers | Data)] == [Headers, Headers, Data]
    assert engine.receive(memoryview(get(7))) == []
    while engine.data_to_send():
        pass
    assert engine.done


def test_late_frames_of_a_stream_that_we_reset_are_no_fault() -> None:
    engine = Nghttp2Engine(Role.SERVER, EngineSettings())
    engine.receive(memoryview(OPENING + put(1)))
    engine.reset(1, ErrorCode.NO_ERROR)
    engine.data_to_send()
    assert engine.receive(memoryview(data(1, b"on its way") + headers(1, b"") + get(3)))[-1].stream_id == 3  # type: ignore[union-attr]
    assert not engine.done


def test_stream_that_goes_on_after_its_end_is_reset_once_and_between_two_frames() -> None:
    windows = settings({Setting.INITIAL_WINDOW_SIZE: 1 << 20}) + window(0, 1 << 20)
    engine = Nghttp2Engine(Role.SERVER, EngineSettings())
    engine.receive(memoryview(OPENING + windows + get(1) + get(3)))
    engine.data_to_send()
    for stream_id, size in ((1, 0), (3, 300_000)):
        engine.respond(stream_id, [(b":status", b"200")], end_stream=not size)
        if size:
            engine.send_data(stream_id, bytes(size), end_stream=True)
    sight = Sight()
    sight.take(engine.data_to_send(20_000))
    assert sight.ended(1) and not sight.ended(3), "within a frame"
    assert engine.receive(memoryview(data(1, b"late") + data(1, b"later"))) == []
    while octets := engine.data_to_send(20_000):
        sight.take(octets)
    assert sight.resets(1) == [CLOSED]
    assert sum(sight.sizes(3)) == 300_000
    assert sight.ended(3) and not engine.done


def test_peer_that_goes_on_with_stream_after_stream_is_told_to_calm_down() -> None:
    engine = Nghttp2Engine(Role.SERVER, EngineSettings(limits=FrameLimits(stream_errors=10)))
    engine.receive(memoryview(OPENING))
    engine.data_to_send()
    sight = Sight()
    for stream_id in range(1, 61, 2):
        for event in engine.receive(memoryview(get(stream_id))):
            if isinstance(event, Headers):
                engine.respond(stream_id, [(b":status", b"200")], end_stream=True)
        sight.take(engine.data_to_send())
        engine.receive(memoryview(data(stream_id, b"late")))
        while octets := engine.data_to_send():
            sight.take(octets)
    assert sight.goaways() == [ErrorCode.ENHANCE_YOUR_CALM]
    assert engine.done
    assert sum(len(sight.resets(stream_id)) for stream_id in range(1, 61, 2)) == 10
