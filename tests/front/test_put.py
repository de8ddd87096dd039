"""PUT: a file goes in whole or not at all, whatever its size, and what describes it comes back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from h2gate.fields import digest_field
from h2gate.storage.disk import SMALL_BYTES
from tests.conftest import Served

MIB = 1 << 20
SIZES = [0, 1, 4095, 4096, 4097, SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1, MIB - 1, MIB, MIB + 1, 5 * MIB]


def body_of(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def pieces(body: bytes, piece: int = 10_007) -> Iterator[bytes]:
    for start in range(0, len(body), piece):
        yield body[start : start + piece]


@pytest.mark.parametrize("known", [True, False], ids=["length", "no-length"])
@pytest.mark.parametrize("size", SIZES)
def test_file_of_any_size_is_stored_whole(http: httpx.Client, place: str, folder: Path, size: int, known: bool) -> None:
    body = body_of(size)
    stored = http.put(f"{place}/f", content=body if known else pieces(body))
    assert stored.status_code == 201
    assert stored.headers["repr-digest"] == digest_field("sha-256", hashlib.sha256(body).digest())
    assert (folder / "f").read_bytes() == body
    found = http.get(f"{place}/f")
    assert found.content == body
    assert {name: found.headers[name] for name in ("etag", "repr-digest", "last-modified")} == {
        name: stored.headers[name] for name in ("etag", "repr-digest", "last-modified")
    }


def test_new_file_is_201_with_location_and_replaced_one_204(http: httpx.Client, place: str, folder: Path) -> None:
    new = http.put(f"{place}/a/%C3%A9 b", content=b"one")
    assert (new.status_code, new.headers["location"]) == (201, f"{place}/a/%C3%A9%20b")
    assert http.get(new.headers["location"]).content == b"one"
    again = http.put(f"{place}/a/%C3%A9 b", content=b"two")
    assert (again.status_code, again.content) == (204, b"")
    assert "location" not in again.headers
    assert again.headers["etag"] != new.headers["etag"]
    assert (folder / "a/é b").read_bytes() == b"two"


def test_fields_that_describe_a_file_come_back_with_get_and_head(http: httpx.Client, place: str, folder: Path) -> None:
    fields = {
        "content-type": "text/plain; charset=utf-8",
        "content-disposition": 'attachment; filename="a.txt"',
        "content-language": "de",
        "meta-owner": "me",
        "last-modified": "Wed, 21 Oct 2015 07:28:00 GMT",
    }
    http.put(f"{place}/a", content=b"x", headers=fields)
    for response in (http.get(f"{place}/a"), http.head(f"{place}/a")):
        assert {name: response.headers[name] for name in fields} == fields
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-security-policy"] == "sandbox"
    assert (folder / "a").stat().st_mtime_ns == 1_445_412_480 * 10**9


def test_time_of_a_large_file_is_the_one_that_was_sent(http: httpx.Client, place: str, folder: Path) -> None:
    headers = {"last-modified": "Sun Nov  6 08:49:37 1994"}  # asctime, which RFC 9110 still takes
    assert http.put(f"{place}/a", content=bytes(2 * MIB), headers=headers).status_code == 201
    assert (folder / "a").stat().st_mtime_ns == 784_111_777 * 10**9


def test_replaced_file_does_not_keep_the_old_fields(http: httpx.Client, place: str) -> None:
    http.put(f"{place}/a", content=b"x", headers={"content-type": "text/plain", "meta-a": "1"})
    http.put(f"{place}/a", content=b"y")
    found = http.get(f"{place}/a")
    assert found.headers["content-type"] == "application/octet-stream"
    assert "meta-a" not in found.headers


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-range": "bytes 0-0/5"}, 400, "bad_field"),
        ({"content-encoding": "gzip"}, 400, "bad_coding"),
        ({"content-encoding": "compress"}, 415, "unsupported_media_type"),
        ({"last-modified": "yesterday"}, 400, "bad_field"),
        ({"last-modified": "Fri, 31 Dec 9999 23:59:59 GMT"}, 400, "bad_field"),
        ({"meta-long": "x" * 17_000}, 400, "bad_field"),
        ({"if-match": "abc"}, 400, "bad_field"),
    ],
)
def test_put_with_a_field_that_cannot_be_honoured_is_refused_and_stores_nothing(
    http: httpx.Client, place: str, folder: Path, headers: dict[str, str], status: int, code: str
) -> None:
    response = http.put(f"{place}/a", content=b"12345", headers=headers)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert not folder.exists()


def test_if_none_match_star_stores_a_new_file_and_leaves_one_that_is_there(http: httpx.Client, place: str) -> None:
    only_new = {"if-none-match": "*"}
    first = http.put(f"{place}/a", content=b"one", headers=only_new)
    assert first.status_code == 201
    again = http.put(f"{place}/a", content=b"two", headers=only_new)
    assert (again.status_code, again.json()["code"]) == (412, "precondition_failed")
    assert again.headers["etag"] == first.headers["etag"]
    found = http.get(f"{place}/a")
    assert (found.content, found.headers["repr-digest"]) == (b"one", first.headers["repr-digest"])


def test_if_match_replaces_the_named_file_only(http: httpx.Client, place: str) -> None:
    etag = http.put(f"{place}/a", content=b"one").headers["etag"]
    assert http.put(f"{place}/a", content=b"two", headers={"if-match": f'"x", {etag}'}).status_code == 204
    assert http.put(f"{place}/a", content=b"three", headers={"if-match": etag}).status_code == 412
    assert http.put(f"{place}/a", content=b"three", headers={"if-match": f"W/{etag}"}).status_code == 412
    assert http.put(f"{place}/missing", content=b"x", headers={"if-match": "*"}).status_code == 412
    assert http.get(f"{place}/a").content == b"two"
    assert http.get(f"{place}/missing").status_code == 404


def test_if_unmodified_since_leaves_a_file_that_was_changed(http: httpx.Client, place: str) -> None:
    http.put(f"{place}/a", content=b"one", headers={"last-modified": "Wed, 21 Oct 2015 07:28:00 GMT"})
    earlier = {"if-unmodified-since": "Wed, 21 Oct 2015 07:27:59 GMT"}
    assert http.put(f"{place}/a", content=b"two", headers=earlier).status_code == 412
    same = {"if-unmodified-since": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert http.put(f"{place}/a", content=b"two", headers=same).status_code == 204
    no_date = {"if-unmodified-since": "some day"}  # to be ignored (RFC 9110 section 13.1.4)
    assert http.put(f"{place}/a", content=b"three", headers=no_date).status_code == 204


def test_body_larger_than_the_limit_is_refused_whether_its_length_is_told_or_not(serve: object, trust: object) -> None:
    served: Served = serve(max_body=100_000)  # type: ignore[operator]
    with httpx.Client(http2=True, verify=trust, base_url=served.url) as http:  # type: ignore[arg-type]
        for content in (bytes(100_001), pieces(bytes(300_000))):
            refused = http.put("/files/a", content=content)
            assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
        assert http.put("/files/a", content=bytes(100_000)).status_code == 201
    assert served.staged() == []
