"""An HTTP/2 client that sends whatever frame a test wants and keeps account of every byte of window it was granted."""

from __future__ import annotations

import socket
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES = 16384
MAX_WINDOW = 2**31 - 1
PATIENCE = 20.0


@dataclass
class Answer:
    """What came back on one stream."""

    informational: list[dict[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None
    sent: int = 0
    """Body bytes that we sent."""
    granted: int = 0
    """Bytes we were allowed to send since the stream was opened."""

    @property
    def status(self) -> int:
        return int(self.headers.get(":status", 0))

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


class RawClient:
    """One connection. Blocking; every wait ends after `PATIENCE` seconds with `TimeoutError`."""

    def __init__(
        self, url: str, ca: Path, *, window: int = MAX_WINDOW, small_buffer: bool = False, http1: bool = False
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self.authority = parts.netloc
        self.scheme = parts.scheme
        self.sock = socket.create_connection((parts.hostname, parts.port or 0), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if small_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=ca)
            context.set_alpn_protocols(["http/1.1" if http1 else "h2"])
            self.sock = context.wrap_socket(self.sock, server_hostname=parts.hostname)
        self.answers: dict[int, Answer] = defaultdict(Answer)
        self.settings: dict[int, int] = {}
        self.goaways: list[GoAwayFrame] = []
        self.pongs: list[bytes] = []
        self.closed = False
        self.answers_pings = True
        self.connection_window = 65535
        self._encoder, self._decoder = Encoder(), Decoder()
        self._next_id = 1
        self._received = b""
        if not http1:
            opening = SettingsFrame(
                0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: window, SettingsFrame.ENABLE_PUSH: 0}
            )
            grown = WindowUpdateFrame(0, window_increment=MAX_WINDOW - 65535)
            self.write(PREFACE, opening, grown)
            self.until(lambda: bool(self.settings))

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.sock.close()

    # Sending

    def write(self, *pieces: Frame | bytes) -> None:
        self.sock.sendall(b"".join(piece if isinstance(piece, bytes) else piece.serialize() for piece in pieces))

    def fields(self, method: str, path: str, *fields: tuple[str, str]) -> list[tuple[str, str]]:
        pseudo = [(":method", method), (":scheme", self.scheme), (":authority", self.authority), (":path", path)]
        return [*pseudo, *fields]

    def headers(self, stream_id: int, fields: Iterable[tuple[str, str]], *, end: bool) -> HeadersFrame:
        flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
        return HeadersFrame(stream_id, self._encoder.encode(list(fields)), flags=flags)

    def open_raw(self, fields: Iterable[tuple[str, str]], *, end: bool = False, then: bytes | None = None) -> int:
        """A request with exactly these fields, and `then` a whole body in the same write; its stream id."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self.answers[stream_id].granted = self.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, 65535)
        body = [] if then is None else [DataFrame(stream_id, then, flags=["END_STREAM"])]
        self.write(self.headers(stream_id, fields, end=end), *body)
        return stream_id

    def open(self, method: str, path: str, *fields: tuple[str, str], end: bool = False) -> int:
        return self.open_raw(self.fields(method, path, *fields), end=end)

    def data(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """DATA frames, whatever the windows say."""
        pieces = [data[at : at + FRAME_BYTES] for at in range(0, len(data), FRAME_BYTES)] or [b""]
        frames: list[Frame] = [DataFrame(stream_id, piece) for piece in pieces]
        if end:
            frames[-1].flags.add("END_STREAM")
        self.write(*frames)
        self.answers[stream_id].sent += len(data)
        self.connection_window -= len(data)

    def room(self, stream_id: int) -> int:
        """Bytes that both windows let us send."""
        answer = self.answers[stream_id]
        return max(0, min(answer.granted - answer.sent, self.connection_window))

    def push(self, stream_id: int, body: bytes, *, end: bool = True) -> None:
        """The body, as the windows allow, until it is sent or the stream is over."""
        view, answer = memoryview(body), self.answers[stream_id]
        while not (answer.over or self.closed):
            now = min(len(view), self.room(stream_id), 1 << 20)
            if now or not view:  # many empty frames would be taken for an attack
                self.data(stream_id, bytes(view[:now]), end=end and now == len(view))
            view = view[now:]
            if not view.nbytes:
                return
            self.until(lambda: answer.over or self.closed or self.room(stream_id) > 0)

    def fill(self, stream_id: int) -> int:
        """Zeros until the window is used up; how many."""
        room = self.room(stream_id)
        for at in range(0, room, 1 << 20):
            self.data(stream_id, bytes(min(1 << 20, room - at)))
        return room

    def put(self, path: str, body: bytes, *fields: tuple[str, str]) -> Answer:
        stream_id = self.open("PUT", path, ("content-length", str(len(body))), *fields)
        self.push(stream_id, body)
        return self.answer(stream_id)

    def get(self, path: str) -> Answer:
        return self.answer(self.open("GET", path, end=True))

    def reset(self, stream_id: int, code: int = 8) -> None:
        self.write(RstStreamFrame(stream_id, error_code=code))

    def ping(self) -> float:
        """Seconds until the answer."""
        sent, count = time.perf_counter(), len(self.pongs)
        self.write(PingFrame(0, opaque_data=b"8 bytes!"))
        self.until(lambda: len(self.pongs) > count)
        return time.perf_counter() - sent

    # Receiving

    def answer(self, stream_id: int) -> Answer:
        answer = self.answers[stream_id]
        self.until(lambda: answer.over or self.closed)
        return answer

    def until(self, done: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Take frames until `done`."""
        deadline = time.monotonic() + seconds
        while not done():
            if self.closed:
                raise ConnectionError("the gateway closed the connection")
            self._read(deadline - time.monotonic())

    def read_to_end(self, seconds: float = PATIENCE) -> None:
        self.until(lambda: self.closed, seconds)
        self.sock.close()

    def quiet(self) -> None:
        """Take all that the gateway had to say so far: what it answers to a PING comes after it."""
        self.ping()

    def _read(self, seconds: float) -> None:
        if seconds <= 0:
            raise TimeoutError
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        finally:
            self.sock.settimeout(PATIENCE)
        self.closed = not data
        self._received += data
        for frame in self._frames():
            self._take(frame)

    def _frames(self) -> Iterator[Frame]:
        while len(self._received) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self._received[:9]))
            if len(self._received) < 9 + length:
                return
            frame.parse_body(memoryview(self._received[9 : 9 + length]))
            self._received = self._received[9 + length :]
            yield frame

    def _take(self, frame: Frame) -> None:
        answer = self.answers[frame.stream_id]
        match frame:
            case SettingsFrame() if "ACK" not in frame.flags:
                self.settings |= frame.settings
                self.write(SettingsFrame(0, flags=["ACK"]))
            case WindowUpdateFrame(stream_id=0):
                self.connection_window += frame.window_increment
            case WindowUpdateFrame():
                answer.granted += frame.window_increment
            case HeadersFrame():
                lines = self._decoder.decode(frame.data, raw=True)
                fields = {name.decode(): value.decode() for name, value in lines}
                if fields.get(":status", "").startswith("1"):
                    answer.informational.append(fields)
                else:
                    answer.headers |= fields
            case DataFrame():
                answer.body += frame.data
            case RstStreamFrame():
                answer.reset = frame.error_code
            case PingFrame():
                self._pinged(frame)
            case GoAwayFrame():
                self.goaways.append(frame)
        answer.ended = answer.ended or "END_STREAM" in frame.flags

    def _pinged(self, frame: PingFrame) -> None:
        if "ACK" in frame.flags:
            self.pongs.append(frame.opaque_data)
        elif self.answers_pings:
            self.write(PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))


def eventually(holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Look again and again until `holds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
