"""One request, sent piece by piece, its 1xx answers kept: the same over HTTP/2 and HTTP/1.1."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from tests.server.raw import PATIENCE, RawClient

Fields = dict[str, str]


class Talk(Protocol):
    """A request whose body is sent by `send` until `end`."""

    interim: list[Fields]

    def send(self, data: bytes) -> None: ...

    def end(self, trailers: Fields | None = None) -> None: ...

    def until(self, holds: Callable[[], bool]) -> None:
        """Read until it holds."""

    def answer(self) -> tuple[int, Fields, bytes]: ...

    def cut(self) -> None:
        """Break the connection off, in the middle of whatever it is."""


class Http2Talk:
    def __init__(self, url: str, ca: Path, method: str, path: str, fields: Fields) -> None:
        self._client = RawClient(url, ca)
        self._stream = self._client.open(method, path, *fields.items())
        self._answer = self._client.answers[self._stream]
        self.interim = self._answer.informational

    def send(self, data: bytes) -> None:
        self._client.push(self._stream, data, end=False)

    def end(self, trailers: Fields | None = None) -> None:
        if trailers is None:
            self._client.data(self._stream, b"", end=True)
        else:
            self._client.write(self._client.headers(self._stream, trailers.items(), end=True))

    def until(self, holds: Callable[[], bool]) -> None:
        self._client.until(holds)

    def answer(self) -> tuple[int, Fields, bytes]:
        found = self._client.answer(self._stream)
        self._client.sock.close()
        return found.status, found.headers, bytes(found.body)

    def cut(self) -> None:
        _reset(self._client.sock)


class Http1Talk:
    def __init__(self, url: str, ca: Path, method: str, path: str, fields: Fields) -> None:
        parts = urlsplit(url)
        context = ssl.create_default_context(cafile=ca)
        plain = socket.create_connection((parts.hostname or "", parts.port or 0), PATIENCE)
        self._sock = context.wrap_socket(plain, server_hostname=parts.hostname)
        self._chunked = "content-length" not in fields
        self._received = b""
        self._final: tuple[int, Fields] | None = None
        self.interim: list[Fields] = []
        lines = {"host": parts.netloc, **fields} | ({"transfer-encoding": "chunked"} if self._chunked else {})
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._sock.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())

    def send(self, data: bytes) -> None:
        self._sock.sendall(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self, trailers: Fields | None = None) -> None:
        """Trailers are for bodies without `content-length`."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in (trailers or {}).items())
        self._sock.sendall(f"0\r\n{lines}\r\n".encode() if self._chunked else b"")

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline
            self._read()

    def answer(self) -> tuple[int, Fields, bytes]:
        self.until(lambda: self._final is not None)
        assert self._final is not None
        status, fields = self._final
        length = int(fields.get("content-length", 0))
        self.until(lambda: len(self._received) >= length)
        self._sock.close()
        return status, fields, self._received[:length]

    def _read(self) -> None:
        data = self._sock.recv(65536)
        assert data, "the gateway closed the connection"
        self._received += data
        while self._final is None and b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin1").split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            status = int(first.split()[1])
            if status < 200:
                self.interim.append({":status": str(status), **fields})
            else:
                self._final = status, fields

    def cut(self) -> None:
        _reset(self._sock)


def _reset(sock: socket.socket) -> None:
    """With RST, as a machine that knows nothing of the connection any more would."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
