"""PATCH: bytes go behind a file, all of them or none, and the digest stays that of the whole."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import httpx
import pytest

from h2gate.fields import digest_field
from tests.conftest import Serve, Served
from tests.front.conftest import files_under

MIB = 1 << 20


def digest_of(body: bytes) -> str:
    return digest_field("sha-256", hashlib.sha256(body).digest())


def test_appends_of_any_size_make_one_file_with_the_digest_of_the_whole(http: httpx.Client, place: str) -> None:
    whole = b"first"
    http.put(f"{place}/a", content=whole)
    for size in (0, 1, 4090, 4096, 4097, 131_072, MIB + 1, 3 * MIB, 7):
        more = os.urandom(size)
        whole += more
        answer = http.patch(f"{place}/a", content=more, headers={"content-type": "application/octet-stream"})
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(len(whole)))
        assert answer.headers["repr-digest"] == digest_of(whole)
    found = http.get(f"{place}/a")
    assert found.content == whole
    assert (found.headers["repr-digest"], found.headers["etag"]) == (digest_of(whole), answer.headers["etag"])


def test_patch_keeps_the_fields_of_the_file(http: httpx.Client, place: str) -> None:
    http.put(f"{place}/a", content=b"x", headers={"content-type": "text/plain", "meta-a": "1"})
    http.patch(f"{place}/a", content=b"y")
    found = http.get(f"{place}/a").headers
    assert (found["content-type"], found["meta-a"]) == ("text/plain", "1")


def test_patch_at_its_end_appends(http: httpx.Client, place: str) -> None:
    http.put(f"{place}/a", content=b"12345")
    assert http.patch(f"{place}/a", content=b"67", headers={"upload-offset": "5"}).status_code == 204
    assert http.get(f"{place}/a").content == b"1234567"


@pytest.mark.parametrize("offset", [0, 4, 6, 10**17])
def test_patch_at_wrong_offset_is_refused_and_tells_the_offset(http: httpx.Client, place: str, offset: int) -> None:
    http.put(f"{place}/a", content=b"12345")
    refused = http.patch(f"{place}/a", content=b"67", headers={"upload-offset": str(offset)})
    assert (refused.status_code, refused.headers["upload-offset"]) == (409, "5")
    assert (refused.json()["code"], refused.json()["offset"]) == ("offset_conflict", 5)
    assert http.get(f"{place}/a").content == b"12345"


@pytest.mark.parametrize("offset", ["-1", "x", "1.0", "\u0661", "9" * 19, ""])
def test_patch_with_an_offset_that_is_no_number_is_refused(http: httpx.Client, place: str, offset: str) -> None:
    http.put(f"{place}/a", content=b"12345")
    headers = {b"upload-offset": offset.encode()}
    refused = http.patch(f"{place}/a", content=b"67", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_field")


def test_patch_of_what_is_not_there_or_no_file_is_refused(http: httpx.Client, place: str, folder: Path) -> None:
    assert http.patch(f"{place}/a", content=b"x").status_code == 404
    assert http.patch(f"{place}/a", content=b"x", headers={"if-match": "*"}).status_code == 412
    folder.mkdir()
    assert http.patch(place, content=b"x").status_code == 409
    assert files_under(folder) == []


def test_patch_of_another_media_type_is_refused_with_those_that_are_taken(http: httpx.Client, place: str) -> None:
    http.put(f"{place}/a", content=b"x")
    refused = http.patch(f"{place}/a", content=b"{}", headers={"content-type": "application/json"})
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media_type")
    assert "application/octet-stream" in refused.headers["accept-patch"]


def test_patch_of_a_file_that_changed_fails_its_condition(http: httpx.Client, place: str) -> None:
    etag = http.put(f"{place}/a", content=b"one").headers["etag"]
    assert http.patch(f"{place}/a", content=b"1", headers={"if-match": etag}).status_code == 204
    refused = http.patch(f"{place}/a", content=b"2", headers={"if-match": etag})
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
    assert http.get(f"{place}/a").content == b"one1"


@pytest.mark.parametrize("size", [0, 5, 4096, MIB])
@pytest.mark.parametrize("more", [b"more", bytes(2 * MIB)], ids=len)
def test_append_with_a_wrong_digest_leaves_bytes_size_and_time(
    http: httpx.Client, place: str, folder: Path, size: int, more: bytes
) -> None:
    old = http.put(f"{place}/a", content=bytes(size), headers={"last-modified": "Wed, 21 Oct 2015 07:28:00 GMT"})
    before = (folder / "a").stat()
    refused = http.patch(f"{place}/a", content=more, headers={"content-digest": digest_of(b"other")})
    assert (refused.status_code, refused.json()["code"]) == (400, "digest_mismatch")
    after = (folder / "a").stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, size, before.st_mtime_ns)
    found = http.get(f"{place}/a")
    assert (found.content, found.headers["repr-digest"]) == (bytes(size), old.headers["repr-digest"])
    again = http.patch(f"{place}/a", content=more)
    assert again.headers["repr-digest"] == digest_of(bytes(size) + more)


def test_append_to_a_file_put_there_by_hand_is_digested_whole(http: httpx.Client, place: str, folder: Path) -> None:
    folder.mkdir()
    (folder / "a").write_bytes(b"by hand")
    answer = http.patch(f"{place}/a", content=b", and more")
    assert answer.headers["repr-digest"] == digest_of(b"by hand, and more")
    with (folder / "a").open("ab") as file:
        file.write(b"!")
    answer = http.patch(f"{place}/a", content=b"?")
    assert answer.headers["repr-digest"] == digest_of(b"by hand, and more!?")


def test_append_larger_than_the_limit_is_refused(serve: Serve) -> None:
    served: Served = serve(max_body=1000)
    with httpx.Client(base_url=served.plain_url) as http:
        http.put("/files/a", content=b"x")
        refused = http.patch("/files/a", content=bytes(1001))
        assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
        assert http.get("/files/a").content == b"x"


def test_digest_is_right_after_an_append_by_the_next_gateway(serve: Serve, trust: object) -> None:
    first: Served = serve(grace_seconds=1.0)
    with httpx.Client(base_url=first.plain_url) as http:
        http.put("/files/a", content=b"one")
        http.patch("/files/a", content=b"two")
    again: Served = serve(data=first.data)  # no other holds the lock here: the running hashes of the first are not seen
    with httpx.Client(base_url=again.plain_url) as http:
        assert http.get("/files/a").headers["repr-digest"] == digest_of(b"onetwo")
        assert http.patch("/files/a", content=b"three").headers["repr-digest"] == digest_of(b"onetwothree")
