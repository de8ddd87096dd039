"""One hostile machine: connections that send whatever they like, and an account of what the gateway did about it.

Every wait ends after `PATIENCE_SECONDS`. Being cut off is what an attack ends with, so it is no error.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from hpack import Decoder, Encoder

from loadtest.hostile import frames

PATIENCE_SECONDS = 30.0
_CHUNK_BYTES = 16 << 10
_LOOK_SECONDS = 0.1


class Cut(ConnectionError):
    """The gateway has ended the connection."""


class Patient(TimeoutError):
    """The gateway has not done in time what was waited for."""


@dataclass(frozen=True, slots=True)
class Target:
    """Who is attacked, and from which address of the loopback network."""

    host: str
    port: int
    ca: Path
    tls: bool = True
    address: str = "127.0.0.2"


@dataclass(slots=True)
class Seen:
    """What the gateway answered, on all connections together."""

    connections: int = 0
    cuts: int = 0
    """Connections that the gateway ended."""
    goaways: Counter[int] = field(default_factory=Counter)
    """By code; those with NO_ERROR too."""
    resets: Counter[int] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    pongs: int = 0
    body_bytes: int = 0


class Enemy:
    """`connect` as often as you like."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.seen = Seen()

    def connect(self, *, window: int = frames.MAX_WINDOW, reads: bool = True, address: str = "") -> Foe:
        """An HTTP/2 connection. `window` is what the gateway may send on a stream; without `reads` nothing is read."""
        return Foe(self.target, self.seen, window, reads=reads, address=address or self.target.address)

    def dial(self, address: str = "", receive_bytes: int = 0) -> socket.socket:
        """A TCP connection."""
        return _dial(self.target, address or self.target.address, receive_bytes)


