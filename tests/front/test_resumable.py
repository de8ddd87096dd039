"""Creating resumable uploads under /files/: whole or in parts, by PUT and POST, in each version of the draft."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from h2gate.fields import digest_field
from tests.conftest import Served

BODY = bytes(range(256)) * 2000
HALF = 200_001
APPEND = {"content-type": "application/partial-upload"}


def digest_of(body: bytes, algorithm: str = "sha-256") -> str:
    return digest_field(algorithm, hashlib.new(algorithm.replace("-", ""), body).digest())


def begin(http: httpx.Client, path: str, content: bytes = b"", **headers: str) -> httpx.Response:
    """An upload that is not complete yet."""
    fields = {"upload-complete": "?0"} | {name.replace("_", "-"): value for name, value in headers.items()}
    found = http.post(path, content=content, headers=fields)
    assert found.status_code == 201, found.text
    return found


def append(http: httpx.Client, url: str, offset: int, content: bytes, complete: str, **headers: str) -> httpx.Response:
    fields = {**APPEND, "upload-offset": str(offset), "upload-complete": complete}
    return http.patch(url, content=content, headers=fields | {k.replace("_", "-"): v for k, v in headers.items()})


def n_uploads(http: httpx.Client) -> int:
    return len(http.get("/uploads/").json()["uploads"])


def problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("version", ["8", ""])
def test_whole_upload_is_answered_as_a_plain_put(
    http: httpx.Client, place: str, folder: Path, method: str, version: str
) -> None:
    headers = {"upload-complete": "?1", "upload-length": str(len(BODY))}
    headers |= {"upload-draft-interop-version": version} if version else {}
    plain = http.put(f"{place}/plain", content=BODY)
    for status in (201, 204):
        found = http.request(method, f"{place}/a", content=BODY, headers=headers)
        assert (found.status_code, found.headers["location"]) == (status, f"{place}/a")
        assert (found.headers["upload-complete"], found.headers["upload-offset"]) == ("?1", str(len(BODY)))
        for name in ("etag", "repr-digest"):
            assert found.headers[name] == plain.headers[name]
        assert found.headers["last-modified"] == http.head(f"{place}/a").headers["last-modified"]
        assert found.headers.get("upload-draft-interop-version") == (version or None)
    assert (folder / "a").read_bytes() == BODY


def test_upload_in_three_requests_is_answered_by_the_last_as_a_put(
    http: httpx.Client, place: str, folder: Path
) -> None:
    created = begin(http, f"{place}/a", BODY[:HALF], upload_length=str(len(BODY)), content_type="text/x-test")
    url = created.headers["location"]
    assert url.startswith("/uploads/")
    assert created.headers["upload-limit"].startswith("max-age=")
    assert (created.headers["upload-complete"], created.headers["upload-offset"]) == ("?0", str(HALF))
    assert http.get(f"{place}/a").status_code == 404
    more = append(http, url, HALF, BODY[HALF : 2 * HALF], "?0")
    assert (more.status_code, more.headers["upload-complete"]) == (204, "?0")
    assert more.headers["upload-offset"] == str(2 * HALF)
    assert "max-age=" in more.headers["upload-limit"]
    assert not folder.exists()
    last = append(http, url, 2 * HALF, BODY[2 * HALF :], "?1")
    assert (last.status_code, last.headers["upload-complete"], last.headers["location"]) == (201, "?1", f"{place}/a")
    assert last.headers["repr-digest"] == digest_of(BODY)
    found = http.get(f"{place}/a")
    assert (found.content, found.headers["content-type"]) == (BODY, "text/x-test")


def test_complete_is_what_is_said_so_and_not_what_has_its_length(http: httpx.Client, place: str, folder: Path) -> None:
    url = begin(http, f"{place}/a", b"123", upload_length="3").headers["location"]
    assert http.head(url).headers["upload-complete"] == "?0"
    done = append(http, url, 3, b"", "?1")
    assert (done.status_code, done.headers["upload-complete"]) == (201, "?1")
    assert (folder / "a").read_bytes() == b"123"


def test_empty_file_whole_and_in_two_steps(http: httpx.Client, place: str, folder: Path) -> None:
    assert http.put(f"{place}/a", headers={"upload-complete": "?1"}).status_code == 201
    url = begin(http, f"{place}/b").headers["location"]
    assert append(http, url, 0, b"", "?1").status_code == 201
    assert [(folder / name).read_bytes() for name in "ab"] == [b"", b""]


NAMES = [
    ('inline; filename="a b.txt"', "a b.txt"),
    ("attachment; filename=plain", "plain"),
    ("inline; filename=\"fallback\"; filename*=UTF-8''%c3%a4%20%e2%82%ac.jpg", "ä €.jpg"),
    ("inline; filename*=UTF-8''%c3%a4.jpg; filename=\"fallback\"", "ä.jpg"),
    ("inline; filename*=iso-8859-1'en'%A3.txt", "£.txt"),
    ('inline; filename="ä.txt"', "ä.txt"),
    ('inline; filename="sub/a"', "sub/a"),
    ('inline; filename="; filename*=x"', "; filename*=x"),
]


@pytest.mark.parametrize(("disposition", "name"), NAMES)
def test_upload_into_a_folder_takes_its_name_from_the_disposition(
    http: httpx.Client, place: str, folder: Path, disposition: str, name: str
) -> None:
    headers = {b"upload-complete": b"?1", b"content-disposition": disposition.encode()}
    assert http.post(f"{place}/", content=b"x", headers=headers).status_code == 201
    assert (folder / name).read_bytes() == b"x"


def test_upload_into_a_folder_without_a_name_is_called_by_its_id(http: httpx.Client, place: str, folder: Path) -> None:
    url = begin(http, f"{place}/").headers["location"]
    assert append(http, url, 0, b"x", "?1").headers["location"] == f"{place}/{url.removeprefix('/uploads/')}"
    assert [each.name for each in folder.iterdir()] == [url.removeprefix("/uploads/")]


@pytest.mark.parametrize("name", ["../a", "/a", "a\\b", ".", "a/../b", "x" * 256])
def test_name_that_is_none_is_refused_and_creates_nothing(http: httpx.Client, place: str, name: str) -> None:
    before = n_uploads(http)
    escaped = name.replace("\\", "\\\\")
    headers = {"upload-complete": "?0", "content-disposition": f'inline; filename="{escaped}"'}
    assert problem(http.post(f"{place}/", headers=headers)) == (400, "bad_path")
    assert problem(http.put(f"{place}/", headers={"upload-complete": "?0"})) == (400, "bad_path")
    assert n_uploads(http) == before


def test_form_with_the_field_is_still_a_form(http: httpx.Client, place: str, folder: Path) -> None:
    files: dict[str, Any] = {"file": ("a.txt", b"x")}
    found = http.post(f"{place}/", files=files, headers={"upload-complete": "?1"})
    assert (found.status_code, found.json()["files"][0]["status"]) == (201, 201)
    assert (folder / "a.txt").read_bytes() == b"x"


@pytest.mark.parametrize("value", ["1", "?2", "true", '"?1"', "?1, ?1", "(?1)", ""])
def test_field_that_is_no_boolean_is_ignored(http: httpx.Client, place: str, value: str) -> None:
    found = http.put(f"{place}/a", content=b"x", headers={"upload-complete": value})
    assert (found.status_code, "upload-complete" in found.headers) == (201, False)
    assert http.post(f"{place}/a", content=b"x", headers={"upload-complete": value}).status_code == 415


@pytest.mark.parametrize("value", ["-1", "1.0", "x", "?1", '"1"', "1, 1", "1000000000000000"])
def test_length_that_is_no_integer_is_ignored(http: httpx.Client, place: str, value: str) -> None:
    url = begin(http, f"{place}/a", upload_length=value).headers["location"]
    assert "upload-length" not in http.head(url).headers


def test_parameters_of_a_field_are_ignored(http: httpx.Client, place: str) -> None:
    url = begin(http, f"{place}/a", upload_length="7;unit=bytes").headers["location"]
    assert http.head(url).headers["upload-length"] == "7"


def test_lengths_that_contradict_each_other_are_refused_and_create_nothing(http: httpx.Client, place: str) -> None:
    before = n_uploads(http)
    for headers in (
        {"upload-complete": "?1", "upload-length": "4"},
        {"upload-complete": "?1", "upload-length": "6"},
        {"upload-complete": "?0", "upload-length": "4"},
    ):
        refused = http.put(f"{place}/a", content=b"12345", headers=headers)
        assert problem(refused) == (400, "inconsistent_length")
        assert refused.json()["type"].endswith("/http-problem-types#inconsistent-upload-length")
    assert n_uploads(http) == before
    url = begin(http, f"{place}/a", b"123", upload_length="5").headers["location"]
    for content, complete, fields in ((b"4", "?1", {}), (b"45", "?1", {"upload_length": "6"}), (b"456", "?0", {})):
        refused = append(http, url, 3, content, complete, **fields)
        assert problem(refused) == (400, "inconsistent_length")
        assert (refused.headers["upload-complete"], refused.headers["upload-offset"]) == ("?0", "3")
    assert append(http, url, 3, b"45", "?1", upload_length="5").status_code == 201


def test_length_may_be_told_later_or_never(http: httpx.Client, place: str) -> None:
    url = begin(http, f"{place}/a", b"12").headers["location"]
    assert "upload-length" not in http.head(url).headers
    append(http, url, 2, b"34", "?0", upload_length="6")
    assert http.head(url).headers["upload-length"] == "6"
    assert append(http, url, 4, b"56", "?1").status_code == 201
    assert http.get(f"{place}/a").content == b"123456"


def test_more_bytes_than_announced_end_the_upload(http: httpx.Client, place: str) -> None:
    url = begin(http, f"{place}/a", upload_length="5").headers["location"]
    pieces = (b"x" * 4 for _ in range(2))  # no content-length: it shows only in the end
    refused = http.patch(url, content=pieces, headers={**APPEND, "upload-offset": "0", "upload-complete": "?0"})
    assert problem(refused) == (400, "inconsistent_length")
    assert http.head(url).status_code == 410
    assert http.get(url).json()["state"] == "failed"


def test_condition_is_checked_before_the_upload_and_at_its_end(http: httpx.Client, place: str) -> None:
    never = {"if-none-match": "*"}
    url = begin(http, f"{place}/a", b"one", **never).headers["location"]
    http.put(f"{place}/a", content=b"other")
    before = n_uploads(http)
    refused = http.put(f"{place}/a", content=b"x", headers={**never, "upload-complete": "?1"})
    assert problem(refused) == (412, "precondition_failed")
    assert n_uploads(http) == before
    late = append(http, url, 3, b"two", "?1")
    assert (*problem(late), late.headers["upload-complete"]) == (412, "precondition_failed", "?1")
    assert http.get(f"{place}/a").content == b"other"


def test_folder_in_the_way_is_told_as_the_end(http: httpx.Client, place: str) -> None:
    url = begin(http, f"{place}/a").headers["location"]
    http.put(f"{place}/a/b", content=b"x")
    refused = append(http, url, 0, b"x", "?1")
    assert (refused.status_code, refused.headers["upload-complete"]) == (409, "?1")


def test_folder_that_is_in_the_way_from_the_beginning_lets_nothing_begin(http: httpx.Client, place: str) -> None:
    http.put(f"{place}/a/b", content=b"x")
    before = n_uploads(http)
    refused = http.put(f"{place}/a", content=b"x", headers={"upload-complete": "?1"})
    assert problem(refused) == (409, "conflict")
    assert n_uploads(http) == before


def test_fields_of_the_file_come_back_and_those_of_the_message_do_not(http: httpx.Client, place: str) -> None:
    date = "Fri, 02 Jan 1998 03:04:05 GMT"
    fields = {
        "content_language": "de",
        "meta_sample": "7",
        "last_modified": date,
        "content_type": APPEND["content-type"],
    }
    url = begin(http, f"{place}/a", b"x", **fields).headers["location"]
    append(http, url, 1, b"y", "?1")
    found = http.get(f"{place}/a").headers
    assert (found["content-language"], found["meta-sample"], found["last-modified"]) == ("de", "7", date)
    assert found["content-type"] == "application/octet-stream"


def test_codings_and_ranges_are_refused_and_create_nothing(http: httpx.Client, place: str) -> None:
    before = n_uploads(http)
    coded = http.put(f"{place}/a", content=b"x", headers={"upload-complete": "?1", "content-encoding": "compress"})
    assert problem(coded) == (415, "unsupported_media_type")
    ranged = http.put(f"{place}/a", content=b"x", headers={"upload-complete": "?1", "content-range": "bytes 0-0/2"})
    assert problem(ranged) == (400, "bad_field")
    assert n_uploads(http) == before


VERSIONS = [("3", "upload-incomplete", 201), ("5", "upload-complete", 201), ("6", "upload-complete", 201)]
VERSIONS += [("8", "upload-complete", 204), ("7", "upload-complete", 204), ("?1", "upload-complete", 204)]


@pytest.mark.parametrize(("version", "field", "status"), VERSIONS)
def test_each_version_of_the_draft_is_spoken_as_it_was(
    http: httpx.Client, place: str, version: str, field: str, status: int
) -> None:
    known = version in ("3", "5", "6", "8")
    yes, no = ("?0", "?1") if version == "3" else ("?1", "?0")
    named = {"upload-draft-interop-version": version}
    created = http.post(f"{place}/a", content=b"12", headers={**named, field: no})
    url = created.headers["location"]
    assert (created.status_code, created.headers[field], created.headers["upload-offset"]) == (201, no, "2")
    more = http.patch(url, content=b"34", headers={**named, **APPEND, field: no, "upload-offset": "2"})
    assert (more.status_code, more.headers[field], more.headers["upload-offset"]) == (status, no, "4")
    wrong = http.patch(url, content=b"x", headers={**named, **APPEND, field: no, "upload-offset": "2"})
    assert (wrong.status_code, wrong.headers[field], wrong.headers["upload-offset"]) == (409, no, "4")
    head = http.head(url, headers=named)
    assert (head.status_code, head.headers[field], head.headers["upload-offset"]) == (204, no, "4")
    last = http.patch(url, content=b"56", headers={**named, **APPEND, field: yes, "upload-offset": "4"})
    assert (last.status_code, last.headers[field], last.headers["upload-offset"]) == (201, yes, "6")
    for each in (created, more, wrong, head, last):
        assert each.headers.get("upload-draft-interop-version") == (version if known else None)
        assert {"upload-complete", "upload-incomplete"} & set(each.headers) == {field}
    assert http.get(f"{place}/a").content == b"123456"


@pytest.mark.parametrize("version", ["3", "5"])
def test_append_of_an_early_draft_is_the_last_one_and_of_any_type(http: httpx.Client, place: str, version: str) -> None:
    named = {"upload-draft-interop-version": version}
    field = {"upload-incomplete": "?1"} if version == "3" else {"upload-complete": "?0"}
    url = http.post(f"{place}/a", content=b"12", headers={**named, **field}).headers["location"]
    last = http.patch(url, content=b"34", headers={**named, "upload-offset": "2", "content-type": "text/plain"})
    assert last.status_code == 201
    assert http.get(f"{place}/a").content == b"1234"


def test_field_of_another_version_is_not_understood(http: httpx.Client, place: str) -> None:
    for headers in (
        {"upload-incomplete": "?1"},
        {"upload-draft-interop-version": "8", "upload-incomplete": "?1"},
        {"upload-draft-interop-version": "3", "upload-complete": "?0"},
    ):
        found = http.put(f"{place}/a", content=b"x", headers=headers)
        assert (found.status_code, "upload-offset" in found.headers) in ((201, False), (204, False))


def test_uploads_survive_in_the_ledger_with_their_path(gateway: Served, http: httpx.Client, place: str) -> None:
    url = begin(http, f"{place}/a", b"12").headers["location"]
    assert (gateway.data / "partial" / url.removeprefix("/uploads/")).read_bytes() == b"12"
    http.delete(url)
    assert not (gateway.data / "partial" / url.removeprefix("/uploads/")).exists()


def test_uploads_below_a_folder_are_found_whoever_writes_them(http: httpx.Client) -> None:
    paths = ("/files/in/a", "/files/in/b%20c/d", "/files/ina")
    urls = {path: begin(http, path).headers["location"] for path in paths}

    def found(path: str) -> list[str]:
        return [each["path"] for each in http.get("/uploads/", params={"path": path}).json()["uploads"]]

    assert found("/files/in/") == ["/files/in/b%20c/d", "/files/in/a"]
    assert found("/files/in/b%20c/") == ["/files/in/b%20c/d"]
    assert {*found("/files/")} >= {*urls}
    assert found("/files/in") == []
    assert append(http, urls["/files/in/a"], 0, b"x", "?1").is_success
    assert found("/files/in/") == ["/files/in/b%20c/d"]
    assert http.get("/uploads/", params={"path": "/files/../"}).json()["code"] == "bad_path"
    assert {http.delete(url).status_code for url in urls.values()} == {204}
    assert found("/files/in/") == []
