"""What a conformance case is: what is sent, and what the RFC lets be seen then; and the run of one on any wire.

A wire is an engine with a small application on it, or a gateway at the other end of a TLS connection: a case does not
know. After its frames two PINGs are sent, so that all a case caused is seen before it is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from hpack import Decoder

from h2gate.wire.engine import ErrorCode
from tests.wire.octets import ACK, END_STREAM, PREFACE, Kind, frame, ping, settings

MAX_STREAMS = 8
"""What every wire lets a case open at once."""
FRAME_BYTES = 1 << 16
"""The longest frame that every wire takes."""
PROBES = (b"probe 1.", b"probe 2.")
SETTINGS_ACK = frame(Kind.SETTINGS, ACK, 0)
OPENING = PREFACE + settings() + SETTINGS_ACK


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame that came back."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


@dataclass(slots=True)
class Sight:
    """All that came back, and whether the connection is closed."""

    frames: list[Seen] = field(default_factory=list)
    closed: bool = False
    statuses: dict[int, list[int]] = field(default_factory=dict)
    _rest: bytes = b""
    _decoder: Decoder = field(default_factory=Decoder)

    def take(self, received: bytes) -> None:
        self._rest += received
        while len(self._rest) >= 9 and len(self._rest) >= (size := 9 + int.from_bytes(self._rest[:3], "big")):
            head, payload = self._rest[:9], self._rest[9:size]
            self._rest = self._rest[size:]
            found = Seen(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
            self.frames.append(found)
            if found.kind == Kind.HEADERS:
                status = dict(self._decoder.decode(payload, raw=True)).get(b":status", b"0")
                self.statuses.setdefault(found.stream_id, []).append(int(status))

    def of(self, kind: int, stream_id: int) -> Iterator[Seen]:
        return (each for each in self.frames if (each.kind, each.stream_id) == (kind, stream_id))

    def sizes(self, stream_id: int) -> tuple[int, ...]:
        """Of the DATA frames that carry any."""
        return tuple(len(each.payload) for each in self.of(Kind.DATA, stream_id) if each.payload)

    def ended(self, stream_id: int) -> bool:
        return any(each.flags & END_STREAM for kind in (Kind.DATA, Kind.HEADERS) for each in self.of(kind, stream_id))

    def resets(self, stream_id: int) -> list[int]:
        return [int.from_bytes(each.payload, "big") for each in self.of(Kind.RST_STREAM, stream_id)]

    def goaways(self) -> list[int]:
        return [int.from_bytes(each.payload[4:8], "big") for each in self.of(Kind.GOAWAY, 0)]

    def over(self, stream_id: int) -> bool:
        return self.closed or self.ended(stream_id) or bool(self.resets(stream_id))

    def probed(self, opaque: bytes) -> bool:
        return Seen(Kind.PING, ACK, 0, opaque) in self.frames

    def alive(self) -> bool:
        return not self.closed and not self.goaways() and self.probed(PROBES[-1])


@dataclass(frozen=True, slots=True)
class Wait:
    """A step: until the stream is over, or `n_bytes` of its answer came."""

    stream_id: int = 1
    n_bytes: int | None = None

    def met(self, sight: Sight) -> bool:
        came = self.n_bytes is not None and sum(sight.sizes(self.stream_id)) >= self.n_bytes
        return came or sight.over(self.stream_id)


class Outcome(Protocol):
    def holds(self, sight: Sight) -> bool:
        """Whether this is what was seen."""


@dataclass(frozen=True, slots=True)
class Ends:
    """A connection error (RFC 9113 section 5.4.1): GOAWAY with one of these codes, nothing after it, and a close."""

    codes: tuple[ErrorCode, ...]
    said: bool = True
    """False where the GOAWAY may be left away."""

    def holds(self, sight: Sight) -> bool:
        told = sight.goaways()
        if not (told and sight.closed):
            return sight.closed and not self.said
        return told[-1] in self.codes and sight.frames[-1].kind == Kind.GOAWAY


@dataclass(frozen=True, slots=True)
class Resets:
    """A stream error (section 5.4.2): RST_STREAM with one of these codes, and the connection goes on."""

    stream_id: int
    codes: tuple[ErrorCode, ...]

    def holds(self, sight: Sight) -> bool:
        return sight.alive() and len(told := sight.resets(self.stream_id)) == 1 and told[0] in self.codes


@dataclass(frozen=True, slots=True)
class Answers:
    """The request is answered as far as `ended` says; nothing is reset."""

    stream_id: int = 1
    status: int | None = None
    sizes: tuple[int, ...] | None = None
    """Of the DATA frames, to the byte."""
    ended: bool = True
    block_begins: bytes = b""

    def wait(self) -> Wait:
        """Until it may be judged."""
        return Wait(self.stream_id, None if self.ended else sum(self.sizes or ()))

    def holds(self, sight: Sight) -> bool:
        blocks = [each.payload for each in sight.of(Kind.HEADERS, self.stream_id)]
        return (
            sight.alive()
            and not sight.resets(self.stream_id)
            and bool(blocks)
            and blocks[-1].startswith(self.block_begins)
            and sight.ended(self.stream_id) == self.ended
            and self.status in (None, sight.statuses[self.stream_id][-1])
            and self.sizes in (None, sight.sizes(self.stream_id))
        )


@dataclass(frozen=True, slots=True)
class GoesOn:
    """Nothing happens: no stream and not the connection comes to an end, and no answer."""

    def holds(self, sight: Sight) -> bool:
        known = (Kind.RST_STREAM, Kind.HEADERS, Kind.DATA)
        return sight.alive() and not any(each.kind in known for each in sight.frames)


@dataclass(frozen=True, slots=True)
class Says:
    """So often, and no oftener, this frame came back; the connection goes on."""

    octets: bytes
    times: int = 1

    def holds(self, sight: Sight) -> bool:
        told = (frame(each.kind, each.flags, each.stream_id, each.payload) for each in sight.frames)
        return sight.alive() and sum(each == self.octets for each in told) == self.times


@dataclass(frozen=True, slots=True)
class Begins:
    """The first frame is SETTINGS, and not an acknowledgement (section 3.4)."""

    def holds(self, sight: Sight) -> bool:
        return sight.alive() and sight.frames[0].kind == Kind.SETTINGS and not sight.frames[0].flags & ACK


Step: TypeAlias = bytes | Wait


@dataclass(frozen=True, slots=True)
class Case:
    id: str
    """RFC, section and name, as in `rfc9113-5.1-idle-data`."""
    steps: tuple[Step, ...]
    """Octets are sent in one piece."""
    allowed: tuple[Outcome, ...]
    opening: bytes = OPENING

    @property
    def section(self) -> str:
        """As in `rfc9113-5.1`."""
        return "-".join(self.id.split("-")[:2])


class Wire(Protocol):
    """One connection to what is tested. Neither call waits without bound."""

    def write(self, octets: bytes) -> None:
        """Send, or drop where the other end has closed."""

    def read(self) -> bytes | None:
        """What came, None once it is closed. An engine that has no more to say gives nothing."""


def run(case: Case, wire: Wire) -> Sight:
    """Send what the case says; all that came back until both probes were answered or the connection was closed."""
    sight = Sight()
    wire.write(case.opening)
    for step in (*case.steps, *(outcome.wait() for outcome in case.allowed if isinstance(outcome, Answers))):
        if isinstance(step, bytes):
            wire.write(step)
        else:
            _watch(wire, sight, step)
    for opaque in PROBES:
        wire.write(ping(opaque))
        while not (sight.closed or sight.probed(opaque)) and _look(wire, sight):
            pass
    return sight


def _watch(wire: Wire, sight: Sight, wait: Wait) -> None:
    while not wait.met(sight) and _look(wire, sight):
        pass


def _look(wire: Wire, sight: Sight) -> bool:
    """Read once; whether anything came."""
    received = wire.read()
    sight.closed = received is None
    sight.take(received or b"")
    return bool(received)


def connection_error(*codes: ErrorCode) -> tuple[Outcome, ...]:
    return (Ends(codes),)


def stream_error(*codes: ErrorCode, stream_id: int = 1) -> tuple[Outcome, ...]:
    """May be treated as a connection error (section 5.4.1)."""
    return (Resets(stream_id, codes), Ends(codes))


ANSWERED: tuple[Outcome, ...] = (Answers(),)
MALFORMED: tuple[Outcome, ...] = (*stream_error(ErrorCode.PROTOCOL_ERROR), Answers(status=400))
"""Section 8.1.1: a server may answer before it resets the stream."""


def rfc9113(name: str, *steps: Step, allow: tuple[Outcome, ...], opening: bytes = OPENING) -> Case:
    return Case(f"rfc9113-{name}", steps, allow, opening)


def rfc7541(name: str, *steps: Step, allow: tuple[Outcome, ...], opening: bytes = OPENING) -> Case:
    return Case(f"rfc7541-{name}", steps, allow, opening)
