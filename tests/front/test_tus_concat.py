"""tus 1.0.0: concatenation and concatenation-unfinished."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest

from h2gate.fields import digest_field
from tests.conftest import Serve, Served
from tests.front.conftest import wait_until
from tests.front.tusser import BYTES, Tus, code, encoded

UNKNOWN = "/tus/" + "0" * 32


def join(tus: Tus, *urls: str, name: str = "a", **fields: Any) -> httpx.Response:
    given: dict[str, Any] = {"upload_concat": f"final;{' '.join(urls)}", "upload_metadata": tus.named(name)} | fields
    return tus.request("POST", "/tus/", **given)


def test_parts_are_joined_in_the_order_given(tus: Tus) -> None:
    bodies = [b"one", b"", b"two" * 100_000, b"three"]
    one, nothing, two, three = urls = [tus.part(body) for body in bodies]
    answer = join(tus, three, nothing, one, two)
    assert answer.status_code == 201
    whole = b"threeone" + bodies[2]
    assert tus.get().content == whole
    assert answer.headers["repr-digest"] == digest_field("sha-256", hashlib.sha256(whole).digest())
    assert answer.headers["etag"] == tus.get().headers["etag"]
    head = tus.head(answer.headers["location"]).headers
    assert head["upload-length"] == head["upload-offset"] == str(len(whole))
    assert head["upload-concat"] == f"final;{urls[3]} {urls[1]} {urls[0]} {urls[2]}"
    assert join(tus, *urls, name="b").status_code == 201
    assert tus.get("b").content == b"".join(bodies)


def test_part_tells_what_it_is_and_how_far_and_becomes_no_file(tus: Tus) -> None:
    url = tus.part(length=6, upload_metadata=tus.named("part"))
    for offset in (0, 3):
        head = tus.head(url).headers
        assert (head["upload-concat"], head["upload-offset"], head["upload-length"]) == ("partial", str(offset), "6")
        tus.patch(url, offset, b"abc")
    head = tus.head(url).headers
    assert (head["upload-concat"], head["upload-offset"]) == ("partial", "6")
    assert "upload-expires" in head
    assert tus.get("part").status_code == 404
    assert code(tus.http.get(url)) == (404, "not_found")


def test_part_with_its_bytes_at_creation_checks_their_checksum(tus: Tus) -> None:
    given: dict[str, Any] = {"upload_length": 3, "upload_concat": "partial", "content_type": BYTES}
    wrong = tus.request("POST", "/tus/", b"abc", upload_checksum="crc32 AAAAAA==", **given)
    assert code(wrong) == (460, "checksum_mismatch")


def test_parts_may_be_named_by_whole_urls_and_relative_ones(tus: Tus) -> None:
    urls = [tus.part(b"ab"), tus.part(b"cd"), tus.part(b"ef"), tus.part(b"gh")]
    base = str(tus.http.base_url).rstrip("/")
    shapes = [base + urls[0], urls[1], urls[2].rpartition("/")[2], f"https://proxy.example/some/where{urls[3]}"]
    answer = join(tus, *shapes)
    assert answer.status_code == 201
    assert tus.get().content == b"abcdefgh"
    assert tus.head(answer.headers["location"]).headers["upload-concat"] == f"final;{' '.join(urls)}"


def test_part_may_be_used_several_times(tus: Tus) -> None:
    url = tus.part(b"ab")
    assert join(tus, url, url, url).status_code == 201
    assert join(tus, url, name="b").status_code == 201
    assert (tus.get().content, tus.get("b").content) == (b"ababab", b"ab")
    assert tus.offset(url) == 2


@pytest.mark.parametrize("fields", [{"upload_length": 2}, {"upload_defer_length": 1}], ids=str)
def test_concatenation_takes_no_length(tus: Tus, fields: dict[str, Any]) -> None:
    assert code(join(tus, tus.part(b"ab"), **fields)) == (400, "bad_field")
    assert tus.get().status_code == 404


def test_concatenation_takes_no_bytes_when_it_is_created(tus: Tus) -> None:
    refused = join(tus, tus.part(b"ab"), content=b"cd", content_type=BYTES)
    assert code(refused) == (403, "refused")
    assert tus.get().status_code == 404


@pytest.mark.parametrize(
    "value",
    ["", "part", "Partial", "partial;/tus/x", "final", "final;", "final;;", "final,/tus/x", "final;/tus/x",
     "final;http://[", "final;/files/" + "0" * 32, "final;" + UNKNOWN],
)  # fmt: skip
def test_malformed_concatenation_or_a_part_that_is_not_there_is_400(tus: Tus, value: str) -> None:
    given: dict[str, Any] = {} if value.startswith("final") else {"upload_length": 2}
    refused = tus.request("POST", "/tus/", upload_concat=value, upload_metadata=tus.named("a"), **given)
    assert code(refused) == (400, "bad_field")


def test_only_what_was_created_as_a_part_is_one(tus: Tus) -> None:
    final = join(tus, tus.part(b"ab")).headers["location"]
    for url in (tus.create(3, name="b"), final):
        assert code(join(tus, url, name="c")) == (400, "bad_field")


def test_metadata_of_parts_does_not_carry_over(tus: Tus) -> None:
    part = tus.part(b"ab", upload_metadata=encoded({"filetype": "image/png", "secret": "x"}))
    final = join(tus, part).headers["location"]
    assert tus.head(final).headers["upload-metadata"] == tus.named("a")
    assert tus.get().headers["content-type"] == "application/octet-stream"
    assert "secret" in tus.head(part).headers["upload-metadata"]


def test_patch_of_a_concatenation_is_403_and_changes_nothing(tus: Tus) -> None:
    complete = join(tus, tus.part(b"ab")).headers["location"]
    waiting = join(tus, tus.part(length=2), name="b").headers["location"]
    for url in (complete, waiting):
        for offset in (0, 2):
            assert code(tus.patch(url, offset, b"cd")) == (403, "refused")
    assert tus.get().content == b"ab"
    assert "upload-offset" not in tus.head(waiting).headers
    assert tus.request("DELETE", waiting).status_code == 204


def test_unfinished_concatenation_has_a_length_and_no_offset_until_its_last_part_is_whole(tus: Tus) -> None:
    first, second = tus.part(length=3), tus.part(length=3)
    created = join(tus, first, second)
    final = created.headers["location"]
    assert (created.status_code, "upload-expires" in created.headers) == (201, True)
    for url in (second, first):
        draft = tus.http.head(final.replace("tus", "uploads"))
        assert (draft.status_code, draft.headers["upload-complete"]) == (204, "?0")
        assert "upload-offset" not in draft.headers
        head = tus.head(final).headers
        assert (head["upload-length"], head["upload-concat"]) == ("6", f"final;{first} {second}")
        assert head.keys().isdisjoint({"upload-offset", "upload-defer-length"})
        assert tus.get().status_code == 404
        assert tus.patch(url, 0, b"abc" if url == first else b"def").status_code == 204
    wait_until(lambda: "upload-offset" in tus.head(final).headers, "the parts were not joined")
    assert tus.offset(final) == 6
    assert tus.get().content == b"abcdef"


def test_length_of_a_concatenation_is_told_once_those_of_all_parts_are_known(tus: Tus) -> None:
    first, second = tus.part(b"ab"), tus.part(upload_defer_length=1)
    final = join(tus, first, second).headers["location"]
    assert tus.head(final).headers.keys().isdisjoint({"upload-length", "upload-defer-length", "upload-offset"})
    tus.patch(second, 0, b"c", upload_length=2)
    assert tus.head(final).headers["upload-length"] == "4"
    tus.patch(second, 1, b"d")
    wait_until(lambda: tus.get().status_code == 200, "the parts were not joined")
    assert tus.get().content == b"abcd"


def test_concatenation_whose_part_is_cancelled_is_over(tus: Tus) -> None:
    first, second = tus.part(length=2), tus.part(length=2)
    final = join(tus, first, second).headers["location"]
    assert tus.request("DELETE", first).status_code == 204
    waited = tus.http.get(final.replace("tus", "uploads"), headers={"prefer": "wait=60"}).json()
    assert (waited["state"], waited["reason"]) == ("failed", "a part is gone")
    assert tus.head(final).status_code == 410
    assert tus.patch(second, 0, b"cd").status_code == 204
    assert tus.get().status_code == 404


def test_condition_and_digest_of_a_concatenation_hold(tus: Tus) -> None:
    parts = [tus.part(b"ab"), tus.part(b"cd")]
    digest = digest_field("sha-256", hashlib.sha256(b"abcd").digest())
    assert code(join(tus, *reversed(parts), repr_digest=digest)) == (400, "digest_mismatch")
    assert join(tus, *parts, repr_digest=digest, if_none_match="*").status_code == 201
    assert code(join(tus, *reversed(parts), if_none_match="*"))[0] == 412
    assert tus.get().content == b"abcd"


def test_parts_that_are_too_large_together_are_413(serve: Serve) -> None:
    with httpx.Client(base_url=serve(max_size=5).plain_url) as http:
        tus = Tus(http)
        assert code(join(tus, tus.part(b"abc"), tus.part(b"def"))) == (413, "too_large")
        assert join(tus, tus.part(b"abc"), tus.part(b"de")).status_code == 201


def test_concatenation_that_fails_leaves_nothing_but_its_parts(tus: Tus, gateway: Served) -> None:
    parts = [tus.part(b"ab"), tus.part(b"cd")]
    before = set((gateway.data / "partial").iterdir())
    folder = tus.create(2, name="taken/x")
    tus.patch(folder, 0, b"xx")
    refused = join(tus, *parts, name="taken")
    assert refused.status_code == 409
    assert "location" not in refused.headers
    assert set((gateway.data / "partial").iterdir()) == before
    assert join(tus, *parts).status_code == 201


def test_unfinished_concatenation_that_cannot_be_shown_has_failed_and_tells_why_and_is_made_anew(tus: Tus) -> None:
    parts = [tus.part(b"ab"), tus.part(length=2)]
    new, taken = [join(tus, *parts, **given).headers["location"] for given in ({"if_none_match": "*"}, {"name": "b"})]
    for path in ("a", "b/x"):
        assert tus.http.put(f"/files/{tus.folder}/{path}", content=b"there").status_code == 201
    assert tus.patch(parts[1], 0, b"cd").status_code == 204
    for url, why in ((new, "If-None-Match"), (taken, "folder")):
        waited = tus.http.get(url.replace("tus", "uploads"), headers={"prefer": "wait=60"}).json()
        assert (waited["state"], why in waited["reason"]) == ("failed", True)
        assert tus.head(url).status_code == 410
    for path in ("b/x", "b/"):
        assert tus.http.delete(f"/files/{tus.folder}/{path}").status_code == 204
    assert join(tus, *parts, name="b").status_code == 201
    assert (tus.get("a").content, tus.get("b").content) == (b"there", b"abcd")
