"""tus 1.0.0: creation, creation-defer-length, creation-with-upload, expiration and termination."""

from __future__ import annotations

import hashlib
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from h2gate.fields import digest_field
from tests.conftest import Serve, Served
from tests.front.conftest import wait_until
from tests.front.tusser import BYTES, Tus, code

WEEK = 7 * 86400


@pytest.mark.parametrize("path", ["/tus", "/tus/"])
def test_creation_is_201_and_tells_where_without_a_host(tus: Tus, path: str) -> None:
    answer = tus.request("POST", path, upload_length=5)
    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers["location"].startswith("/tus/")
    assert tus.offset(answer.headers["location"]) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"upload_length": 5, "upload_defer_length": 1},
        {"upload_length": -1},
        {"upload_length": "five"},
        {"upload_length": ""},
        {"upload_defer_length": 0},
        {"upload_defer_length": 2},
        {"upload_defer_length": ""},
        {"upload_defer_length": "true"},
        {"upload_defer_length": 2, "upload_length": 5},
    ],
    ids=str,
)
def test_creation_needs_a_length_or_that_it_is_deferred(tus: Tus, fields: dict[str, Any]) -> None:
    refused = tus.post(**fields)
    assert code(refused) == (400, "bad_field")
    assert "location" not in refused.headers


@pytest.mark.parametrize("content_type", [None, BYTES])
def test_upload_of_length_0_is_complete_at_once(tus: Tus, content_type: str | None) -> None:
    answer = tus.post(b"", upload_length=0, upload_metadata=tus.named("a"), content_type=content_type)
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "0")
    assert (tus.get().status_code, tus.get().content) == (200, b"")
    assert answer.headers["etag"] == tus.get().headers["etag"]
    assert tus.offset(answer.headers["location"]) == 0


def test_length_that_is_deferred_is_told_as_such_until_a_patch_brings_it(tus: Tus) -> None:
    url = tus.create(upload_defer_length=1)
    for offset, more in ((0, {}), (3, {"upload_length": 9})):
        head = tus.head(url).headers
        assert (head["upload-defer-length"], head["upload-offset"]) == ("1", str(offset))
        assert "upload-length" not in head
        assert tus.patch(url, offset, b"abc", **more).status_code == 204
    head = tus.head(url).headers
    assert (head["upload-length"], head["upload-offset"]) == ("9", "6")
    assert "upload-defer-length" not in head
    assert tus.patch(url, 6, b"abc").status_code == 204
    assert tus.get().content == b"abcabcabc"


def test_length_that_is_known_at_the_very_end_completes_the_upload(tus: Tus) -> None:
    url = tus.create(upload_defer_length=1)
    tus.patch(url, 0, b"abc")
    assert tus.patch(url, 3, b"", upload_length=3).headers["upload-offset"] == "3"
    assert tus.get().content == b"abc"


@pytest.mark.parametrize("created", [{"upload_length": 6}, {"upload_defer_length": 1}], ids=str)
def test_length_that_is_set_does_not_change(tus: Tus, created: dict[str, Any]) -> None:
    url = tus.create(**created)
    assert tus.patch(url, 0, b"abc", upload_length=6).status_code == 204
    for other in (3, 5, 7):
        assert code(tus.patch(url, 3, b"", upload_length=other)) == (400, "inconsistent_length")
    assert (tus.head(url).headers["upload-length"], tus.offset(url)) == ("6", 3)
    assert tus.patch(url, 3, b"def", upload_length=6).status_code == 204
    assert tus.get().content == b"abcdef"


def test_length_below_the_offset_is_refused_and_nothing_is_lost(tus: Tus) -> None:
    url = tus.create(upload_defer_length=1)
    tus.patch(url, 0, b"abc")
    assert code(tus.patch(url, 3, b"", upload_length=2)) == (400, "inconsistent_length")
    assert tus.offset(url) == 3


@pytest.mark.parametrize(("body", "is_whole"), [(b"abc", False), (b"abcdef", True)])
def test_creation_with_upload_tells_the_offset(tus: Tus, body: bytes, is_whole: bool) -> None:
    answer = tus.post(body, upload_length=6, upload_metadata=tus.named("a"), content_type=BYTES)
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, str(len(body)))
    assert tus.offset(answer.headers["location"]) == len(body)
    assert (tus.get().status_code == 200) == is_whole
    assert ("repr-digest" in answer.headers) == is_whole


def test_creation_with_upload_may_defer_the_length(tus: Tus) -> None:
    url = tus.post(b"abc", upload_defer_length=1, upload_metadata=tus.named("a"), content_type=BYTES).headers[
        "location"
    ]
    assert tus.patch(url, 3, b"def", upload_length=6).status_code == 204
    assert tus.get().content == b"abcdef"


