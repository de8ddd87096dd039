"""The wires that a conformance case runs on: an engine with an application like the gateway's, and a TLS connection."""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path

from h2gate.wire.engine import Data, Engine, Event, Headers, Trailers

PATIENCE_SECONDS = 20.0
ANSWER = b"ok\n"
"""What the gateway answers as well to what the cases ask for."""


class EngineWire:
    """An engine at the seam; every request that is whole is answered, once all that came with it was taken."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._heads: set[int] = set()

    def write(self, octets: bytes) -> None:
        for stream_id in [self._ended(event) for event in self._engine.receive(memoryview(octets))]:
            if stream_id:
                self._answer(stream_id)

    def _ended(self, event: Event) -> int:
        """The stream whose request is whole with this, or 0."""
        match event:
            case Headers(stream_id, headers, end_stream):
                if (b":method", b"HEAD") in headers:
                    self._heads.add(stream_id)
                return stream_id if end_stream else 0
            case Data(stream_id, data, end_stream):
                self._engine.credit(stream_id, len(data))
                return stream_id if end_stream else 0
            case Trailers(stream_id):
                return stream_id
            case _:
                return 0

    def _answer(self, stream_id: int) -> None:
        has_content = stream_id not in self._heads
        self._engine.respond(stream_id, [(b":status", b"200")], end_stream=not has_content)
        if has_content:
            self._engine.send_data(stream_id, ANSWER, end_stream=True)

    def read(self) -> bytes | None:
        octets = b""
        while piece := self._engine.data_to_send():
            octets += piece
        return octets if octets or not self._engine.done else None


class TlsWire:
    """A connection to a gateway. TLS is apart from the socket: what the gateway said before it closed is still there
    to be read when a write has found that it did, which an `SSLSocket` cannot any more."""

    def __init__(self, port: int, ca: Path) -> None:
        context = ssl.create_default_context(cafile=ca)
        context.set_alpn_protocols(["h2"])
        self._received, self._written = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._written, server_hostname="localhost")
        self._socket = socket.create_connection(("localhost", port), PATIENCE_SECONDS)
        while not self._shook():
            self._receive()

    def _shook(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._flush()
        return True

    def _flush(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(self._written.read())

    def _receive(self) -> None:
        try:
            received = self._socket.recv(1 << 16)
        except ConnectionResetError:
            received = b""
        if received:
            self._received.write(received)
        else:
            self._received.write_eof()

    def write(self, octets: bytes) -> None:
        self._tls.write(octets)
        self._flush()

    def read(self) -> bytes | None:
        while True:
            try:
                return self._tls.read(1 << 16) or None
            except ssl.SSLWantReadError:
                self._receive()
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return None

    def close(self) -> None:
        self._socket.close()
