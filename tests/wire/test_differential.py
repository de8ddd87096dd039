"""Valid frame sequences, cut anywhere, make the same events in both engines; broken ones make no exception.

Compared as equal: the frames of one run of DATA are joined and empty ones that end nothing are dropped, for frame
boundaries carry no meaning (RFC 9113 section 8.1); WINDOW_UPDATE and SETTINGS are hints about what may leave, so
`WindowOpened` counts only for streams on which we still may send (section 6.9). Streams that one GOAWAY leaves out end
together, in no order (section 6.8).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise

import pytest
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from h2gate.wire.engine import (
    Data,
    Engine,
    EngineSettings,
    ErrorCode,
    Event,
    Header,
    Headers,
    Reset,
    Role,
    WindowOpened,
)
from h2gate.wire.nghttp2 import Nghttp2Engine
from h2gate.wire.reference import ReferenceEngine

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ENGINES = (Nghttp2Engine, ReferenceEngine)
REQUEST: tuple[Header, ...] = (
    (b":method", b"PUT"),
    (b":scheme", b"https"),
    (b":authority", b"gate.example"),
    (b":path", b"/files/a"),
)
TRAILERS: tuple[Header, ...] = ((b"content-digest", b"sha-256=:AA==:"),)
LIMITS = settings(max_examples=150, deadline=None, database=None)


@dataclass(frozen=True)
class Step:
    """What the raw peer does next, on one of a few streams; `Script` makes it valid where that stream is just now."""

    slot: int
    kind: str
    size: int
    padding: int | None
    pieces: int
    end_stream: bool
    priority: bool


STEPS = st.builds(
    Step,
    slot=st.integers(0, 3),
    kind=st.sampled_from(
        ["data"] * 5 + ["trailers", "reset", "window", "connection window", "priority", "ping", "settings", "goaway"]
    ),
    size=st.one_of(st.integers(0, 40), st.sampled_from([1000, 16128])),
    padding=st.one_of(st.none(), st.integers(0, 255)),
    pieces=st.integers(1, 8),
    end_stream=st.integers(0, 5).map(lambda n: n == 0),
    priority=st.booleans(),
)


@dataclass
class Script:
    """Turns steps into the bytes of one direction, stream states and header compression kept in order."""

    client: bool
    encoder: Encoder = field(default_factory=Encoder)
    streams: dict[int, int] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    next_id: int = 1

    def write(self, steps: list[Step]) -> bytes:
        frames: list[Frame] = [SettingsFrame(0), SettingsFrame(0, flags=["ACK"])]
        for step in steps:
            frames += self._frames(step)
        return (PREFACE if self.client else b"") + b"".join(frame.serialize() for frame in frames)

    def _frames(self, step: Step) -> Iterator[Frame]:
        match step.kind:
            case "ping":
                yield PingFrame(0, b"%08d" % step.size)
            case "settings":
                yield SettingsFrame(0, settings={4: 65535 + step.size, 3: 100 + step.slot})
            case "connection window":
                yield WindowUpdateFrame(0, window_increment=step.size + 1)
            case "priority" if self.client:
                yield PriorityFrame(99 + 2 * step.slot, depends_on=step.pieces, stream_weight=step.size % 256)
            case _:
                yield from self._on_stream(step)

    def _on_stream(self, step: Step) -> Iterator[Frame]:
        stream_id = self.streams.get(step.slot)
        if stream_id is None:
            if self.client:
                stream_id = self.streams[step.slot] = self.next_id
                self.next_id += 2
                yield from self._block(stream_id, (*REQUEST, (b"x-note", b"n" * step.size)), step)
        elif step.kind == "window":
            yield WindowUpdateFrame(stream_id, window_increment=step.size + 1)
        elif step.kind == "reset":
            del self.streams[step.slot]
            yield RstStreamFrame(stream_id, error_code=step.size % 14)
        elif step.kind == "goaway" and not self.client:
            self.streams = {slot: known for slot, known in self.streams.items() if known <= stream_id}
            yield GoAwayFrame(0, last_stream_id=stream_id, error_code=0)
        elif not self.client and stream_id not in self.answered:
            yield from self._answer(stream_id, step)
        elif step.kind == "trailers":
            yield from self._block(stream_id, TRAILERS, replace(step, end_stream=True))
        else:
            yield self._data(stream_id, step)

    def _answer(self, stream_id: int, step: Step) -> Iterator[Frame]:
        if step.kind == "trailers":
            yield from self._block(stream_id, ((b":status", b"104"),), replace(step, end_stream=False))
        else:
            self.answered.add(stream_id)
            yield from self._block(stream_id, ((b":status", b"201"), (b"x-note", b"n" * step.size)), step)

    def _block(self, stream_id: int, fields: tuple[Header, ...], step: Step) -> Iterator[Frame]:
        block = self.encoder.encode(list(fields))
        size = -(-len(block) // step.pieces)
        parts = [block[at : at + size] for at in range(0, len(block), size)]
        head = HeadersFrame(stream_id, parts[0])
        if step.padding is not None and len(parts[0]) < 16000:
            head.flags.add("PADDED")
            head.pad_length = step.padding
        if step.priority and self.client:
            head.flags.add("PRIORITY")
            head.stream_weight = step.padding or 0
        if step.end_stream:
            head.flags.add("END_STREAM")
            del self.streams[step.slot]
        frames = [head, *(ContinuationFrame(stream_id, part) for part in parts[1:])]
        frames[-1].flags.add("END_HEADERS")
        yield from frames

    def _data(self, stream_id: int, step: Step) -> DataFrame:
        frame = DataFrame(stream_id, bytes([step.slot]) * step.size)
        if step.padding is not None:
            frame.flags.add("PADDED")
            frame.pad_length = step.padding
        if step.end_stream:
            frame.flags.add("END_STREAM")
            del self.streams[step.slot]
        return frame


def pieces(data: bytes, cuts: list[int]) -> Iterator[memoryview]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, stop in pairwise(at):
        yield memoryview(data)[start:stop]


def play(engine: Engine, data: bytes, cuts: list[int], answers: list[str]) -> tuple[list[Event], bytes]:
    """Feed the bytes; credit what comes and answer each request as told, at once. Events, and what was written."""
    events: list[Event] = []
    written = engine.data_to_send()
    for piece in pieces(data, cuts):
        found = engine.receive(piece)
        events += found
        for event in found:
            if isinstance(event, Data):
                engine.credit(event.stream_id, len(event.data))
            elif isinstance(event, Headers) and event.headers[0][0] == b":method":
                answer(engine, event.stream_id, answers[event.stream_id // 2 % len(answers)])
        written += engine.data_to_send()
    return events, written


def answer(engine: Engine, stream_id: int, how: str) -> None:
    if how == "answer":
        engine.respond(stream_id, ((b":status", b"201"),), end_stream=True)
    elif how == "answer with body":
        engine.respond(stream_id, ((b":status", b"200"),), end_stream=False)
        engine.send_data(stream_id, b"b" * 1000, end_stream=True)
    elif how == "reset":
        engine.reset(stream_id, ErrorCode.NO_ERROR)


def normal(events: list[Event]) -> list[Event]:
    """See the module's words."""
    found: list[Event] = []
    for event in events:
        if isinstance(event, WindowOpened):
            continue
        last = found[-1] if found else None
        if isinstance(event, Data):
            if not event.data and not event.end_stream:
                continue
            if isinstance(last, Data) and last.stream_id == event.stream_id:
                found[-1] = Data(event.stream_id, last.data + event.data, event.end_stream)
                continue
        found.append(event)
    return [
        event
        for _, run in groupby(found, lambda e: left_out(e) is None)
        for event in sorted(run, key=lambda e: left_out(e) or 0)
    ]


