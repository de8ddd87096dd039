"""tus 1.0.0: uploads whose end is not as it should be, or comes twice; bodies that are none; files that are gone."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

import pytest

from h2gate.fields import digest_field
from tests.front.tusser import BYTES, Tus, code


def chunked(data: bytes) -> Iterator[bytes]:
    """Of a length that is not told."""
    yield data


def path(tus: Tus, name: str) -> str:
    return f"/files/{tus.folder}/{name}"


def checksum_of(data: bytes) -> str:
    return "sha1 " + base64.b64encode(hashlib.sha1(data).digest()).decode()  # noqa: S324 - what tus demands


def test_whole_upload_that_cannot_be_shown_tells_its_offset_all_the_same(tus: Tus) -> None:
    url = tus.post(upload_length=3, upload_metadata=tus.named("a"), if_none_match="*").headers["location"]
    tus.http.put(path(tus, "a"), content=b"other")
    assert code(tus.patch(url, 0, b"one")) == (412, "precondition_failed")
    told = tus.head(url)
    assert (told.status_code, told.headers["upload-offset"], told.headers["upload-length"]) == (200, "3", "3")
    tus.http.delete(path(tus, "a"))
    assert tus.head(url).headers["content-location"] == path(tus, "a")
    assert tus.get().content == b"one"


@pytest.mark.parametrize("fields", [{}, {"content_type": "text/plain"}], ids=str)
def test_creation_with_a_body_of_another_type_is_refused_whether_its_length_is_told_or_not(
    tus: Tus, fields: dict[str, str]
) -> None:
    for body in (b"hello", chunked(b"hello")):
        refused = tus.request("POST", "/tus/", content=body, upload_length=5, **fields)
        assert code(refused) == (415, "unsupported_media_type")
    assert tus.request("POST", "/tus/", content=chunked(b""), upload_length=5, **fields).status_code == 201


def test_concatenation_takes_no_bytes_in_whatever_way(tus: Tus) -> None:
    part = tus.part(b"one")
    for body in (b"hello", chunked(b"hello")):
        refused = tus.request("POST", "/tus/", content=body, upload_concat=f"final;{part}", content_type=BYTES)
        assert code(refused) == (403, "refused")
    final = tus.request("POST", "/tus/", upload_concat=f"final;{part}", upload_metadata=tus.named("a"))
    url = final.headers["location"]
    assert code(tus.request("PATCH", url, content=b"x", content_type="text/plain")) == (403, "refused")
    assert code(tus.request("PATCH", url, content=b"x")) == (403, "refused")


def test_end_that_is_sent_again_tells_all_of_the_file_and_is_checked(tus: Tus) -> None:
    url = tus.post(upload_length=3, upload_metadata=tus.named("a")).headers["location"]
    done = tus.patch(url, 0, b"one")
    again = tus.patch(url, 3, b"")
    for field in ("etag", "repr-digest", "content-location", "upload-offset"):
        assert again.headers[field] == done.headers[field]
    assert tus.patch(url, 3, b"", upload_checksum=checksum_of(b"")).status_code == 204
    assert code(tus.patch(url, 3, b"", upload_checksum=checksum_of(b"x"))) == (460, "checksum_mismatch")
    assert tus.patch(url, 3, b"", upload_length=3).status_code == 204
    assert code(tus.patch(url, 3, b"", upload_length=7)) == (400, "inconsistent_length")


def test_digest_of_the_whole_may_come_with_the_last_bytes(tus: Tus) -> None:
    right = digest_field("sha-256", hashlib.sha256(b"onetwo").digest())
    url = tus.post(upload_length=6, upload_metadata=tus.named("a")).headers["location"]
    tus.patch(url, 0, b"one")
    assert tus.patch(url, 3, b"two", repr_digest=right).headers["repr-digest"] == right
    url = tus.post(upload_length=6, upload_metadata=tus.named("b")).headers["location"]
    tus.patch(url, 0, b"one")
    assert code(tus.patch(url, 3, b"tow", repr_digest=right)) == (400, "digest_mismatch")
    assert tus.get("b").status_code == 404


def test_file_that_is_gone_is_not_pointed_to(tus: Tus) -> None:
    url = tus.post(b"one", upload_length=3, upload_metadata=tus.named("a"), content_type=BYTES).headers["location"]
    assert tus.http.get(url, follow_redirects=False).headers["location"] == path(tus, "a")
    tus.http.delete(path(tus, "a"))
    assert code(tus.http.get(url, follow_redirects=False)) == (404, "not_found")
    assert "content-location" not in tus.head(url).headers


def test_content_coding_is_refused(tus: Tus) -> None:
    fields = {"upload_length": 3, "content_type": BYTES, "content_encoding": "gzip"}
    assert code(tus.request("POST", "/tus/", content=b"one", **fields)) == (415, "unsupported_media_type")
    url = tus.post(upload_length=3, upload_metadata=tus.named("a")).headers["location"]
    assert code(tus.patch(url, 0, b"one", content_encoding="gzip")) == (415, "unsupported_media_type")
    assert tus.offset(url) == 0


def test_lengths_that_no_structured_field_can_hold_are_refused(tus: Tus) -> None:
    assert tus.post(upload_length=10**15 - 1).status_code == 201
    assert code(tus.post(upload_length=10**15)) == (400, "bad_field")


@pytest.mark.parametrize("url", ["/tus/nothing", "/tus/" + "0" * 32, "/uploads/nothing", "/uploads/" + "0" * 32])
def test_head_is_never_stored(tus: Tus, url: str) -> None:
    for headers in ({}, {"tus-resumable": "1.0.0"}):
        assert tus.http.head(url, headers=headers).headers["cache-control"] == "no-store"
