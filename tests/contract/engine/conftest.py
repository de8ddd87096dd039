"""Both engines, wired to each other in all four pairings, or one of them to a peer made of raw frames.

`reference_miss(name)` marks what the reference engine is known not to do; there the test must fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pytest
from hpack import Encoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame, SettingsFrame

from h2gate.wire.engine import Data, Engine, EngineSettings, Event, Header, Role
from h2gate.wire.nghttp2 import Nghttp2Engine
from h2gate.wire.reference import ReferenceEngine

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ENGINES: dict[str, type[Nghttp2Engine] | type[ReferenceEngine]] = {
    "nghttp2": Nghttp2Engine,
    "reference": ReferenceEngine,
}
Kind = TypeVar("Kind")


class Side:
    """An engine and the events it has told so far."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.events: list[Event] = []

    def take(self, data: bytes) -> list[Event]:
        found = self.engine.receive(memoryview(data))
        self.events += found
        return found

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    def body(self, stream_id: int) -> bytes:
        return b"".join(event.data for event in self.of(Data) if event.stream_id == stream_id)

    def ended(self, stream_id: int) -> bool:
        return any(event.end_stream for event in self.of(Data) if event.stream_id == stream_id)


class Pair:
    """A client and a server with a wire between them that moves when `pump` is called."""

    def __init__(self, client: Engine, server: Engine) -> None:
        self.near, self.far = Side(client), Side(server)
        self.client, self.server = client, server

    def pump(self) -> None:
        while True:
            up, down = self.client.data_to_send(), self.server.data_to_send()
            if not (up or down):
                return
            self.far.take(up)
            self.near.take(down)

    def forget(self) -> None:
        self.near.events.clear()
        self.far.events.clear()


class RawPeer:
    """The other end of one engine, frame by frame; `feed` tells what the engine made of them."""

    def __init__(self, engine: Engine, role: Role, *, acknowledge: bool) -> None:
        self.engine = engine
        self.side = Side(engine)
        self._encoder = Encoder()
        opening = SettingsFrame(0).serialize()
        engine.data_to_send()
        self.feed(PREFACE + opening if role is Role.SERVER else opening)
        if acknowledge:
            self.feed(SettingsFrame(0, flags=["ACK"]))
        self.frames()
        self.side.events.clear()

    def feed(self, *pieces: bytes | Frame) -> list[Event]:
        return self.side.take(b"".join(piece if isinstance(piece, bytes) else piece.serialize() for piece in pieces))

    def headers(self, stream_id: int, fields: Iterable[Header], *, end_stream: bool = False) -> HeadersFrame:
        frame = HeadersFrame(stream_id, self._encoder.encode(list(fields)), flags=["END_HEADERS"])
        if end_stream:
            frame.flags.add("END_STREAM")
        return frame

    def data(self, stream_id: int, data: bytes, *, end_stream: bool = False, padding: int | None = None) -> DataFrame:
        frame = DataFrame(stream_id, data, pad_length=padding or 0)
        if padding is not None:
            frame.flags.add("PADDED")
        if end_stream:
            frame.flags.add("END_STREAM")
        return frame

    def frames(self) -> list[Frame]:
        """What the engine wrote since the last time."""
        found, data = [], self.engine.data_to_send()
        while data:
            frame, length = Frame.parse_frame_header(memoryview(data[:9]))
            frame.parse_body(memoryview(data[9 : 9 + length]))
            found.append(frame)
            data = data[9 + length :] or self.engine.data_to_send()
        return found


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "reference_miss(name): what the reference engine is known not to do")


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    miss = request.node.get_closest_marker("reference_miss")
    if name == "reference" and miss is not None:
        request.applymarker(pytest.mark.xfail(strict=True, reason=miss.args[0]))
    return name


@pytest.fixture
def bare(engine_name: str) -> Callable[..., Engine]:
    def make(role: Role, **settings: Any) -> Engine:
        return ENGINES[engine_name](role, EngineSettings(**settings))

    return make


@pytest.fixture
def raw(bare: Callable[..., Engine]) -> Callable[..., RawPeer]:
    def make(role: Role = Role.SERVER, *, acknowledge: bool = True, **settings: Any) -> RawPeer:
        return RawPeer(bare(role, **settings), role, acknowledge=acknowledge)

    return make


@pytest.fixture(params=[(client, server) for client in ENGINES for server in ENGINES], ids="-".join)
def make_pair(request: pytest.FixtureRequest) -> Callable[..., Pair]:
    client, server = (ENGINES[name] for name in request.param)

    def make(near: EngineSettings | None = None, far: EngineSettings | None = None) -> Pair:
        pair = Pair(
            client(Role.CLIENT, near or EngineSettings()),
            server(Role.SERVER, far or EngineSettings()),
        )
        pair.pump()
        pair.forget()
        return pair

    return make


@pytest.fixture
def pair(make_pair: Callable[..., Pair]) -> Pair:
    return make_pair()


@pytest.fixture
def put() -> tuple[Header, ...]:
    return ((b":method", b"PUT"), (b":scheme", b"https"), (b":authority", b"gate.example"), (b":path", b"/files/a"))


@pytest.fixture
def ok() -> tuple[Header, ...]:
    return ((b":status", b"200"),)
