"""Only what the peer itself said counts against it, wherever the bytes are cut, and not much of it is remembered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from h2gate.wire.engine import Data, EngineSettings, ErrorCode, Headers, Role
from h2gate.wire.nghttp2 import Nghttp2Engine
from h2gate.wire.order import KEPT_STREAMS, Order
from tests.wire.case import OPENING
from tests.wire.octets import (
    GET,
    Kind,
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
    window,
)

CLOSED, PROTOCOL = ErrorCode.STREAM_CLOSED, ErrorCode.PROTOCOL_ERROR

FAULTS = {
    "data after the end": (get(1), data(1, b"x"), CLOSED),
    "data after the end of a body": (put(1) + data(1, b"x") + data(1, end=True), data(1), CLOSED),
    "data after a reset": (put(1) + reset(1), data(1, b"x", end=True), CLOSED),
    "headers after the end": (get(1), get(1), CLOSED),
    "headers after trailers": (put(1) + headers(1, b""), headers(1, b""), CLOSED),
    "headers that end in a continuation": (
        headers(1, GET, end_headers=False) + continuation(1, b"", end_headers=False) + continuation(1, b""),
        data(1, b"x"),
        CLOSED,
    ),
    "headers on a stream that was skipped": (get(5), get(3), PROTOCOL),
    "data on a stream that was skipped": (put(5), data(3, b"x"), CLOSED),
    "priority on no stream": (get(1), priority(0), PROTOCOL),
    "reserved bit": (get(1), frame(Kind.DATA, 0, 1 | 1 << 31, b"x"), CLOSED),
    "another stream goes on": (put(1) + get(3) + data(1, b"x"), data(3, b"x"), CLOSED),
}

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


@pytest.mark.parametrize("octets", IN_ORDER.values(), ids=IN_ORDER)
def test_frames_in_order_pass_wherever_they_are_cut(octets: bytes) -> None:
    for cut in range(len(OPENING + octets)):
        assert faults(Order(), OPENING + octets, cut) == []


def test_stream_opened_long_ago_is_neither_judged_nor_remembered() -> None:
    order = Order()
    others = b"".join(get(3 + 2 * n) for n in range(KEPT_STREAMS))
    assert faults(order, OPENING + put(1) + others + data(1, b"x", end=True) + data(1, b"y")) == []
    assert faults(order, data(3, b"x")) == [(0, CLOSED)], "the oldest that is kept"
    assert len(order._streams) == KEPT_STREAMS


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
    events = engine.receive(memoryview(OPENING + get(1) + put(3) + data(3, b"kept") + data(1, b"late") + get(5)))
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
