"""Content codings on the way in, over both HTTP versions: what is stored has none, whatever the way it came."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import httpx
import pytest

from tests.codec.coders import encoded, zstd
from tests.front.conftest import Curl, files_under
from tests.front.parts import END, TYPE, part, statuses
from tests.front.test_bundles import TAR, archive_of, lines, outcomes
from tests.front.test_digests import SHA256, SHA512, Send, digest_of, with_trailer
from tests.front.test_resumable import APPEND, problem

__all__ = ["with_trailer"]

BODY = os.urandom(40_000) + bytes(3 << 20)
STACKS = [("gzip",), ("zstd",), ("br",), ("gzip", "zstd"), ("br", "gzip", "zstd", "br")]


def coded(codings: tuple[str, ...] = ("gzip",), **more: str) -> dict[str, str]:
    return {"content-encoding": ", ".join(codings), **{name.replace("_", "-"): value for name, value in more.items()}}


@pytest.mark.parametrize("codings", STACKS, ids=", ".join)
def test_file_is_stored_without_its_codings_and_described_so(
    http: httpx.Client, place: str, folder: Path, codings: tuple[str, ...]
) -> None:
    plain = http.put(f"{place}/plain", content=BODY)
    stored = http.put(f"{place}/a", content=encoded(BODY, codings), headers=coded(codings))
    assert stored.status_code == 201
    assert (folder / "a").read_bytes() == BODY
    found = http.head(f"{place}/a").headers
    for answer in (stored.headers, found):
        assert (answer["etag"], answer["repr-digest"]) == (plain.headers["etag"], digest_of(SHA256, BODY))
    assert "content-encoding" not in found
    assert found["content-length"] == str(len(BODY))


@pytest.mark.parametrize("codings", STACKS, ids=", ".join)
def test_append_is_decoded_and_its_digests_are_those_of_put(
    http: httpx.Client, place: str, codings: tuple[str, ...]
) -> None:
    http.put(f"{place}/a", content=b"one")
    body = encoded(BODY, codings)
    right = coded(codings, upload_offset="3", content_digest=digest_of(SHA256, body))
    wrong = http.patch(f"{place}/a", content=body, headers=right | {"unencoded-digest": digest_of(SHA512, body)})
    assert problem(wrong) == (400, "digest_mismatch")
    cut = http.patch(f"{place}/a", content=body[:-1], headers=coded(codings))
    assert problem(cut) == (400, "bad_coding")
    assert http.get(f"{place}/a").content == b"one"
    found = http.patch(f"{place}/a", content=body, headers=right | {"unencoded-digest": digest_of(SHA512, BODY)})
    assert (found.status_code, found.headers["upload-offset"]) == (204, str(3 + len(BODY)))
    assert http.get(f"{place}/a").content == b"one" + BODY


@pytest.mark.parametrize("algorithm", [SHA256, SHA512])
@pytest.mark.parametrize("field", ["content-digest", "repr-digest", "unencoded-digest"])
def test_each_digest_is_of_its_own_bytes_as_a_field_and_as_a_trailer(
    http: httpx.Client, with_trailer: Send, place: str, folder: Path, field: str, algorithm: str
) -> None:
    body = encoded(BODY, ["br"])
    right, wrong = (BODY, body) if field == "unencoded-digest" else (body, BODY)
    headers = coded(("br",))
    refused = http.put(f"{place}/a", content=body, headers={**headers, field: digest_of(algorithm, wrong)})
    assert problem(refused) == (400, "digest_mismatch")
    announced = {**headers, "trailer": field}
    status, _, content = with_trailer("PUT", f"{place}/a", body, field, digest_of(algorithm, wrong), **announced)
    assert (status, json.loads(content)["code"]) == (400, "digest_mismatch")
    assert not folder.exists()
    assert http.put(f"{place}/a", content=body, headers={**headers, field: digest_of(algorithm, right)}).is_success
    status, found, _ = with_trailer("PUT", f"{place}/b", body, field, digest_of(algorithm, right), **announced)
    assert (status, found["repr-digest"]) == (201, digest_of(SHA256, BODY))


def test_unencoded_digest_of_a_body_without_coding_is_its_digest(
    http: httpx.Client, with_trailer: Send, place: str, folder: Path
) -> None:
    refused = http.put(f"{place}/a", content=b"x", headers={"unencoded-digest": digest_of(SHA256, b"y")})
    assert problem(refused) == (400, "digest_mismatch")
    status, _, _ = with_trailer("PUT", f"{place}/a", b"x", "unencoded-digest", digest_of(SHA512, b"y"))
    assert status == 400
    assert not folder.exists()
    assert http.put(f"{place}/a", content=b"x", headers={"unencoded-digest": digest_of(SHA512, b"x")}).is_success


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
def test_unknown_coding_is_refused_and_told_what_is_known(http: httpx.Client, place: str, method: str) -> None:
    http.put(f"{place}/a", content=b"one")
    url = f"{place}/" if method == "POST" else f"{place}/a"
    headers = coded(("gzip", "deflate")) | (TAR if method == "POST" else {})
    refused = http.request(method, url, content=b"x", headers=headers)
    assert problem(refused) == (415, "unsupported_media_type")
    assert refused.headers["accept-encoding"] == "gzip, zstd, br"
    assert http.options(url).headers["accept-encoding"] == "gzip, zstd, br"
    assert http.get(f"{place}/a").content == b"one"


@pytest.mark.parametrize("bad", ["truncated", "garbage", "checksum", "not coded"])
def test_what_cannot_be_decoded_is_refused_and_nothing_is_stored(
    http: httpx.Client, place: str, folder: Path, bad: str
) -> None:
    good = gzip.compress(BODY)
    body = {
        "truncated": good[:-9],
        "garbage": good + b"x",
        "checksum": good[:-8] + bytes(4) + good[-4:],
        "not coded": BODY,
    }[bad]
    assert problem(http.put(f"{place}/a", content=body, headers=coded())) == (400, "bad_coding")
    assert not folder.exists()


@pytest.mark.parametrize("codings", STACKS, ids=", ".join)
def test_bundle_is_decoded_while_it_streams(
    http: httpx.Client, place: str, folder: Path, codings: tuple[str, ...]
) -> None:
    archive = archive_of(("a", b"1"), ("large", BODY), ("c/d", b"2"))
    body = encoded(archive, codings)
    right = {"content-digest": digest_of(SHA256, body), "unencoded-digest": digest_of(SHA256, archive)}
    answer = http.put(f"{place}/", content=body, headers=TAR | coded(codings) | right)
    assert outcomes(answer) == {"a": 201, "large": 201, "c/d": 201}
    assert lines(answer)[-1]["digest"] == "ok"
    assert (folder / "large").read_bytes() == BODY
    for field in right:
        wrong = right | {field: digest_of(SHA256, b"other")}
        answer = http.put(f"{place}/", content=body, headers=TAR | coded(codings) | wrong)
        assert lines(answer)[-1]["digest"] == "mismatch"


def test_bundle_whose_coding_breaks_keeps_what_was_answered(http: httpx.Client, place: str, folder: Path) -> None:
    body = gzip.compress(archive_of(("a", b"1"), ("b", os.urandom(3 << 20))))
    answer = http.put(f"{place}/", content=body[:-1000], headers=TAR | coded())
    *found, summary = lines(answer)
    assert [each.get("code", each["status"]) for each in found] == [201, "bad_coding", "bad_coding"]
    assert (summary["stored"], files_under(folder)) == (1, ["a"])
    assert problem(http.put(f"{place}/", content=body[:5], headers=TAR | coded())) == (400, "bad_coding")


def test_form_may_be_coded_as_a_whole_and_its_parts_may_not(http: httpx.Client, place: str, folder: Path) -> None:
    form = part("a", BODY) + part("b", gzip.compress(b"x"), "Content-Encoding: gzip") + part("c")
    form += part("d", b"x", "Content-Encoding: identity") + END
    for body, headers in [(form, TYPE), (gzip.compress(form), TYPE | coded())]:
        answer = http.post(f"{place}/", content=body, headers=headers)
        assert [each // 100 * 100 for each in statuses(answer)] == [200, 400, 200, 200]
        assert answer.json()["files"][1]["code"] == "unsupported_media_type"
        assert files_under(folder) == ["a", "c", "d"]
    cut = http.post(f"{place}/", content=gzip.compress(form)[:-1], headers=TYPE | coded())
    assert problem(cut) == (400, "bad_coding")


@pytest.mark.parametrize("version", ["3", "5", "6", "8", ""])
@pytest.mark.parametrize("codings", STACKS[:4], ids=", ".join)
def test_resumable_upload_is_decoded_at_its_end_and_counts_coded_bytes(
    http: httpx.Client, place: str, folder: Path, codings: tuple[str, ...], version: str
) -> None:
    body = encoded(BODY, codings)
    speaks = {"upload-draft-interop-version": version} if version else {}
    more, last = ("?1", "?0") if version == "3" else ("?0", "?1")
    name = "upload-incomplete" if version == "3" else "upload-complete"
    digests = {"repr-digest": digest_of(SHA256, body), "unencoded-digest": digest_of(SHA512, BODY)}
    headers = speaks | coded(codings) | digests
    begun = http.post(f"{place}/a", content=body[:1000], headers={**headers, name: more})
    assert begun.status_code == 201
    url = begun.headers["location"]
    assert http.head(url, headers=speaks).headers["upload-offset"] == "1000"
    end = {**APPEND, **speaks, "upload-offset": "1000", name: last}
    done = http.patch(url, content=body[1000:], headers=end)
    assert (done.status_code, done.headers[name]) == (201, last)
    assert done.headers["upload-offset"] == str(len(body))
    assert done.headers["repr-digest"] == digest_of(SHA256, BODY)
    assert (folder / "a").read_bytes() == BODY
    told = http.head(url, headers=speaks).headers
    assert (told["upload-offset"], told["upload-length"]) == (str(len(body)), str(len(body)))
    assert told["repr-digest"] == digest_of(SHA256, BODY)
    assert "content-encoding" not in http.head(f"{place}/a").headers


def test_resumable_upload_goes_on_by_tus_as_well(http: httpx.Client, place: str, folder: Path) -> None:
    body = zstd.compress(BODY)
    headers = coded(("zstd",), upload_complete="?0", upload_length=str(len(body)))
    url = http.post(f"{place}/a", content=body[:100], headers=headers).headers["location"]
    going_on = {"tus-resumable": "1.0.0", "upload-offset": "100", "content-type": "application/offset+octet-stream"}
    done = http.patch(url.replace("uploads", "tus"), content=body[100:], headers=going_on)
    assert done.status_code == 204
    assert (folder / "a").read_bytes() == BODY


def test_resumable_upload_that_cannot_be_decoded_has_failed_and_says_so(http: httpx.Client, place: str) -> None:
    body = gzip.compress(BODY)[:-1]
    speaks = {"upload-complete": "?1", "upload-draft-interop-version": "8"}
    refused = http.put(f"{place}/a", content=body, headers=speaks | coded())
    assert (*problem(refused), refused.headers["upload-complete"]) == (400, "bad_coding", "?1")
    state = http.get(refused.headers["location"]).json()
    assert state["state"] == "failed" and "gzip" in state["reason"]
    assert http.get(f"{place}/a").status_code == 404


def test_append_that_names_another_coding_than_the_creation_is_refused(http: httpx.Client, place: str) -> None:
    body = gzip.compress(BODY)
    begun = http.post(f"{place}/a", content=body[:9], headers=coded(upload_complete="?0"))
    end = {**APPEND, "upload-offset": "9", "upload-complete": "?1"}
    url = begun.headers["location"]
    assert problem(http.patch(url, content=body[9:], headers=end | coded(("br",)))) == (400, "bad_field")
    assert problem(http.patch(url, content=body[9:], headers=end | coded(("lzma",)))) == (415, "unsupported_media_type")
    assert http.patch(url, content=body[9:], headers=end | coded(("x-gzip",))).status_code == 201


def test_curl_sends_what_gzip_and_zstd_wrote(curl: Curl, place: str, folder: Path) -> None:
    body = encoded(BODY, ["gzip"])
    assert curl(f"{place}/a", "-T", "-", "-H", "Content-Encoding: gzip", input=body).stdout == b"201"
    header = f"Unencoded-Digest: {digest_of(SHA256, BODY)}"
    zipped = encoded(BODY, ["zstd"])
    assert curl(f"{place}/b", "-T", "-", "-H", "Content-Encoding: zstd", "-H", header, input=zipped).stdout == b"201"
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes() == BODY
    archive = gzip.compress(archive_of(("x", b"1"), ("y", BODY)))
    fields = ("-H", "Content-Encoding: gzip", "-H", "Content-Type: application/x-tar")
    assert curl(f"{place}/in/", "-T", "-", *fields, input=archive).stdout.endswith(b"200")
    assert (folder / "in/y").read_bytes() == BODY
