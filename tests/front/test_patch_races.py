"""PATCH beside other requests for the same file: readers see the old file, writers wait their turn or are refused."""

from __future__ import annotations

import hashlib
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx

from h2gate.fields import digest_field
from tests.conftest import Served, Spawn
from tests.front.conftest import files_under, wait_until

FIRST, REST = bytes(200_000), b"the rest"
Begin = Callable[..., AbstractContextManager[Any]]


def digest_of(body: bytes) -> str:
    return digest_field("sha-256", hashlib.sha256(body).digest())


def grown(file: Path, size: int) -> Callable[[], bool]:
    return lambda: file.stat().st_size > size


def test_readers_see_the_old_file_until_an_append_is_whole(
    http: httpx.Client, place: str, folder: Path, paused: Begin
) -> None:
    old = http.put(f"{place}/a", content=b"old")
    with paused("PATCH", f"{place}/a", FIRST, REST) as patch:
        wait_until(grown(folder / "a", 3), "nothing was appended")
        for response in (http.get(f"{place}/a"), http.head(f"{place}/a")):
            assert response.headers["content-length"] == "3"
            assert response.headers["etag"] == old.headers["etag"]
            assert response.headers["last-modified"] == old.headers["last-modified"]
        assert http.get(f"{place}/a").content == b"old"
        assert http.get(f"{place}/a", headers={"range": "bytes=3-"}).status_code == 416
        [entry] = http.get(f"{place}/").json()["entries"]
        assert (entry["size"], entry["etag"]) == (3, old.headers["etag"])
        page = http.get(f"{place}/", headers={"accept": "text/html"}).text
        assert "<td class=n>3<" in page
    assert patch.response.status_code == 204
    assert http.get(f"{place}/a").content == b"old" + FIRST + REST


def test_second_append_at_the_same_time_is_locked_out_and_the_first_is_whole(
    http: httpx.Client, place: str, folder: Path, paused: Begin
) -> None:
    http.put(f"{place}/a", content=b"old", headers={"content-type": "text/plain"})
    with paused("PATCH", f"{place}/a", FIRST, REST) as patch:
        wait_until(grown(folder / "a", 3), "nothing was appended")
        for headers in ({}, {"upload-offset": "3"}):
            refused = http.patch(f"{place}/a", content=b"second", headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (423, "locked")
        assert http.get(f"{place}/a").content == b"old"
    assert patch.response.status_code == 204
    found = http.get(f"{place}/a")
    assert found.content == b"old" + FIRST + REST
    assert found.headers["repr-digest"] == digest_of(found.content)
    assert found.headers["content-type"] == "text/plain"


def test_put_during_an_append_holds_and_the_append_is_told(
    http: httpx.Client, place: str, folder: Path, paused: Begin
) -> None:
    http.put(f"{place}/a", content=b"old")
    with paused("PATCH", f"{place}/a", FIRST, REST) as patch:
        wait_until(grown(folder / "a", 3), "nothing was appended")
        stored = http.put(f"{place}/a", content=b"new", headers={"content-type": "text/plain"})
        assert stored.status_code == 204
    assert (patch.response.status_code, patch.response.json()["code"]) == (409, "conflict")
    found = http.get(f"{place}/a")
    assert (found.content, found.headers["content-type"]) == (b"new", "text/plain")
    assert found.headers["repr-digest"] == digest_of(b"new")


def test_delete_during_an_append_holds_and_the_append_is_told(
    http: httpx.Client, place: str, folder: Path, paused: Begin
) -> None:
    http.put(f"{place}/a", content=b"old")
    with paused("PATCH", f"{place}/a", FIRST, REST) as patch:
        wait_until(grown(folder / "a", 3), "nothing was appended")
        assert http.delete(f"{place}/a").status_code == 204
    assert patch.response.status_code == 409
    assert http.get(f"{place}/a").status_code == 404


def test_append_whose_sender_leaves_puts_the_old_file_back(
    http: httpx.Client, place: str, folder: Path, gateway: Served
) -> None:
    old = http.put(f"{place}/a", content=b"old", headers={"last-modified": "Wed, 21 Oct 2015 07:28:00 GMT"})
    head = f"PATCH {place}/a HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.plain_port)) as sock:
        sock.sendall(head.encode() + FIRST)
        wait_until(grown(folder / "a", 3), "nothing was appended")
    wait_until(lambda: (folder / "a").read_bytes() == b"old", "what was appended is still there")
    found = http.get(f"{place}/a")
    assert (found.content, found.headers["etag"]) == (b"old", old.headers["etag"])
    assert found.headers["last-modified"] == "Wed, 21 Oct 2015 07:28:00 GMT"


def test_killed_gateway_shows_the_old_file_and_nothing_half_at_its_next_start(spawn: Spawn, tmp_path: Path) -> None:
    first = spawn("--listen", "http://127.0.0.1:0", listen="127.0.0.1:0")
    plain = first.urls[1]
    with httpx.Client(base_url=plain) as http:
        http.put("/files/a", content=b"one")
        old = http.patch("/files/a", content=b"two")
    port = httpx.URL(plain).port
    files = first.data / "files"
    with (
        socket.create_connection(("127.0.0.1", port)) as patch,
        socket.create_connection(("127.0.0.1", port)) as put,
    ):
        patch.sendall(b"PATCH /files/a HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n" + FIRST)
        put.sendall(b"PUT /files/b HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n" + FIRST)
        wait_until(grown(files / "a", 6), "nothing was appended")
        wait_until(lambda: len(files_under(first.data / "staging")) == 1, "nothing is staged")
        first.signal(signal.SIGKILL)
        first.wait()
    assert (files / "a").stat().st_size > 6
    again = spawn("--listen", "http://127.0.0.1:0", listen="127.0.0.1:0")
    assert files_under(again.data / "staging") == []
    assert files_under(files) == ["a"]
    assert (files / "a").read_bytes() == b"onetwo"
    with httpx.Client(base_url=again.urls[1]) as http:
        found = http.get("/files/a")
        assert (found.content, found.headers["repr-digest"]) == (b"onetwo", digest_of(b"onetwo"))
        assert found.headers["last-modified"] == old.headers["last-modified"]
        assert http.patch("/files/a", content=b"!").headers["repr-digest"] == digest_of(b"onetwo!")