class Foe:
    """One connection; `with` it, and being cut off ends the block."""

    def __init__(self, target: Target, seen: Seen, window: int, *, reads: bool, address: str) -> None:
        self.seen = seen
        self.granted: Counter[int] = Counter()
        """Bytes of credit that came for each stream, beyond the first window."""
        self.is_cut = False
        self.answers_pings = True
        self.first_window = 65535
        """Of our streams, as the gateway's SETTINGS say."""
        self._authority = f"{target.host}:{target.port}"
        self._scheme = "https" if target.tls else "http"
        self._reads = reads
        self._encoder, self._decoder = Encoder(), Decoder()
        self._next_id = 1
        self._came = b""
        self._greeted = False
        self._sock = _dial(target, address, 0 if reads else 4096)
        if target.tls:
            self._sock = _tls(target).wrap_socket(self._sock, server_hostname=target.host)
        seen.connections += 1
        self.send(frames.PREFACE, frames.settings((frames.INITIAL_WINDOW_SIZE, window)))
        self.send(frames.window_update(0, frames.MAX_WINDOW - 65535))
        if reads:
            self.until(lambda: self._greeted)

    def __enter__(self) -> Foe:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        self._sock.close()
        return isinstance(error, Cut)

    # Sending

    def open(self, method: str, path: str, *fields: tuple[str, str], end: bool = True) -> tuple[int, bytes]:
        """A stream's id and its HEADERS frame, which is still to be sent."""
        pseudo = [(":method", method), (":scheme", self._scheme), (":authority", self._authority), (":path", path)]
        return self.open_block(self._encoder.encode([*pseudo, *fields]), end=end)

    def open_block(self, block: bytes, *, end: bool = True) -> tuple[int, bytes]:
        """The same with a header block of your own."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        flags = frames.END_HEADERS | (frames.END_STREAM if end else 0)
        return stream_id, frames.frame(frames.HEADERS, flags, stream_id, block)

    def request(self, method: str, path: str, *fields: tuple[str, str], end: bool = True) -> int:
        """Send a request, or its header; its stream id."""
        stream_id, header = self.open(method, path, *fields, end=end)
        self.send(header)
        return stream_id

    def block(self, *fields: tuple[str, str]) -> bytes:
        """These fields, coded."""
        return self._encoder.encode(list(fields))

    def send(self, *pieces: bytes) -> None:
        """All of it, taking in between what comes. Raises `Cut`."""
        out = memoryview(b"".join(pieces))
        for at in range(0, len(out), _CHUNK_BYTES):
            self._write(out[at : at + _CHUNK_BYTES])
            if self._reads:
                self.take(0.0)

    def _write(self, piece: memoryview) -> None:
        self._sock.settimeout(PATIENCE_SECONDS)
        try:
            self._sock.sendall(piece)
        except TimeoutError:
            raise Patient("the gateway takes no more, and does not end the connection") from None
        except (OSError, ssl.SSLError):
            self._last_words()
            self._cut()

    def _last_words(self) -> None:
        """What it said before it stopped to listen."""
        with contextlib.suppress(OSError, Cut):
            while self._reads:
                self.take(1.0)

    def _cut(self) -> None:
        if not self.is_cut:
            self.is_cut = True
            self.seen.cuts += 1
        raise Cut("the gateway ended the connection")

    def rest(self, seconds: float) -> None:
        """Do nothing for so long, whatever comes."""
        time.sleep(seconds)

    def sense_the_end(self) -> None:
        """Where nothing is read, a write tells that the gateway has gone. Raises `Cut`, `Patient`."""
        end_at = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end_at:
            self.send(frames.frame(0xEE, 0, 0))  # of no known kind: nobody answers
            self.rest(_LOOK_SECONDS)
        raise Patient("a connection whose peer does not read is not given up")

    def served(self, n_requests: int, since: int) -> None:
        """Wait until so many requests more than `since` were answered or refused."""
        self.until(lambda: self.over() - since >= n_requests)

    def over(self) -> int:
        """Requests that were answered or reset so far."""
        return self.seen.statuses.total() + self.seen.resets.total()

    # Receiving

    def until(self, done: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Take what comes until `done`. Raises `Cut`, `Patient`."""
        end_at = time.monotonic() + seconds
        while not done():
            left = end_at - time.monotonic()
            if left <= 0:
                raise Patient(f"nothing that was waited for came within {seconds:g} s")
            self.take(left)

    def linger(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Take what comes until the gateway ends the connection, which it should. Raises `Cut`, `Patient`."""
        self.until(lambda: False, seconds)

    def catch_up(self) -> None:
        """Take all that the gateway had to say so far: what it answers to a PING comes after it."""
        count = self.seen.pongs
        self.send(frames.ping())
        self.until(lambda: self.seen.pongs > count)

    def take(self, seconds: float) -> None:
        """What is there, or comes within so many seconds. Raises `Cut` at its end."""
        self._sock.settimeout(seconds)
        try:
            came = self._sock.recv(1 << 18)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            return
        except (OSError, ssl.SSLError):
            came = b""
        self._came += came
        at = 0
        while len(self._came) - at >= 9 and len(self._came) - at >= 9 + (
            size := int.from_bytes(self._came[at : at + 3])
        ):
            kind, flags, stream_id = struct.unpack_from("!BBI", self._came, at + 3)
            self._note(kind, flags, stream_id & frames.MAX_WINDOW, self._came[at + 9 : at + 9 + size])
            at += 9 + size
        self._came = self._came[at:]
        if not came:
            self._cut()

    def _note(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        match kind:
            case frames.DATA:
                self.seen.body_bytes += len(payload)
            case frames.HEADERS:
                fields = dict(self._decoder.decode(payload, raw=True))
                self.seen.statuses[int(fields.get(b":status", b"0"))] += 1
            case frames.RST_STREAM:
                self.seen.resets[int.from_bytes(payload)] += 1
            case frames.GOAWAY:
                self.seen.goaways[int.from_bytes(payload[4:8])] += 1
            case frames.PING if flags & frames.ACK:
                self.seen.pongs += 1
            case frames.PING if self.answers_pings:
                self._write(memoryview(frames.frame(frames.PING, frames.ACK, 0, payload)))
            case frames.WINDOW_UPDATE:
                self.granted[stream_id] += int.from_bytes(payload)
            case frames.SETTINGS if not flags & frames.ACK:
                found = dict(struct.iter_unpack("!HI", payload))
                self.first_window = found.get(frames.INITIAL_WINDOW_SIZE, 65535)
                self._greeted = True
                self._write(memoryview(frames.settings_ack()))


def _dial(target: Target, address: str, receive_bytes: int) -> socket.socket:
    sock = socket.socket()
    try:
        sock.settimeout(PATIENCE_SECONDS)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((address, 0))
        sock.connect(("127.0.0.1", target.port))
    except BaseException:
        sock.close()
        raise
    return sock


def _tls(target: Target) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=target.ca)
    context.set_alpn_protocols(["h2"])
    return context
