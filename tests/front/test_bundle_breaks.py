"""Bundles that break off, come with a digest of the whole, or are answered to somebody who does not read."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import ssl
from collections.abc import Sequence
from typing import Any, cast

import httpx
import pytest

from h2gate.budget import Budget
from h2gate.codec import tar
from h2gate.errors import PeerGone
from h2gate.front import bundle, lines
from h2gate.front.bundle import Room
from h2gate.front.lines import Lines
from h2gate.front.request import Request
from tests.conftest import Serve, Served
from tests.front.test_bundles import TAR, archive_of
from tests.front.test_bundles import lines as lines_of
from tests.server.raw import RawClient, eventually

CHUNKED = (
    b"PUT /files/in/ HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-tar\r\ntransfer-encoding: chunked\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def begun() -> tuple[bytes, list[str]]:
    """An archive cut in the middle of a member, and the names of those before it."""
    names = [f"d/{number}" for number in range(40)]
    body = archive_of(*((name, name.encode() * 50) for name in names), ("large", bytes(400_000)), end=b"")
    return body + tar.header("half", 200_000, 0) + bytes(100_000), [*names, "large"]


def check_what_is_there(served: Served, names: Sequence[str]) -> None:
    eventually(lambda: not served.staged(), "nothing is left behind")
    found = {str(path.relative_to(served.path("in"))) for path in served.path("in").rglob("*") if path.is_file()}
    assert found == set(names)
    assert all(served.path(f"in/{name}").read_bytes() == name.encode() * 50 for name in names if name != "large")


def test_cut_over_http2_costs_only_what_was_not_answered(serve: Serve) -> None:
    served = serve()
    body, names = begun()
    with RawClient(served.url, served.ca) as client:
        stream = client.open("PUT", "/files/in/", ("content-type", "application/x-tar"))
        client.push(stream, body, end=False)
        client.until(lambda: client.answers[stream].body.count(b"\n") == len(names))
        client.reset(stream)
        client.quiet()
        check_what_is_there(served, names)


def test_cut_over_http1_costs_only_what_was_not_answered(serve: Serve) -> None:
    served = serve()
    body, names = begun()
    context = ssl.create_default_context(cafile=served.ca)
    with socket.create_connection(("localhost", served.port), 20) as plain:
        sock = context.wrap_socket(plain, server_hostname="localhost")
        sock.sendall(CHUNKED + b"\r\n" + chunk(body))
        answer = b""
        while answer.count(b'"status"') < len(names):
            answer += sock.recv(65536)
        sock.close()
    check_what_is_there(served, names)


def test_archive_that_ends_too_early_is_told_after_what_is_stored(http: httpx.Client, place: str) -> None:
    body, names = begun()
    *told, error, summary = lines_of(http.put(f"{place}/", content=body, headers=TAR))
    assert {each["name"] for each in told if "code" not in each} == set(names)
    assert (error["code"], summary["stored"]) == ("bad_bundle", len(names))
    assert "name" not in error


def test_silent_sender_is_told_and_what_came_stays(serve: Serve) -> None:
    served = serve(body_seconds=0.3)
    with RawClient(served.url, served.ca) as client:
        stream = client.open("PUT", "/files/in/", ("content-type", "application/x-tar"))
        client.push(stream, archive_of(("a", b"1"), end=b""), end=False)
        told = [json.loads(line) for line in client.answer(stream).body.splitlines()]
    assert [each.get("code", each.get("name")) for each in told[:2]] == ["a", "body_timeout"]
    assert served.path("in/a").read_bytes() == b"1"


def digest_of(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


@pytest.mark.parametrize(("of", "verdict"), [(None, "ok"), (b"other", "mismatch")])
def test_digest_of_the_whole_is_verified_at_the_end(
    http: httpx.Client, place: str, of: bytes | None, verdict: str
) -> None:
    body = archive_of(("a", b"1"), ("b", bytes(500_000)))
    headers = {**TAR, "content-digest": digest_of(body if of is None else of)}
    summary = lines_of(http.put(f"{place}/", content=body, headers=headers))[-1]
    assert (summary["stored"], summary["digest"]) == (2, verdict)


def trailed(served: Served, field: str, value: str) -> list[dict[str, Any]]:
    """The lines for a bundle with this trailer; `field` is in front of it."""
    with socket.create_connection(("127.0.0.1", served.plain_port), 20) as sock:
        head = CHUNKED + field.encode() + b"connection: close\r\n\r\n"
        sock.sendall(head + chunk(archive_of(("a", b"1"))) + b"0\r\ncontent-digest: " + value.encode() + b"\r\n\r\n")
        answer = b""
        while data := sock.recv(65536):
            answer += data
    return [json.loads(line) for line in answer.splitlines() if line.startswith(b"{")]


def test_digest_of_the_whole_may_be_a_trailer(serve: Serve) -> None:
    served, announced = serve(), "trailer: content-digest\r\n"
    right = digest_of(archive_of(("a", b"1")))
    assert trailed(served, announced, right)[-1]["digest"] == "ok"
    assert trailed(served, announced, digest_of(b""))[-1]["digest"] == "mismatch"


@pytest.mark.parametrize(("field", "value"), [("", digest_of(b"")), ("trailer: content-digest\r\n", "what?")])
def test_trailer_that_cannot_be_verified_is_told(serve: Serve, field: str, value: str) -> None:
    *_, error, summary = trailed(serve(), field, value)
    assert (error["code"], summary["stored"]) == ("bad_field", 1)
    assert "digest" not in summary


def test_digest_that_cannot_be_understood_is_refused_before_anything(http: httpx.Client, place: str) -> None:
    answer = http.put(f"{place}/", content=archive_of(("a", b"1")), headers={**TAR, "content-digest": "sha-256=1"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_field")


class Reader:
    """Stands in the place of a request: takes an answer only when it is let."""

    def __init__(self) -> None:
        self.may = asyncio.Semaphore(0)
        self.taken = b""
        self.gone = False

    async def answer_more(self, status: int, headers: object, content: bytes, *, last: bool) -> None:
        await self.may.acquire()
        if self.gone:
            raise PeerGone
        self.taken += content


async def turns() -> None:
    """Let every task go on as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_lines_wait_for_who_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "UNREAD_BYTES", 1000)

    async def run() -> None:
        reader = Reader()
        async with Lines(cast(Request, reader), Budget(1 << 30)) as told:
            for number in range(100):
                told.tell({"number": number})
            waiting = asyncio.create_task(told.room())
            await turns()
            assert not waiting.done()
            reader.may.release()
            await waiting
            reader.may.release()
            await told.end({})
        assert len(reader.taken.splitlines()) == 101

    asyncio.run(run())


def test_lines_wait_for_nobody_who_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "UNREAD_BYTES", 10)

    async def run() -> None:
        reader = Reader()
        async with Lines(cast(Request, reader), Budget(1 << 30)) as told:
            told.tell({"name": "longer than that"})
            waiting = asyncio.create_task(told.room())
            await turns()
            reader.gone = True
            reader.may.release()
            await waiting
            with pytest.raises(PeerGone):
                await told.end({})

    asyncio.run(run())


def test_small_files_on_their_way_are_bounded_in_number_and_bytes() -> None:
    async def entered(n_bytes: int, count: int) -> int:
        room, tasks = Room(Budget(1 << 30)), []
        for _ in range(count):
            tasks.append(asyncio.create_task(room.enter(n_bytes)))
            await turns()
        done = sum(task.done() for task in tasks)
        room.leave(n_bytes)
        await turns()
        assert sum(task.done() for task in tasks) == done + 1
        for task in tasks:
            task.cancel()
        return done

    assert asyncio.run(entered(0, 300)) == bundle.FILES_AT_ONCE
    assert asyncio.run(entered(bundle.SMALL_BYTES, 140)) == bundle.BYTES_AT_ONCE // bundle.SMALL_BYTES
