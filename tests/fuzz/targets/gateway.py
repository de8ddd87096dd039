"""The whole gateway over sockets: broken requests on one connection, an honest upload on another, or on the same one.

No answer is 5xx, nothing is logged as an error, the honest upload is stored as it was sent, and nothing is left over.
"""

from __future__ import annotations

import itertools
import logging
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hpack import Decoder, Encoder, HPACKError

from h2gate.config import Settings
from h2gate.front.app import create_app
from h2gate.gateway import open_storage
from h2gate.server.certificates import ensure
from h2gate.wire.engine import Role
from tests.conftest import Served, _Thread
from tests.fuzz.source import Source, pieces
from tests.fuzz.targets.frame import PREFACE, _frames, frame
from tests.server.conftest import Leftovers
from tests.server.raw import RawClient, eventually

QUIET_SECONDS = 0.03
"""So long is waited for more answers on HTTP/2, where no end tells that there are none."""
CLOSING_SECONDS = 20.0
HONEST = bytes(range(256)) * 160
INTERNAL_ERROR = 2
OF_THE_PEER = (501, 505)
"""What is no fault of the gateway, whatever the number: transfer codings that nobody knows (RFC 9112 section 6.1) and
other versions of HTTP (RFC 9110 section 15.6.6). 499 is for the log only."""


@contextmanager
def running() -> Iterator[Callable[[bytes], None]]:
    """A gateway and the honest client's connection; at the end it is looked for what is left over."""
    with tempfile.TemporaryDirectory() as folder, _log() as records:
        settings = Settings(data=Path(folder) / "data", grace_seconds=5.0, drain_seconds=0.1, idle_seconds=10.0)
        certificates = ensure(Path(folder) / "certs")
        with _Thread(settings, certificates, open_storage, create_app) as served:
            leftovers = Leftovers(served)
            target = _Target(served, records)
            places = _places(folder)
            yield target.run
            target.leave()
            leftovers.expect_none()
            assert _places(folder) == places, "something was stored outside of the files"


def _places(folder: str) -> list[str]:
    """What is beside the data folder, and beside the files in it."""
    return sorted(each.name for place in (folder, f"{folder}/data") for each in Path(place).iterdir())


class _Kept(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.WARNING)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@contextmanager
def _log() -> Iterator[list[logging.LogRecord]]:
    """What is logged as a warning or worse."""
    records: list[logging.LogRecord] = []
    handler = _Kept(records)
    logging.getLogger().addHandler(handler)
    try:
        yield records
    finally:
        logging.getLogger().removeHandler(handler)


@dataclass
class _Answers:
    """What came back."""

    statuses: list[int]
    codes: list[int]
    """Of RST_STREAM and GOAWAY."""