def test_creation_with_a_body_of_another_type_is_415_and_creates_nothing(tus: Tus) -> None:
    refused = tus.post(b"abc", upload_length=3, upload_metadata=tus.named("a"), content_type="text/plain")
    assert code(refused) == (415, "unsupported_media_type")
    assert "location" not in refused.headers


def test_creation_with_more_bytes_than_its_length_leaves_nothing(tus: Tus, gateway: Served) -> None:
    before = partial(gateway)
    refused = tus.post(b"abcd", upload_length=3, upload_metadata=tus.named("a"), content_type=BYTES)
    assert code(refused) == (400, "inconsistent_length")
    assert "location" not in refused.headers
    assert partial(gateway) == before


def test_creation_whose_bytes_have_another_checksum_stays_without_them(tus: Tus) -> None:
    checksum = "crc32 AAAAAA=="
    refused = tus.post(
        b"abc", upload_length=3, upload_metadata=tus.named("a"), content_type=BYTES, upload_checksum=checksum
    )
    assert code(refused) == (460, "checksum_mismatch")
    url = refused.headers["location"]
    assert tus.offset(url) == 0
    assert tus.patch(url, 0, b"abc").status_code == 204


def test_condition_is_checked_at_creation_and_again_at_the_end(tus: Tus) -> None:
    first, second = [tus.create(3, if_none_match="*") for _ in range(2)]
    assert tus.patch(first, 0, b"abc").status_code == 204
    assert code(tus.post(upload_length=3, upload_metadata=tus.named("a"), if_none_match="*"))[0] == 412
    assert code(tus.patch(second, 0, b"def")) == (412, "precondition_failed")
    assert tus.get().content == b"abc"
    etag = tus.get().headers["etag"]
    assert tus.patch(tus.create(3, if_match=etag), 0, b"def").status_code == 204
    assert tus.get().content == b"def"


def test_digest_of_the_whole_that_came_with_the_creation_is_verified_at_the_end(tus: Tus) -> None:
    digest = digest_field("sha-256", hashlib.sha256(b"abcdef").digest())
    for body, status in ((b"abcdeX", 400), (b"abcdef", 204)):
        url = tus.create(6, repr_digest=digest)
        assert tus.patch(url, 0, body[:3]).status_code == 204
        assert tus.patch(url, 3, body[3:]).status_code == status
    assert tus.get().content == b"abcdef"


def test_expiry_is_told_by_every_answer_about_an_upload_that_will_expire_and_by_no_other(tus: Tus) -> None:
    created = tus.post(upload_length=6, upload_metadata=tus.named("a"))
    url = created.headers["location"]
    for answer in (created, tus.patch(url, 0, b"abc"), tus.head(url)):
        assert answer.headers["upload-expires"].endswith(" GMT")
        expires = parsedate_to_datetime(answer.headers["upload-expires"]).timestamp()
        assert WEEK - 300 < expires - time.time() <= WEEK
    assert "upload-expires" not in tus.patch(url, 3, b"def").headers
    assert "upload-expires" not in tus.head(url).headers


def test_upload_that_has_expired_is_410_and_frees_its_bytes(serve: Serve) -> None:
    served = serve(upload_seconds=0.5, upkeep_seconds=0.05)
    with httpx.Client(base_url=served.plain_url) as http:
        tus = Tus(http)
        url = tus.create(6)
        tus.patch(url, 0, b"abc")
        wait_until(lambda: tus.head(url).status_code != 200, "the upload does not expire")
        assert tus.head(url).status_code in (404, 410)
        assert tus.patch(url, 3, b"def").status_code in (404, 410)
        wait_until(lambda: not partial(served), "its bytes are kept")


def test_termination_is_204_frees_the_bytes_and_later_requests_are_410(tus: Tus, gateway: Served) -> None:
    before = partial(gateway)
    url = tus.create(6)
    tus.patch(url, 0, b"abc")
    assert partial(gateway) > before
    answer = tus.request("DELETE", url)
    assert (answer.status_code, answer.content) == (204, b"")
    assert partial(gateway) == before
    assert tus.head(url).status_code == 410
    for method in ("PATCH", "DELETE"):
        assert code(tus.request(method, url, b"", content_type=BYTES, upload_offset=3)) == (410, "gone")


def test_termination_of_a_complete_upload_leaves_its_file(tus: Tus) -> None:
    url = tus.create(3)
    tus.patch(url, 0, b"abc")
    assert tus.request("DELETE", url).status_code == 204
    assert tus.head(url).status_code == 410
    assert tus.get().content == b"abc"


def partial(gateway: Served) -> set[str]:
    """What is kept of unfinished uploads."""
    return {path.name for path in (gateway.data / "partial").iterdir()}
