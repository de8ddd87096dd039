"""The default engine and the reference engine tell and write the same of a peer that keeps to RFC 9113.

Header blocks in CONTINUATION, padding, table sizes, SETTINGS and windows that change while we send, our own calls in
between. Which bytes share a frame may differ, and when credit is given; where the connection's window is short, also
which stream has how much of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from h2gate.wire.engine import Data, Engine, EngineSettings, Event, Header, Headers, Reset, Role, Trailers
from h2gate.wire.nghttp2 import Nghttp2Engine
from h2gate.wire.reference import ReferenceEngine
from tests.fuzz.source import Source, pieces
from tests.fuzz.targets.frame import FIELDS, PREFACE
from tests.wire.test_differential import normal

N_STREAMS = 4
MAX_STEPS = 60
LARGE = 1 << 24
RESET = 12


class _Unknown(Frame):
    """Of a type that nobody knows (RFC 9113 section 5.5)."""

    type = 0xE0
    stream_association = None

    def __init__(self, stream_id: int, body: bytes) -> None:
        super().__init__(stream_id)
        self._body = body

    def serialize_body(self) -> bytes:
        return self._body


@dataclass(frozen=True)
class Call:
    """What our side does next; `number` says what, where that is possible on the stream as it is."""

    number: int
    slot: int
    size: int


def run(data: bytes) -> None:
    source = Source(data)
    role, cuts, is_wide = source.one_of((Role.SERVER, Role.CLIENT)), source.cuts(), source.flag()
    calls = [Call(source.number(15), source.number(3), source.number(30_000)) for _ in range(source.number(24))]
    resets = any(each.number == RESET and each.size % 4 == 0 for each in calls)
    received = Peer(role, is_wide, informs=not resets).write(source)  # h2 takes no 1xx on a stream that we have reset
    ours, theirs = (_played(kind, role, received, cuts, calls) for kind in (Nghttp2Engine, ReferenceEngine))
    for index, (one, other) in enumerate(zip_longest(normal(ours.events), normal(theirs.events))):
        assert one == other, f"event {index}: {one!s:.99} where the reference tells {other!s:.99}"
    _compare(Written.of(ours.written), Written.of(theirs.written), is_wide)
    assert not is_wide or ours.queued == theirs.queued, "another number of bytes is queued"


@dataclass
class Peer:
    """Writes valid frames: what it may do on a stream is what the stream's state lets it."""

    role: Role
    is_wide: bool
    """The connection's window is never short."""
    informs: bool
    encoder: Encoder = field(default_factory=Encoder)
    open: dict[int, bool] = field(default_factory=dict)
    """Streams on which it may still send: whether its final header section is out."""
    next_id: int = 1

    def write(self, source: Source) -> bytes:
        frames: list[Frame] = [SettingsFrame(0), SettingsFrame(0, flags=["ACK"])]
        if self.role is Role.CLIENT:
            self.open = {2 * slot + 1: False for slot in range(N_STREAMS)}
        if self.is_wide:
            frames.append(WindowUpdateFrame(0, window_increment=LARGE))
        for _ in range(MAX_STEPS):
            if source.is_empty:
                break
            frames += self._step(source)
        return (PREFACE if self.role is Role.SERVER else b"") + b"".join(each.serialize() for each in frames)

    def _step(self, source: Source) -> Iterator[Frame]:
        match source.number(15):
            case 0:
                yield PingFrame(0, source.taken(8).ljust(8, b"."))
            case 1:
                yield SettingsFrame(0, settings=dict(self._setting(source) for _ in range(source.number(3))))
            case 2:
                yield WindowUpdateFrame(0, window_increment=1 + source.number(9000))
            case 3 if self.role is Role.SERVER:
                yield PriorityFrame(1 + 2 * source.number(20), depends_on=0, stream_weight=source.number(255))
            case 4:
                yield _Unknown(0, body=source.taken(source.number(50)))
            case 5 | 6 if self.role is Role.SERVER and len(self.open) < N_STREAMS:
                self.open[self.next_id] = True
                self.next_id += 2
                yield from self._headers(self.next_id - 2, list(FIELDS), source, self._flag(source))
            case number if self.open:
                yield from self._on_stream(number, source.one_of(sorted(self.open)), source)

    def _setting(self, source: Source) -> tuple[int, int]:
        name = source.one_of((1, 3, 4, 4, 4, 5, 6, 0x99))
        least, most = {1: (0, 8192), 3: (0, 200), 4: (0, 70_000), 5: (16_384, 70_000)}.get(name, (5000, 100_000))
        return name, least + source.number(most - least)

    def _flag(self, source: Source) -> bool:
        return source.number(4) == 4

    def _on_stream(self, number: int, stream_id: int, source: Source) -> Iterator[Frame]:
        is_answered, ends = self.open[stream_id], self._flag(source)
        if number == 7:
            del self.open[stream_id]
            yield RstStreamFrame(stream_id, error_code=source.number(13))
        elif number == 8:
            yield WindowUpdateFrame(stream_id, window_increment=1 + source.number(20_000))
        elif not is_answered and number < 11 and self.informs:
            yield from self._headers(stream_id, [(b":status", b"103")], source, ends=False)
        elif not is_answered:
            self.open[stream_id] = True
            yield from self._headers(stream_id, [(b":status", b"200")], source, ends)
        elif number == 9:
            yield from self._headers(stream_id, [], source, ends=True)
        else:
            frame = DataFrame(stream_id, source.taken(source.number(300)) * (1 + source.number(20)))
            self._finish(frame, source, ends)
            yield frame

    def _finish(self, frame: DataFrame | HeadersFrame, source: Source, ends: bool) -> None:
        if source.flag():
            frame.flags.add("PADDED")
            frame.pad_length = source.number(255)
        if ends:
            frame.flags.add("END_STREAM")
            del self.open[frame.stream_id]

    def _headers(self, stream_id: int, fields: list[Header], source: Source, ends: bool) -> Iterator[Frame]:
        if source.number(9) == 9:
            self.encoder.header_table_size = source.number(4096)
        fields.append((b"x-note", b"n%x" % source.number(0xFFFF) * (1 + source.one_of((0, 1, 20, 60, 300)))))
        block = self.encoder.encode(fields)
        size = max(1, -(-len(block) // (1 + source.number(7))))
        first, *more = [block[at : at + size] for at in range(0, len(block), size)]
        head = HeadersFrame(stream_id, first)
        self._finish(head, source, ends)
        frames: list[Frame] = [head, *(ContinuationFrame(stream_id, each) for each in more)]
        frames[-1].flags.add("END_HEADERS")
        yield from frames


@dataclass
class Played:
    """What an engine told and wrote."""

    events: list[Event]
    written: bytes
    queued: list[tuple[int, int]]


@dataclass
class Ours:
    """A stream on our side."""

    answered: bool
    ended: bool = False
    is_over: bool = False
    uncredited: int = 0


def _played(kind: type[Engine], role: Role, received: bytes, cuts: Sequence[int], calls: Sequence[Call]) -> Played:
    engine = kind(role, EngineSettings())
    streams: dict[int, Ours] = {}
    if role is Role.CLIENT:
        streams = {engine.request(FIELDS, end_stream=False): Ours(answered=True) for _ in range(N_STREAMS)}
    events: list[Event] = []
    queued: list[tuple[int, int]] = []
    written, left = _drained(engine), list(calls)
    for piece in pieces(received, cuts):
        found = engine.receive(memoryview(piece))
        events += found
        for event in found:
            _note(event, role, streams)
        written += _drained(engine)  # before our calls: what leaves ahead of a reset is then the same
        for call in left[:4]:
            _call(engine, call, streams)
            written += _drained(engine)  # nor may a reset overtake an answer here and not there
        left = left[4:]
        queued += [(stream_id, engine.queued_bytes(stream_id)) for stream_id in streams]
    # nghttp2 ends no stream while its window is shut, though that would need no window: open them all.
    engine.receive(memoryview(SettingsFrame(0, settings={4: LARGE}).serialize()))
    written += _drained(engine)
    return Played(events, written, queued)


def _drained(engine: Engine) -> bytes:
    return b"".join(iter(engine.data_to_send, b""))


def _note(event: Event, role: Role, streams: dict[int, Ours]) -> None:
    match event:
        case Headers(stream_id) if role is Role.SERVER:
            streams[stream_id] = Ours(answered=False)
        case Data(stream_id, data):
            streams[stream_id].uncredited += len(data)
        case Reset(stream_id):
            streams[stream_id].is_over = True
        case Trailers(stream_id):
            assert stream_id in streams


def _call(engine: Engine, call: Call, streams: dict[int, Ours]) -> None:
    ids = sorted(streams)
    if call.number == 0:
        engine.ping(b"%08d" % call.size)
    elif call.number == 1 and call.size > 27_000:  # no `goaway`: in the midst of a header block it may name that or not
        engine.shutdown_notice()
    elif ids:
        stream_id = ids[-1 - call.slot % len(ids)]
        _call_on(engine, call, stream_id, streams[stream_id])


def _call_on(engine: Engine, call: Call, stream_id: int, stream: Ours) -> None:
    may_send = stream.answered and not stream.ended and not stream.is_over
    match call.number:
        case 3 | 4 | 5 | 6 if not stream.answered and not stream.is_over:
            stream.answered, stream.ended = True, call.number == 6
            note = (b"x-note", b"%d" % (call.size % 7) * (call.size % 90))
            engine.respond(stream_id, ((b":status", b"200"), note), end_stream=stream.ended)
        case 7 if not stream.answered and not stream.is_over:
            engine.inform(stream_id, ((b":status", b"104"), (b"upload-offset", b"%d" % call.size)))
        case 8 | 9 | 10 if may_send:
            stream.ended = call.number == 10
            engine.send_data(stream_id, bytes([call.size % 251]) * call.size, end_stream=stream.ended)
        case 11 if may_send:
            stream.ended = True
            engine.send_trailers(stream_id, ((b"x-end", b"%d" % call.size),))
        case number if number == RESET and call.size % 4 == 0:
            stream.is_over = True
            engine.reset(stream_id, call.size % 14)
        case 13:
            engine.set_window(stream_id, (1 << 20) + call.size)
        case 14:
            engine.credit(stream_id, n_bytes := min(stream.uncredited, call.size))
            stream.uncredited -= n_bytes
        case _:
            engine.credit(stream_id, stream.uncredited)
            stream.uncredited = 0


@dataclass
class Written:
    """What was written, by stream."""

    sections: dict[int, list[tuple[tuple[Header, ...], bool]]] = field(default_factory=lambda: defaultdict(list))
    body: dict[int, bytes] = field(default_factory=lambda: defaultdict(bytes))
    ended: set[int] = field(default_factory=set)
    resets: dict[int, int] = field(default_factory=dict)
    """With the first code: the reference answers late frames with one more each."""
    others: list[tuple[int, int, bytes]] = field(default_factory=list)
    """PING, SETTINGS that acknowledge, and GOAWAY without its debug data, once."""

    @classmethod
    def of(cls, written: bytes) -> Written:
        found, decoder = cls(), Decoder()
        decoder.max_allowed_table_size = 1 << 16
        left = written.removeprefix(PREFACE)
        while left:
            end = 9 + int.from_bytes(left[:3], "big")
            assert len(left) >= end
            found._take(left[3], left[4], int.from_bytes(left[5:9], "big"), left[9:end], decoder)
            left = left[end:]
        return found

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes, decoder: Decoder) -> None:
        ends = bool(flags & 1)
        if kind == 1:
            assert flags & 4, "our sections are short"
            fields = decoder.decode(payload[5:] if flags & 0x20 else payload, raw=True)
            self.sections[stream_id].append((tuple((name, value) for name, value in fields), ends))
        elif kind == 0:
            self.body[stream_id] += payload
        elif kind == 3:
            self.resets.setdefault(stream_id, int.from_bytes(payload, "big"))
        elif kind == 6 or (kind == 4 and ends) or (kind == 7 and (kind, flags, payload[:8]) not in self.others):
            self.others.append((kind, flags, payload[:8]))
        if kind in (0, 1) and ends:
            self.ended.add(stream_id)


def _compare(ours: Written, theirs: Written, is_wide: bool) -> None:
    assert sorted(ours.others) == sorted(theirs.others)
    assert ours.resets == theirs.resets
    if is_wide:
        assert ours.sections == theirs.sections
        assert ours.ended == theirs.ended
        for stream_id in {*ours.body, *theirs.body}:
            one, other = ours.body[stream_id], theirs.body[stream_id]
            assert one == other, f"stream {stream_id}: {len(one)} bytes where the reference sends {len(other)}"
    else:
        assert sum(map(len, ours.body.values())) == sum(map(len, theirs.body.values()))