def left_out(event: Event) -> int | None:
    """The stream, if this tells that a GOAWAY left it out."""
    return event.stream_id if isinstance(event, Reset) and not event.remote else None


def opened(events: list[Event], streams: set[int]) -> list[int]:
    return [event.stream_id for event in events if isinstance(event, WindowOpened) and event.stream_id in streams]


def frames(written: bytes, kind: type[Frame]) -> list[bytes]:
    found = []
    while written:
        size = 9 + int.from_bytes(written[:3], "big")
        if written[3] == kind.type:
            found.append(written[:size])
        written = written[size:]
    return found


CUTS = st.lists(st.integers(0, 1 << 20), max_size=12)
ANSWERS = st.lists(st.sampled_from(["wait", "answer", "answer with body", "reset"]), min_size=1, max_size=4)


@given(steps=st.lists(STEPS, max_size=40), cuts=CUTS, answers=ANSWERS)
@LIMITS
def test_servers_tell_the_same_of_the_same_requests(steps: list[Step], cuts: list[int], answers: list[str]) -> None:
    data = Script(client=True).write(steps)
    (left, left_out), (right, right_out) = (
        play(kind(Role.SERVER, EngineSettings()), data, cuts, answers) for kind in ENGINES
    )
    assert normal(left) == normal(right)
    waiting = {event.stream_id for event in left if isinstance(event, Headers)} if answers == ["wait"] else set()
    assert opened(left, {0, *waiting}) == opened(right, {0, *waiting})
    assert frames(left_out, PingFrame) == frames(right_out, PingFrame)
    assert not frames(left_out, GoAwayFrame)
    assert not frames(right_out, GoAwayFrame)


@given(steps=st.lists(STEPS, max_size=40), cuts=CUTS)
@LIMITS
def test_clients_tell_the_same_of_the_same_answers(steps: list[Step], cuts: list[int]) -> None:
    script = Script(client=False, streams={slot: 2 * slot + 1 for slot in range(4)})
    data = script.write(steps)
    results = []
    for kind in ENGINES:
        engine = kind(Role.CLIENT, EngineSettings())
        for slot in range(4):
            engine.request(REQUEST, end_stream=slot % 2 == 0)
        results.append(play(engine, data, cuts, ["wait"]))
    (left, left_out), (right, right_out) = results
    assert normal(left) == normal(right)
    assert opened(left, {0}) == opened(right, {0})
    assert frames(left_out, PingFrame) == frames(right_out, PingFrame)
    assert not any(frames(out, kind) for out in (left_out, right_out) for kind in (GoAwayFrame, RstStreamFrame))


@pytest.mark.parametrize("kind", ENGINES)
@given(
    steps=st.lists(STEPS, max_size=20),
    cuts=CUTS,
    answers=ANSWERS,
    damage=st.lists(st.tuples(st.integers(24, 1 << 20), st.binary(min_size=1, max_size=12)), max_size=4),
)
@LIMITS
def test_damaged_frames_raise_nothing_and_the_end_is_silent(
    kind: type[Engine], steps: list[Step], cuts: list[int], answers: list[str], damage: list[tuple[int, bytes]]
) -> None:
    data = bytearray(Script(client=True).write(steps))
    for at, junk in damage:
        start = at % len(data)
        data[start : start + len(junk)] = junk
    engine = kind(Role.SERVER, EngineSettings())
    play(engine, bytes(data), cuts, answers)
    while engine.data_to_send():
        pass
    if engine.done:
        assert engine.receive(memoryview(PingFrame(0, b"anybody?").serialize())) == []
        assert engine.data_to_send() == b""
