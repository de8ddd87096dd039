"""tus 1.0.0 when something breaks: as much as can be is kept, the newcomer wins, and a client is told to try again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest

from tests.conftest import Serve, Served
from tests.front.conftest import wait_until
from tests.front.tusser import BYTES, VERSION, Tus, code
from tests.server.raw import RawClient

SIZE, SENT = 1_000_000, 300_001
BODY = (bytes(range(251)) * (SIZE // 251 + 1))[:SIZE]


class Unfinished:
    """A request with a body of `SIZE` bytes that sends no more than `SENT` of them, over one HTTP version."""

    def __init__(self, served: Served, version: str, method: str, path: str, **fields: object) -> None:
        lines = [*VERSION.items(), ("content-type", BYTES), ("content-length", str(SIZE))]
        lines += [(name.replace("_", "-"), str(value)) for name, value in fields.items()]
        self._client = RawClient(served.url, served.ca, http1=version == "http1")
        self._stream = None
        if version == "http1":
            head = [f"{method} {path} HTTP/1.1", "host: x", *(f"{name}: {value}" for name, value in lines)]
            self._client.sock.sendall("\r\n".join([*head, "", ""]).encode() + BODY[:SENT])
        else:
            self._stream = self._client.open(method, path, *lines)
            self._client.push(self._stream, BODY[:SENT], end=False)

    def break_off(self) -> None:
        """The connection is gone, or with HTTP/2 the stream is reset."""
        if self._stream is not None:
            self._client.reset(self._stream)
            self._client.quiet()
        self._client.sock.close()

    def answer(self) -> tuple[int, bytes]:
        """Status and all else of the answer; with HTTP/1.1 the gateway closes the connection after it."""
        if self._stream is not None:
            found = self._client.answer(self._stream)
            return found.status, repr(found.headers).encode() + found.body
        received = b""
        with suppress(ConnectionResetError):
            while data := self._client.sock.recv(65536):
                received += data
        return int(received.split()[1]), received.lower()

    def __enter__(self) -> Unfinished:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.sock.close()


@pytest.fixture(params=["http2", "http1"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Start = Callable[..., tuple[Served, Tus]]


@pytest.fixture
def start(serve: Serve) -> Iterator[Start]:
    """A gateway and a client of it."""
    clients: list[httpx.Client] = []

    def begin(**settings: object) -> tuple[Served, Tus]:
        served = serve(**settings)
        clients.append(httpx.Client(base_url=served.plain_url, timeout=30))
        return served, Tus(clients[-1])

    yield begin
    for client in clients:
        client.close()


def written(served: Served) -> bool:
    """Whether all that was sent is on the disk, but for the rest of a block."""
    return any(path.stat().st_size >= SENT // 4096 * 4096 for path in (served.data / "partial").iterdir())


def go_on(tus: Tus, url: str, offset: int) -> None:
    assert tus.offset(url) == offset
    assert tus.patch(url, offset, BODY[offset:]).status_code == 204
    assert tus.get().content == BODY


def test_what_came_before_the_connection_broke_is_kept(start: Start, version: str) -> None:
    served, tus = start()
    url = tus.create(SIZE)
    with Unfinished(served, version, "PATCH", url, upload_offset=0) as request:
        wait_until(lambda: written(served), "nothing is written")
        request.break_off()
    go_on(tus, url, SENT)


def test_body_with_a_checksum_that_broke_off_is_discarded(start: Start, version: str) -> None:
    served, tus = start()
    url = tus.create(SIZE)
    with Unfinished(served, version, "PATCH", url, upload_offset=0, upload_checksum="crc32 AAAAAA==") as request:
        wait_until(lambda: written(served), "nothing is written")
        request.break_off()
    go_on(tus, url, 0)


def test_creation_whose_body_broke_off_stays(start: Start, version: str) -> None:
    served, tus = start()
    more = {"upload_length": SIZE, "upload_metadata": tus.named("a")}
    with Unfinished(served, version, "POST", "/tus/", **more) as request:
        wait_until(lambda: written(served), "nothing is written")
        request.break_off()
    [key] = [path.name for path in (served.data / "partial").iterdir()]
    go_on(tus, f"/tus/{key}", SENT)


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_body_that_stops_coming_is_ended_so_that_it_is_tried_again_and_what_came_is_kept(
    start: Start, version: str, method: str
) -> None:
    served, tus = start(body_seconds=0.5)
    if method == "PATCH":
        path, fields = tus.create(SIZE), {"upload_offset": "0"}
    else:
        path, fields = "/tus/", {"upload_length": str(SIZE), "upload_metadata": tus.named("a")}
    with Unfinished(served, version, method, path, **fields) as request:
        status, answer = request.answer()
    assert (status, b"body_timeout" in answer) == (503, True)
    [key] = [each.name for each in (served.data / "partial").iterdir()]
    assert (f"/tus/{key}".encode() in answer) == (method == "POST")
    go_on(tus, f"/tus/{key}", SENT)


def test_newcomer_is_told_the_true_offset_and_the_old_request_that_it_lost(start: Start, version: str) -> None:
    served, tus = start()
    url = tus.create(SIZE)
    with Unfinished(served, version, "PATCH", url, upload_offset=0) as request:
        wait_until(lambda: written(served), "nothing is written")
        go_on(tus, url, SENT)
        status, answer = request.answer()
    assert (status, b"superseded" in answer, b"tus-resumable" in answer) == (409, True, True)


def test_holder_that_does_not_let_go_in_time_makes_others_wait(start: Start, version: str) -> None:
    served, tus = start(takeover_seconds=0)
    url = tus.create(SIZE)
    with Unfinished(served, version, "PATCH", url, upload_offset=0) as request:
        wait_until(lambda: written(served), "nothing is written")
        head, patch = tus.head(url), tus.patch(url, 0, b"x")
        assert (head.status_code, code(patch)) == (423, (423, "locked"))
        assert int(head.headers["retry-after"]) > 0
        assert int(patch.headers["retry-after"]) > 0
        request.break_off()
    wait_until(lambda: tus.head(url).status_code == 200, "it is locked for ever")
    go_on(tus, url, SENT)


def test_termination_ends_a_request_that_is_writing(start: Start, version: str) -> None:
    served, tus = start()
    url = tus.create(SIZE)
    with Unfinished(served, version, "PATCH", url, upload_offset=0) as request:
        wait_until(lambda: written(served), "nothing is written")
        assert tus.request("DELETE", url).status_code == 204
        assert request.answer()[0] == 409
    assert tus.head(url).status_code == 410
    assert list((served.data / "partial").iterdir()) == []


def test_body_that_is_expected_is_asked_for(gateway: Served, tus: Tus) -> None:
    given = [("upload-length", "3"), ("upload-metadata", tus.named("a")), ("content-type", BYTES)]
    with RawClient(gateway.url, gateway.ca) as client:
        stream = client.open("POST", "/tus/", *VERSION.items(), *given, ("expect", "100-continue"))
        client.until(lambda: bool(client.answers[stream].informational))
        assert client.answers[stream].informational[0][":status"] == "100"
        client.push(stream, b"abc")
        assert client.answer(stream).headers["upload-offset"] == "3"
