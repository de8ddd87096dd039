"""Upload resources at /uploads/: HEAD, PATCH, DELETE, and their state as JSON, for who watches and who waits."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from h2gate.front.status import MAX_WAIT_SECONDS
from tests.conftest import Served
from tests.front.conftest import wait_until
from tests.front.test_resumable import APPEND, append, begin, digest_of, problem
from tests.server.conftest import Leftovers
from tests.server.raw import RawClient

UNKNOWN = "/uploads/" + "0" * 32
Begin = Callable[..., AbstractContextManager[Any]]


def test_head_tells_offset_length_limits_and_is_not_cached(http: httpx.Client, place: str) -> None:
    url = begin(http, f"{place}/a", b"12", upload_length="4").headers["location"]
    for version in ({}, {"upload-draft-interop-version": "8"}):
        head = http.head(url, headers=version)
        assert (head.status_code, head.headers["cache-control"]) == (204, "no-store")
        assert [head.headers[f"upload-{name}"] for name in ("offset", "complete", "length")] == ["2", "?0", "4"]
        assert head.headers["upload-limit"].startswith("max-age=")
    append(http, url, 2, b"34", "?1")
    head = http.head(url)
    assert [head.headers[f"upload-{name}"] for name in ("offset", "complete", "length")] == ["4", "?1", "4"]
    assert head.headers["repr-digest"] == digest_of(b"1234")


def test_get_of_who_names_a_version_is_a_head(http: httpx.Client, place: str) -> None:
    url = begin(http, f"{place}/a", b"12").headers["location"]
    found = http.get(url, headers={"upload-draft-interop-version": "6"})
    assert (found.status_code, found.headers["upload-offset"], found.content) == (204, "2", b"")
    assert found.headers["upload-draft-interop-version"] == "6"


@pytest.mark.parametrize("path", [UNKNOWN, "/uploads/x", "/uploads/%ff", UNKNOWN + "/", "/uploads//", "/uploads/../x"])
def test_what_is_no_upload_is_not_found(http: httpx.Client, path: str) -> None:
    for method in ("GET", "HEAD", "PATCH", "DELETE"):
        found = http.request(method, path, headers={**APPEND, "upload-offset": "0", "upload-complete": "?0"})
        assert found.status_code == 404
    assert http.get(path, headers={"prefer": "wait=60"}).status_code == 404


def test_methods_that_are_not_for_uploads_are_refused_with_those_that_are(http: httpx.Client) -> None:
    for path, methods in (("/uploads/", "GET, HEAD, OPTIONS"), (UNKNOWN, "GET, HEAD, PATCH, DELETE, OPTIONS")):
        refused = http.post(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, methods)
        assert http.options(path).headers["allow"] == methods


def test_append_elsewhere_than_at_the_end_is_told_where_that_is(http: httpx.Client, place: str) -> None:
    url = begin(http, f"{place}/a", b"12").headers["location"]
    for offset in (0, 1, 3):
        refused = append(http, url, offset, b"x", "?1")
        assert problem(refused) == (409, "offset_conflict")
        assert (refused.headers["upload-offset"], refused.headers["upload-complete"]) == ("2", "?0")
        document = refused.json()
        assert document["type"] == "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"
        assert (document["expected-offset"], document["provided-offset"]) == (2, offset)
    assert http.head(url).headers["upload-offset"] == "2"


@pytest.mark.parametrize("value", [None, "x", "-1", "2.0", "?0", "2, 2"])
def test_append_without_an_offset_is_refused(http: httpx.Client, place: str, value: str | None) -> None:
    url = begin(http, f"{place}/a", b"12").headers["location"]
    headers = {**APPEND, "upload-complete": "?0"} | ({"upload-offset": value} if value is not None else {})
    assert problem(http.patch(url, content=b"34", headers=headers)) == (400, "bad_field")


def test_append_of_another_type_is_refused_and_told_which_are_not(http: httpx.Client, place: str) -> None:
    url = begin(http, f"{place}/a", b"12").headers["location"]
    headers = {"upload-offset": "2", "upload-complete": "?0", "content-type": "text/plain"}
    refused = http.patch(url, content=b"34", headers=headers)
    assert problem(refused) == (415, "unsupported_media_type")
    assert "application/partial-upload" in refused.headers["accept-patch"]
    for offset, media_type in ((2, "application/octet-stream"), (4, "application/offset+octet-stream")):
        headers |= {"upload-offset": str(offset), "content-type": f"{media_type}; x=1"}
        assert http.patch(url, content=b"34", headers=headers).status_code == 204


def test_plain_patch_goes_on_and_ends_the_upload_at_its_length(http: httpx.Client, place: str, folder: Path) -> None:
    url = begin(http, f"{place}/a", b"12", upload_length="6").headers["location"]
    more = http.patch(url, content=b"34", headers={"upload-offset": "2"})
    assert (more.status_code, more.headers["upload-complete"]) == (204, "?0")
    last = http.patch(url, content=b"56", headers={"upload-offset": "4"})
    assert (last.status_code, last.headers["upload-complete"]) == (201, "?1")
    assert (folder / "a").read_bytes() == b"123456"


def test_append_to_a_complete_upload_changes_nothing_and_is_told_where_the_file_is(
    http: httpx.Client, place: str, folder: Path
) -> None:
    url = begin(http, f"{place}/a", b"12").headers["location"]
    assert append(http, url, 2, b"", "?1").status_code == 201
    again = append(http, url, 2, b"", "?1")
    assert (*problem(again), again.headers["location"]) == (400, "completed_upload", f"{place}/a")
    assert again.json()["type"].endswith("#completed-upload")
    without_length = http.patch(url, content=iter([b""]), headers={**APPEND, "upload-offset": "2"})
    assert problem(without_length) == (400, "completed_upload")
    for content in (b"34", iter([b"3", b"4"])):
        more = http.patch(url, content=content, headers={**APPEND, "upload-offset": "2", "upload-complete": "?1"})
        assert (*problem(more), more.headers["location"]) == (400, "inconsistent_length", f"{place}/a")
        assert more.json()["type"].endswith("#inconsistent-upload-length")
    assert (folder / "a").read_bytes() == b"12"


def test_deleted_upload_is_gone_and_its_file_is_not(http: httpx.Client, place: str, folder: Path) -> None:
    unfinished = begin(http, f"{place}/a", b"12").headers["location"]
    finished = begin(http, f"{place}/b", b"12").headers["location"]
    append(http, finished, 2, b"", "?1")
    for url in (unfinished, finished):
        assert http.delete(url).status_code == 204
        assert problem(append(http, url, 2, b"", "?1")) == (410, "gone")
        assert (http.head(url).status_code, http.delete(url).status_code) == (410, 410)
        assert http.get(url).json()["state"] == "cancelled"
    assert [each.name for each in folder.iterdir()] == ["b"]


def test_state_is_told_as_json(http: httpx.Client, place: str) -> None:
    url = begin(http, f"{place}/ä", b"12", upload_length="4").headers["location"]
    found = http.get(url)
    state = found.json()
    assert (found.status_code, found.headers["cache-control"]) == (200, "no-store")
    upload_id = url.removeprefix("/uploads/")
    assert (state["id"], state["url"], state["tus"]) == (upload_id, url, f"/tus/{upload_id}")
    assert (state["path"], state["state"], state["complete"]) == (f"{place}/%C3%A4", "receiving", False)
    assert (state["offset"], state["length"], state["repr_digest"], state["reason"]) == (2, 4, None, None)
    now = datetime.now(UTC).timestamp()
    created, changed, expires = (datetime.fromisoformat(state[name]) for name in ("created", "changed", "expires"))
    assert 0 <= now - created.timestamp() < 60
    assert created <= changed
    assert expires > changed
    assert state["bytes_per_second"] >= 0
    append(http, url, 2, b"34", "?1")
    state = http.get(url).json()
    assert (state["state"], state["complete"], state["repr_digest"]) == ("complete", True, digest_of(b"1234"))


@pytest.mark.parametrize("path", ["/uploads", "/uploads/"])
def test_uploads_are_listed_the_last_changed_first(http: httpx.Client, place: str, path: str) -> None:
    first, second = (begin(http, f"{place}/{name}").headers["location"] for name in "ab")
    append(http, first, 0, b"12", "?0")
    listed = http.get(path).json()["uploads"]
    assert [each["url"] for each in listed[:2]] == [first, second]
    assert listed[0] == http.get(first).json()
    head = http.head(path)
    assert (head.status_code, head.content) == (200, b"")


def test_who_watches_does_not_disturb_and_sees_it_move(
    http: httpx.Client, place: str, paused: Begin, gateway: Served
) -> None:
    url = begin(http, f"{place}/a").headers["location"]
    headers = {**APPEND, "upload-offset": "0", "upload-complete": "?1"}
    with paused("PATCH", url, bytes(200_000), b"end", headers=headers) as patch:
        partial = gateway.data / "partial" / url.removeprefix("/uploads/")
        wait_until(lambda: partial.stat().st_size > 0, "nothing came")
        assert http.get(url).json()["state"] == "receiving"
        assert http.get("/uploads/").status_code == 200
    assert patch.response.status_code == 201


def test_preference_to_wait_holds_the_answer_until_it_is_complete_or_over(
    http: httpx.Client, gateway: Served, place: str
) -> None:
    for end, state in ((lambda url: append(http, url, 0, b"1", "?1"), "complete"), (http.delete, "cancelled")):
        url = begin(http, f"{place}/a").headers["location"]
        with RawClient(gateway.url, gateway.ca) as other:
            waiting = other.open("GET", url, ("prefer", "wait=60"), end=True)
            other.quiet()
            end(url)
            answer = other.answer(waiting)
        assert (json.loads(answer.body)["state"], answer.headers["preference-applied"]) == (state, "wait=60")


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=0", "wait=0"),
        ('respond-async, Wait = "0"; x=1, wait=9', "wait=0"),
        ("wait", None),
        ("wait=-1", None),
        ("return=minimal", None),
    ],
)
def test_preference_is_read_as_it_is_written(http: httpx.Client, place: str, prefer: str, applied: str | None) -> None:
    url = begin(http, f"{place}/a").headers["location"]
    found = http.get(url, headers={"prefer": prefer})
    assert (found.json()["state"], found.headers.get("preference-applied")) == ("receiving", applied)


def test_wait_that_is_over_long_is_cut_and_told_so(http: httpx.Client, place: str) -> None:
    url = begin(http, f"{place}/a").headers["location"]
    append(http, url, 0, b"", "?1")
    found = http.get(url, headers={"prefer": "wait=999999999"})
    assert found.headers["preference-applied"] == f"wait={MAX_WAIT_SECONDS}"


@pytest.mark.parametrize("how", ["reset", "http2", "http1"])
def test_nobody_waits_on_for_a_peer_that_has_left(http: httpx.Client, gateway: Served, place: str, how: str) -> None:
    url = begin(http, f"{place}/a").headers["location"]
    before = Leftovers(gateway)
    with RawClient(gateway.url, gateway.ca, http1=how == "http1") as other:
        if how == "http1":
            other.write(f"GET {url} HTTP/1.1\r\nhost: x\r\nprefer: wait=300\r\n\r\n".encode())
        else:
            stream = other.open("GET", url, ("prefer", "wait=300"), end=True)
            other.quiet()
            if how == "reset":
                other.reset(stream)
                assert other.get("/healthz").status == 200
    before.expect_none()


def test_who_waits_and_sends_no_more_is_told_how_it_is(http: httpx.Client, gateway: Served, place: str) -> None:
    url = begin(http, f"{place}/a").headers["location"]
    with socket.create_connection(("127.0.0.1", gateway.plain_port), timeout=20) as sock:
        sock.sendall(f"GET {url} HTTP/1.1\r\nhost: x\r\nprefer: wait=300\r\n\r\n".encode())
        sock.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(body)["state"] == "receiving"
