"""GET and HEAD: ranges and conditions of RFC 9110; a record is believed only about the file it was made for."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import httpx
import pytest

from h2gate.fields import digest_field
from tests.conftest import Served

BODY = bytes(range(200)) * 3000


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=599990-", 599_990, 600_000),
        ("bytes=-10", 599_990, 600_000),
        ("bytes=-9999999", 0, 600_000),
        ("bytes=100-9999999", 100, 600_000),
        ("Bytes=1-2", 1, 3),
    ],
)
def test_one_range_is_206_with_its_bytes(http: httpx.Client, place: str, asked: str, start: int, stop: int) -> None:
    whole = http.put(f"{place}/a", content=BODY)
    found = http.get(f"{place}/a", headers={"range": asked})
    assert (found.status_code, found.content) == (206, BODY[start:stop])
    assert found.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(BODY)}"
    assert found.headers["content-length"] == str(stop - start)
    assert found.headers["repr-digest"] == whole.headers["repr-digest"]


@pytest.mark.parametrize("asked", ["bytes=600000-", "bytes=600000-700000", "bytes=-0", "bytes=9999999999-"])
def test_range_behind_the_end_is_416_and_tells_the_size(http: httpx.Client, place: str, asked: str) -> None:
    http.put(f"{place}/a", content=BODY)
    found = http.get(f"{place}/a", headers={"range": asked})
    assert (found.status_code, found.headers["content-range"]) == (416, "bytes */600000")
    assert found.json()["code"] == "range_not_satisfiable"


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-1,4-5", "bytes=5-2", "bytes=a-b", "bytes=-", "bytes", "lines=0-1", "", "bytes=--1"],
)
def test_several_ranges_and_what_is_no_range_get_the_whole(http: httpx.Client, place: str, asked: str) -> None:
    http.put(f"{place}/a", content=b"0123456789")
    found = http.get(f"{place}/a", headers={"range": asked})
    assert (found.status_code, found.content) == (200, b"0123456789")


def test_if_range_gets_the_part_of_the_named_file_and_the_whole_of_another(http: httpx.Client, place: str) -> None:
    stored = http.put(f"{place}/a", content=b"0123456789").headers
    for same in (stored["etag"], stored["last-modified"]):
        assert http.get(f"{place}/a", headers={"range": "bytes=2-3", "if-range": same}).content == b"23"
    for other in ('"x"', f"W/{stored['etag']}", "Wed, 21 Oct 2015 07:28:00 GMT", "nonsense"):
        whole = http.get(f"{place}/a", headers={"range": "bytes=2-3", "if-range": other})
        assert (whole.status_code, whole.content) == (200, b"0123456789")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_file_that_the_reader_has_is_304_without_a_body(http: httpx.Client, place: str, method: str) -> None:
    stored = http.put(f"{place}/a", content=b"abc").headers
    etag, modified = stored["etag"], stored["last-modified"]
    for fields in (
        {"if-none-match": etag},
        {"if-none-match": f'"x", W/{etag}'},
        {"if-none-match": "*"},
        {"if-modified-since": modified},
        {"if-match": etag, "if-none-match": etag},
    ):
        found = http.request(method, f"{place}/a", headers=fields)
        assert (found.status_code, found.content, found.headers["etag"]) == (304, b"", etag)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_file_that_the_reader_has_not_is_200_and_a_failed_condition_412(
    http: httpx.Client, place: str, method: str
) -> None:
    etag = http.put(f"{place}/a", content=b"abc").headers["etag"]
    old = "Wed, 21 Oct 2015 07:28:00 GMT"
    for fields in (
        {"if-none-match": '"x"'},
        {"if-modified-since": old},
        {"if-modified-since": "no date"},
        {"if-none-match": '"x"', "if-modified-since": "Wed, 21 Oct 2099 07:28:00 GMT"},
        {"if-match": etag, "if-unmodified-since": old},
    ):
        assert http.request(method, f"{place}/a", headers=fields).status_code == 200
    for fields in ({"if-match": '"x"'}, {"if-unmodified-since": old}):
        assert http.request(method, f"{place}/a", headers=fields).status_code == 412


def test_head_tells_what_get_would_without_the_body(http: httpx.Client, place: str) -> None:
    http.put(f"{place}/a", content=BODY, headers={"content-type": "text/plain"})
    got, head = http.get(f"{place}/a"), http.head(f"{place}/a")
    assert head.content == b""
    assert dict(got.headers) | {"date": ""} == dict(head.headers) | {"date": ""}
    missing = http.head(f"{place}/b")
    assert (missing.status_code, missing.content) == (404, b"")


def test_empty_file_comes_back_empty(http: httpx.Client, place: str) -> None:
    http.put(f"{place}/a", content=b"")
    found = http.get(f"{place}/a")
    assert (found.status_code, found.content, found.headers["content-length"]) == (200, b"", "0")
    assert http.get(f"{place}/a", headers={"range": "bytes=0-"}).status_code == 416


def test_file_put_there_by_hand_is_served_without_a_digest(http: httpx.Client, place: str, folder: Path) -> None:
    folder.mkdir()
    (folder / "a").write_bytes(b"by hand")
    os.utime(folder / "a", ns=(0, -1))
    found = http.get(f"{place}/a")
    assert (found.content, "repr-digest" in found.headers) == (b"by hand", False)
    assert found.headers["last-modified"] == "Wed, 31 Dec 1969 23:59:59 GMT"
    assert http.get(f"{place}/a", headers={"if-none-match": found.headers["etag"]}).status_code == 304
    replaced = http.put(f"{place}/a", content=b"x", headers={"if-match": found.headers["etag"]})
    assert (replaced.status_code, "repr-digest" in replaced.headers) == (204, True)


def test_record_of_a_file_changed_by_hand_is_not_believed(http: httpx.Client, place: str, folder: Path) -> None:
    stored = http.put(f"{place}/a", content=b"sent", headers={"content-type": "text/plain"}).headers
    (folder / "a").write_bytes(b"by hand")
    found = http.get(f"{place}/a")
    assert found.content == b"by hand"
    assert "repr-digest" not in found.headers
    assert found.headers["etag"] != stored["etag"]
    assert found.headers["content-type"] == "application/octet-stream"
    [entry] = http.get(f"{place}/").json()["entries"]
    assert (entry["size"], entry["repr_digest"], entry["etag"]) == (7, None, found.headers["etag"])


def test_reader_gets_one_version_whole_while_the_file_is_replaced_again_and_again(
    http: httpx.Client, gateway: Served, place: str
) -> None:
    versions = [b"a" * 50_000, b"b" * 300_000]
    stop = threading.Event()
    replaced = 0

    def replace() -> None:
        nonlocal replaced
        with httpx.Client(base_url=gateway.plain_url) as writer:
            while not stop.is_set():
                writer.put(f"{place}/f", content=versions[replaced % 2]).raise_for_status()
                replaced += 1

    http.put(f"{place}/f", content=versions[1])
    thread = threading.Thread(target=replace)
    thread.start()
    try:
        for _ in range(60):
            found = http.get(f"{place}/f")
            assert found.status_code == 200
            assert found.content in versions
            digest = digest_field("sha-256", hashlib.sha256(found.content).digest())
            assert found.headers.get("repr-digest", digest) == digest
    finally:
        stop.set()
        thread.join()
    assert replaced > 1
    assert http.get(f"{place}/f").headers["repr-digest"]


def test_files_put_at_the_same_time_leave_one_whole_with_its_own_fields(
    gateway: Served, http: httpx.Client, place: str
) -> None:
    def put(number: int) -> None:
        with httpx.Client(base_url=gateway.plain_url) as client:
            for count in range(20):
                text = f"{number} {count}"
                client.put(f"{place}/f", content=text, headers={"meta-text": text}).raise_for_status()

    threads = [threading.Thread(target=put, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = http.get(f"{place}/f")
    assert found.headers["meta-text"] == found.text


def test_of_writers_with_the_same_if_match_one_wins(gateway: Served, http: httpx.Client, place: str) -> None:
    answers: list[int] = []
    for round_ in range(10):
        etag = http.put(f"{place}/f", content=f"old {round_}").headers["etag"]
        barrier = threading.Barrier(4)

        def put(number: int, etag: str = etag, barrier: threading.Barrier = barrier) -> None:
            with httpx.Client(base_url=gateway.plain_url) as client:
                barrier.wait()
                answer = client.put(f"{place}/f", content=f"new {number}", headers={"if-match": etag})
                answers.append(answer.status_code)

        threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == [204] * 10 + [412] * 30
