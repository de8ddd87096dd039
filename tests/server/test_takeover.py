"""A sender that lost its network comes back while its old request is still waited for: the newcomer wins.

The old connection stays open and silent, as one does that no packet comes through any more.
"""

from __future__ import annotations

import hashlib
import random
import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import Process, Serve, Spawn
from tests.server.conftest import Connect
from tests.server.raw import RawClient, eventually
from tests.server.test_workers import sockets_of, workers_of

CONTENT = random.Random(3).randbytes(6_000_001)  # noqa: S311 - not a secret
HALF = 1_000_003
APPEND = ("content-type", "application/partial-upload")


def begin(client: RawClient, path: str = "/files/taken") -> str:
    """The URL of an upload without bytes."""
    stream = client.open("POST", path, ("upload-complete", "?0"), ("upload-length", str(len(CONTENT))), end=True)
    answer = client.answer(stream)
    assert answer.status == 201, answer
    return answer.headers["location"]


def send_half(client: RawClient, url: str) -> int:
    """An append that has sent half of its bytes, and stays open."""
    fields = (APPEND, ("upload-offset", "0"), ("upload-complete", "?1"))
    stream = client.open("PATCH", url, *fields)
    client.push(stream, CONTENT[:HALF], end=False)
    return stream


def wait_for_bytes(data: Path, n_bytes: int) -> None:
    """Until they are written, but for the rest of a block that is held back."""
    whole_blocks = n_bytes // 4096 * 4096
    eventually(lambda: any(each.stat().st_size >= whole_blocks for each in (data / "partial").iterdir()), "written")


def go_on(client: RawClient, url: str) -> None:
    """HEAD, the rest, and the digest of the whole."""
    began = time.monotonic()
    told = client.answer(client.open("HEAD", url, end=True))
    print(f"takeover in {(time.monotonic() - began) * 1000:.1f} ms")
    assert told.status == 204
    offset = int(told.headers["upload-offset"])
    assert offset == HALF
    stream = client.open("PATCH", url, APPEND, ("upload-offset", str(offset)), ("upload-complete", "?1"))
    client.push(stream, CONTENT[offset:])
    answer = client.answer(stream)
    assert answer.status in (200, 201, 204), answer
    found = client.get("/files/taken")
    assert hashlib.sha256(found.body).digest() == hashlib.sha256(CONTENT).digest()


def test_newcomer_gets_a_true_offset_and_the_old_request_is_told(serve: Serve, connect: Connect) -> None:
    served = serve()
    old, new = connect(served), connect(served)
    url = begin(old)
    stream = send_half(old, url)
    wait_for_bytes(served.data, HALF)
    go_on(new, url)
    answer = old.answer(stream)
    assert (answer.status, b'"superseded"' in answer.body) == (409, True)
    assert old.get("/healthz").status == 200


def test_newcomer_may_append_or_cancel_without_asking_first(serve: Serve, connect: Connect) -> None:
    served = serve()
    old, new = connect(served), connect(served)
    url = begin(old)
    stream = send_half(old, url)
    wait_for_bytes(served.data, HALF)
    wrong = new.open("PATCH", url, APPEND, ("upload-offset", "5"), ("upload-complete", "?0"))
    new.push(wrong, b"x")
    answer = new.answer(wrong)
    assert (answer.status, answer.headers["upload-offset"]) == (409, str(HALF))
    assert old.answer(stream).status == 409
    stream = send_half_again(old, url)
    wait_for_bytes(served.data, 2 * HALF)
    assert new.answer(new.open("DELETE", url, end=True)).status == 204
    assert old.answer(stream).status == 409
    assert new.answer(new.open("HEAD", url, end=True)).status in (404, 410)
    assert not list((served.data / "partial").iterdir())


def send_half_again(client: RawClient, url: str) -> int:
    stream = client.open("PATCH", url, APPEND, ("upload-offset", str(HALF)), ("upload-complete", "?0"))
    client.push(stream, CONTENT[HALF : 2 * HALF], end=False)
    return stream


def test_watching_an_upload_disturbs_nobody(serve: Serve, connect: Connect) -> None:
    served = serve(progress_seconds=0.0)
    old, new = connect(served), connect(served)
    url = begin(old)
    stream = send_half(old, url)
    eventually(lambda: b'"receiving"' in new.get(url).body, "it is received")
    assert new.get("/uploads/").status == 200
    old.push(stream, CONTENT[HALF:])
    assert old.answer(stream).status in (200, 201, 204)


@pytest.fixture
def two(spawn: Spawn) -> Process:
    return spawn("--workers", "2", "--grace-seconds", "5")


def connect_to_worker(process: Process, connect: Connect, other_than: int = 0) -> tuple[RawClient, int]:
    """A connection and the worker that serves it."""
    for _ in range(50):
        before = {pid: sockets_of(pid) for pid in workers_of(process)}
        client = connect(process)
        assert client.get("/healthz").status == 200
        worker = next(pid for pid, n_sockets in before.items() if sockets_of(pid) > n_sockets)
        if worker != other_than:
            return client, worker
    raise AssertionError("all connections go to one worker")


def test_newcomer_in_another_process_gets_a_true_offset_too(two: Process, connect: Connect) -> None:
    old, worker = connect_to_worker(two, connect)
    new, _ = connect_to_worker(two, connect, other_than=worker)
    url = begin(old)
    stream = send_half(old, url)
    wait_for_bytes(two.data, HALF)
    go_on(new, url)
    assert old.answer(stream).status == 409


def test_who_waits_in_another_process_is_told(two: Process, connect: Connect) -> None:
    old, worker = connect_to_worker(two, connect)
    new, _ = connect_to_worker(two, connect, other_than=worker)
    url = begin(old)
    waiting = new.open("GET", url, ("prefer", "wait=30"), end=True)
    stream = old.open("PATCH", url, APPEND, ("upload-offset", "0"), ("upload-complete", "?1"))
    old.push(stream, CONTENT)
    assert old.answer(stream).status in (200, 201, 204)
    answer = new.answer(waiting)
    assert (answer.status, b'"complete"' in answer.body) == (200, True)


@pytest.mark.parametrize("http1", [False, True])
@pytest.mark.parametrize("n_bytes", [1, 70_000, 300_000])
def test_what_a_sender_sent_before_it_left_is_kept(serve: Serve, connect: Connect, n_bytes: int, http1: bool) -> None:
    served = serve()
    client = connect(served)
    url = begin(client)
    with httpx.Client(base_url=served.plain_url) as http:
        if http1:
            _send_and_leave(served.plain_port, url, n_bytes)
        else:
            stream = client.open("PATCH", url, APPEND, ("upload-offset", "0"), ("upload-complete", "?1"))
            client.push(stream, CONTENT[:n_bytes], end=False)
            client.reset(stream)
            client.quiet()
        eventually(lambda: http.get(url).json()["offset"] == n_bytes, "all is kept")
        assert http.head(url).headers["upload-offset"] == str(n_bytes)


def _send_and_leave(port: int, url: str, n_bytes: int) -> None:
    head = f"PATCH {url} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(CONTENT)}\r\nupload-offset: 0\r\n"
    head += "content-type: application/partial-upload\r\nupload-complete: ?1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(head.encode() + CONTENT[:n_bytes])