class _Target:
    def __init__(self, served: Served, records: list[logging.LogRecord]) -> None:
        self._served = served
        self._records = records
        self._honest: RawClient | None = None
        self._numbers = itertools.count()

    def run(self, data: bytes) -> None:
        try:
            self._run(data)
        except BaseException:
            self.leave()  # what it left open would trouble the next one
            raise

    def _run(self, data: bytes) -> None:
        self._records.clear()
        source = Source(data)
        kind, cuts = source.number(3), source.cuts()
        client = self._client()
        name = f"honest-{next(self._numbers)}"
        stream_id = client.open("PUT", f"/files/{name}", ("content-length", str(len(HONEST))))
        client.push(stream_id, HONEST[:1000], end=False)
        if kind == 0:
            answers = self._talk(source.rest(), cuts, QUIET_SECONDS if data[:3] == b"PRI" else 0)
        elif kind == 1:
            answers = self._talk(PREFACE + _frames(source, Role.SERVER), cuts, QUIET_SECONDS)
        elif kind == 2:
            answers = self._talk(PREFACE + _request(source, 1), cuts, QUIET_SECONDS)
        else:
            answers = self._beside(client, source)
        client.push(stream_id, HONEST[1000:])
        answer = client.answer(stream_id)
        assert answer.status == 201, f"the honest upload: {answer}"
        assert self._served.path(name).read_bytes() == HONEST
        self._served.path(name).unlink()
        assert not [each for each in answers.statuses if each >= 499 and each not in OF_THE_PEER], answers
        assert INTERNAL_ERROR not in answers.codes, answers
        logged = [logging.Formatter().format(each) for each in self._records if each.name != "h2gate.limits"]
        assert not logged, "\n".join(logged)

    def leave(self) -> None:
        """Close the honest connection."""
        if self._honest is not None:
            self._honest.sock.close()
            self._honest = None

    def _client(self) -> RawClient:
        if self._honest is None or self._honest.closed:
            self._honest = RawClient(self._served.plain_url, self._served.ca)
        return self._honest

    def _talk(self, data: bytes, cuts: list[int], quiet_seconds: float) -> _Answers:
        """Send it on a connection of its own, and see that the gateway closes that when we have no more to say."""
        received = bytearray()
        with socket.create_connection(("127.0.0.1", self._served.plain_port), CLOSING_SECONDS) as sock:
            with suppress(ConnectionError):
                for piece in pieces(data, cuts):
                    sock.sendall(piece)
            if quiet_seconds:
                _receive(sock, received, quiet_seconds)
            with suppress(ConnectionError, OSError):
                sock.shutdown(socket.SHUT_WR)
            assert _receive(sock, received, CLOSING_SECONDS), "the gateway keeps the connection"
        eventually(lambda: len(self._served.worker.connections) == 1, "the connection is over")
        eventually(lambda: not self._served.worker._http1, "the connection is over")
        return _http2(bytes(received)) if received[3:4] == b"\x04" else _http1(bytes(received))

    def _beside(self, client: RawClient, source: Source) -> _Answers:
        """A broken request on the honest upload's connection, which must live on."""
        stream_id, client._next_id = client._next_id, client._next_id + 2
        client.write(_request(source, stream_id, client._encoder))
        answer = client.answers[stream_id]
        with suppress(TimeoutError):
            client.until(lambda: answer.over, QUIET_SECONDS)
        client.reset(stream_id)
        client.quiet()
        eventually(lambda: sum(len(each.streams) for each in self._served.worker.connections) == 1, "it is over")
        return _Answers([answer.status], [answer.reset] if answer.reset is not None else [])


def _receive(sock: socket.socket, received: bytearray, seconds: float) -> bool:
    """Take what comes until nothing more does for a while; whether the other end closed."""
    sock.settimeout(seconds)
    try:
        while more := sock.recv(1 << 18):
            received += more
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def _request(source: Source, stream_id: int, encoder: Encoder | None = None) -> bytes:
    """`name: value` lines, an empty one, and a body, as frames of one stream."""
    ends, limit = source.flag(), 1 + source.number(500)
    head, _, body = source.rest().replace(b"\r\n", b"\n").partition(b"\n\n")
    fields = [_field(line) for line in head.split(b"\n")]
    block = (encoder or Encoder()).encode(fields)
    sent = [frame(4, 0, 0, b"")] if encoder is None else []
    sent.append(frame(1, 4 if body or not ends else 5, stream_id, block))
    parts = [body[at : at + limit] for at in range(0, len(body), limit)][:200]
    sent += [frame(0, ends and at == len(parts) - 1, stream_id, part) for at, part in enumerate(parts)]
    return b"".join(sent)


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line[1:].partition(b":")
    return line[:1] + name, value.removeprefix(b" ")


def _http1(received: bytes) -> _Answers:
    return _Answers([int(each) for each in re.findall(rb"^HTTP/1\.[01] (\d{3})", received, re.MULTILINE)], [])


def _http2(received: bytes) -> _Answers:
    decoder, found = Decoder(), _Answers([], [])
    while len(received) >= 9:
        end = 9 + int.from_bytes(received[:3], "big")
        kind, payload, received = received[3], received[9:end], received[end:]
        if kind == 1:
            with suppress(HPACKError):
                found.statuses += [
                    int(value) for name, value in decoder.decode(payload, raw=True) if name == b":status"
                ]
        elif kind in (3, 7):
            found.codes.append(int.from_bytes(payload[-4:] if kind == 3 else payload[4:8], "big"))
    return found
