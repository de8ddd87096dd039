"""HTTP/2 frames into both engines, in either role: valid ones in any order, broken ones, and bytes that are none.

Nothing is raised, what is written is whole frames and not more than what came is worth, no event comes for a stream
that is unknown or over, and after a connection error the engine is `done` and silent.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from hpack import Encoder

from h2gate.wire.engine import (
    Data,
    Engine,
    EngineSettings,
    ErrorCode,
    Event,
    Header,
    Headers,
    Informational,
    Reset,
    Role,
    StreamsExhausted,
    Trailers,
)
from h2gate.wire.frame_limits import FrameLimits
from h2gate.wire.nghttp2 import Nghttp2Engine
from h2gate.wire.reference import ReferenceEngine
from tests.fuzz.source import Source, pieces

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ENGINES: Sequence[type[Engine]] = (Nghttp2Engine, ReferenceEngine)
LIMITS = EngineSettings(
    max_streams=4, max_header_list_bytes=4096, limits=FrameLimits(resets=10, stream_errors=10, pings=20)
)
FIELDS: tuple[Header, ...] = (
    (b":method", b"PUT"),
    (b":scheme", b"https"),
    (b":authority", b"gate.example"),
    (b":path", b"/files/a"),
)
MAX_FRAMES = 60


def run(data: bytes) -> None:
    source = Source(data)
    role, cuts = source.one_of((Role.CLIENT, Role.SERVER)), source.cuts()
    calls = [source.number(0xFF) for _ in range(source.number(24))]
    received = (PREFACE if role is Role.SERVER else b"") + (
        _frames(source, role) if source.flag() else _settings() + source.rest()
    )
    for kind in ENGINES:
        Play(kind, role).all(received, cuts, calls)


def _frames(source: Source, role: Role) -> bytes:
    encoder, found = Encoder(), [_settings()]
    while not source.is_empty and len(found) < MAX_FRAMES:
        found.append(_frame(source, encoder, role))
    return b"".join(found)


def _settings() -> bytes:
    return frame(4, 0, 0, b"") + frame(4, 1, 0, b"")


def _frame(source: Source, encoder: Encoder, role: Role) -> bytes:
    """One frame, mostly of the form that its kind has; its payload is told from the front."""
    kind, stream_id = source.number(10), source.one_of((1, 3, 5, 7, 1, 3, 2, 0, 9, 0x7FFFFFFF))
    flags = source.one_of((0, 1, 4, 5, 4, 5, 8, 0xD, 0x20, 0x2D, 0xFF))
    match kind:
        case 1 | 10:
            payload = _block(source, encoder, role)
        case 3 | 8:
            payload = source.number(2**31).to_bytes(4, "big")
        case 4:
            entries = [struct.pack("!HI", source.number(9), source.number(2**32 - 1)) for _ in range(source.number(3))]
            payload, stream_id, flags = b"".join(entries), 0, flags & 1
        case 6:
            payload, stream_id = source.taken(8).ljust(8, b"."), 0
        case 7:
            payload, stream_id = struct.pack("!II", source.number(9), source.number(13)), 0
        case _:
            payload = source.taken(source.number(400))
    if flags & 8 and kind in (0, 1, 10):
        n_padding = source.number(0xFF)
        payload = bytes([n_padding]) + payload + bytes(n_padding)
    if source.number(30) == 30:
        payload = source.taken(source.number(20))  # of the wrong form
    return frame(1 if kind == 10 else kind, flags, stream_id, payload, source.number(40) // 40)


def _block(source: Source, encoder: Encoder, role: Role) -> bytes:
    fields = list(FIELDS if role is Role.SERVER else ((b":status", source.one_of((b"200", b"104", b"100", b"7"))),))
    match source.number(5):
        case 0:
            fields.append((source.taken(source.number(20)), source.taken(source.number(50))))
        case 1:
            fields[source.number(len(fields) - 1)] = (b":path", source.taken(source.number(20)))
        case 2:
            fields.append((b"content-length", b"%d" % source.number(300)))
        case 3:
            return source.taken(source.number(100))  # no header block, perhaps
        case 4:
            fields = [(b"x-note", source.taken(10))]  # trailers
    return encoder.encode(fields)


def frame(kind: int, flags: int, stream_id: int, payload: bytes, lie: int = 0) -> bytes:
    length = len(payload) + lie
    return length.to_bytes(3, "big") + bytes([kind, flags]) + struct.pack("!I", stream_id) + payload


@dataclass
class Stream:
    """One that we know, and how far we are with it."""

    answered: bool
    ended: bool = False
    received_end: bool = False
    has_answer: bool = False
    is_over: bool = False
    uncredited: int = 0


@dataclass
class Play:
    """One engine under the bytes of a peer and the calls of its own side, which keep to the order of the protocol."""

    kind: type[Engine]
    role: Role
    streams: dict[int, Stream] = field(default_factory=dict)
    written: bytearray = field(default_factory=bytearray)
    n_queued: int = 0

    def all(self, received: bytes, cuts: Sequence[int], calls: Sequence[int]) -> None:
        self.engine = self.kind(self.role, LIMITS)
        if self.role is Role.CLIENT:
            for _ in range(3):
                self.streams[self.engine.request(FIELDS, end_stream=False)] = Stream(answered=True)
        self._drain()
        left = list(calls)
        for piece in pieces(received, cuts):
            for event in self.engine.receive(memoryview(piece)):
                self._take(event)
            for call in left[:3]:
                self._call(call)
            left = left[3:]
            self._drain()
        self._check_end(len(received))

    def _drain(self) -> None:
        for _ in range(1000):
            if not (found := self.engine.data_to_send()):
                return
            self.written += found
        raise AssertionError("there is always more to send")

    def _take(self, event: Event) -> None:
        stream_id = getattr(event, "stream_id", 0)
        if isinstance(event, Headers) and self.role is Role.SERVER:
            assert stream_id not in self.streams, "a second request on one stream"
            self.streams[stream_id] = Stream(answered=False, received_end=event.end_stream, has_answer=True)
            return
        if not isinstance(event, Headers | Informational | Data | Trailers | Reset):
            return
        stream = self.streams[stream_id]
        if isinstance(event, Data):
            stream.uncredited += len(event.data)
        if stream.is_over:
            assert not isinstance(event, Reset | Headers), "after its end"
            return
        if isinstance(event, Reset):
            stream.is_over = True
            return
        assert not stream.received_end, f"{event} after the end"
        if isinstance(event, Headers):
            assert not stream.has_answer, "a second answer"
            stream.has_answer = True
        stream.received_end = isinstance(event, Trailers) or getattr(event, "end_stream", False)

    def _call(self, call: int) -> None:
        ids = list(self.streams)
        match call % 16:
            case 0:
                self.engine.ping(b"%08d" % call)
            case 1 if call > 200:
                self.engine.goaway()
            case 1 if call > 150:
                self.engine.shutdown_notice()
            case 2 if self.role is Role.CLIENT:
                self._request()
            case number if ids:
                self._on_stream(number, ids[(call >> 4) % len(ids)])

    def _request(self) -> None:
        with suppress(StreamsExhausted):
            self.streams[self.engine.request(FIELDS, end_stream=False)] = Stream(answered=True)

    def _on_stream(self, number: int, stream_id: int) -> None:
        engine, stream = self.engine, self.streams[stream_id]
        may_answer = not stream.answered and not stream.is_over
        may_send = stream.answered and not stream.ended and not stream.is_over
        match number:
            case 3 | 4 | 5 if may_answer:
                stream.answered, stream.ended = True, number == 3
                engine.respond(stream_id, ((b":status", b"201"),), end_stream=stream.ended)
            case 6 if may_answer:
                engine.inform(stream_id, ((b":status", b"104"),))
            case 7 | 8 | 9 if may_send:
                stream.ended = number == 9
                self.n_queued += 5000
                engine.send_data(stream_id, bytes(5000), end_stream=stream.ended)
            case 10 if may_send:
                stream.ended = True
                engine.send_trailers(stream_id, ((b"x-note", b"end"),))
            case 11:
                stream.is_over = True
                engine.reset(stream_id, ErrorCode.CANCEL)
            case 12:
                engine.set_window(stream_id, 1 << 20)
            case 13:
                assert 0 <= engine.queued_bytes(stream_id) <= self.n_queued
            case _:
                engine.credit(stream_id, stream.uncredited)
                stream.uncredited = 0

    def _check_end(self, n_received: int) -> None:
        engine = self.engine
        left = bytes(self.written).removeprefix(PREFACE)
        broken = False
        while left:
            length = int.from_bytes(left[:3], "big")
            assert len(left) >= 9 + length, "half a frame was written"
            broken = broken or (left[3] == 7 and left[13:17] != bytes(4))
            left = left[9 + length :]
        assert len(self.written) <= 2000 + 40 * n_received + 2 * self.n_queued, "it says more than there is to say"
        assert engine.done or not broken, "GOAWAY was written, and it goes on"
        if engine.done:
            assert engine.receive(memoryview(frame(6, 0, 0, b"anybody?"))) == []
            assert engine.data_to_send() == b""
