"""POST of forms: files are stored as they stream by, and each has its own answer."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from h2gate.fields import digest_field
from tests.front.conftest import Curl, files_under
from tests.front.parts import BOUNDARY, END, TYPE, part, statuses

DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


def post(http: httpx.Client, path: str, *pieces: bytes, **headers: str) -> httpx.Response:
    return http.post(f"{path}/", content=b"".join(pieces), headers=TYPE | headers)


def test_files_and_fields_of_a_form_are_stored_and_told(http: httpx.Client, place: str, folder: Path) -> None:
    large = bytes(range(256)) * 20_000
    http.put(f"{place}/b", content=b"old")
    answer = post(
        http, place, part("a", b""), part(None, b"v\xc3\xa9", name="k"), part("b", large), part("c/d", b"y"), END
    )
    assert answer.status_code == 201
    assert answer.json()["fields"] == {"k": "v\u00e9"}
    told = [(each["path"], each["status"], each["size"]) for each in answer.json()["files"]]
    assert told == [(f"{place}/a", 201, 0), (f"{place}/b", 204, len(large)), (f"{place}/c/d", 201, 1)]
    assert files_under(folder) == ["a", "b", "c/d"]
    assert (folder / "b").read_bytes() == large
    assert answer.json()["files"][1]["repr_digest"] == http.get(f"{place}/b").headers["repr-digest"]


def test_stock_form_of_httpx_is_stored(http: httpx.Client, place: str, folder: Path) -> None:
    files: Any = {"one": ("a.txt", b"text", "text/plain"), "two": ("\u00fc.bin", bytes(300_000))}
    answer = http.post(f"{place}/", files=files, data={"k": "v"})
    assert answer.status_code == 201
    assert http.get(f"{place}/a.txt").headers["content-type"] == "text/plain"
    assert (folder / "\u00fc.bin").read_bytes() == bytes(300_000)


def test_form_of_curl_is_stored(curl: Curl, place: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a b.bin").write_bytes(bytes(1_000_000))
    forms = ["-F", f"f=@{tmp_path / 'a b.bin'}", "-F", "g=@-;filename=c.txt;type=text/x-c", "-F", "k=v"]
    done = curl(f"{place}/", *forms, input=b"from a pipe")
    assert done.stdout.endswith(b"201"), done
    assert files_under(folder) == ["a b.bin", "c.txt"]
    assert (folder / "a b.bin").read_bytes() == bytes(1_000_000)
    assert (folder / "c.txt").read_bytes() == b"from a pipe"


@pytest.mark.parametrize("name", ["../up", "/abs", "a//b", "a/./b", "x" * 300, "a\x01b", "a/", "/", "..", "C:\\\\x"])
def test_bad_file_name_is_told_and_the_others_are_stored(
    http: httpx.Client, place: str, folder: Path, name: str
) -> None:
    answer = post(http, place, part("a"), part(name, bytes(200_000)), part("c"), END)
    assert answer.status_code == 207
    assert statuses(answer) == [201, 400, 201]
    assert answer.json()["files"][1]["code"] == "bad_path"
    assert files_under(folder) == ["a", "c"]


def test_bad_file_name_in_the_root_is_told(http: httpx.Client) -> None:
    answer = post(http, "/files", part("/"), part(".."), END)
    assert (answer.status_code, statuses(answer)) == (207, [400, 400])


def test_part_with_a_wrong_digest_or_field_is_told_and_the_others_are_stored(
    http: httpx.Client, place: str, folder: Path
) -> None:
    right = digest_field("sha-256", hashlib.sha256(b"right").digest())
    wrong = digest_field("sha-512", base64.b64decode("eA=="))
    answer = post(
        http,
        place,
        part("a", b"right", f"Repr-Digest: {right}"),
        part("b", b"wrong", f"Content-Digest: {wrong}"),
        part("c", b"bad", "Repr-Digest: nonsense"),
        part("d", b"bad", "Content-Type: text/\x00plain"),
        part("e", b"bad", "Meta-\u00e9 x: y"),
        part(
            "f",
            b"last",
            "Content-Type: text/plain",
            "Meta-Name: \u00fc",
            "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT",
        ),
        END,
    )
    assert answer.status_code == 207
    assert statuses(answer) == [201, 400, 400, 400, 400, 201]
    codes = [each.get("code") for each in answer.json()["files"]]
    assert codes == [None, "digest_mismatch", "bad_field", "bad_field", "bad_field", None]
    assert files_under(folder) == ["a", "f"]
    found = http.get(f"{place}/f").headers
    assert (found["content-type"], found["last-modified"]) == ("text/plain", DATE)
    assert dict(found.raw)[b"meta-name"] == "\u00fc".encode()


def test_part_of_a_form_where_no_file_was_chosen_is_skipped(http: httpx.Client, place: str, folder: Path) -> None:
    answer = post(http, place, part("", b"", "Content-Type: application/octet-stream"), part("a"), END)
    assert (answer.status_code, statuses(answer)) == (201, [201])
    assert files_under(folder) == ["a"]


def test_bytes_without_a_file_name_are_refused(http: httpx.Client, place: str, folder: Path) -> None:
    answer = post(http, place, part("a"), part("", b"lost"), part("c"), END)
    assert (answer.status_code, answer.json()["code"], statuses(answer)) == (400, "bad_form", [201])
    assert files_under(folder) == ["a"]


def test_form_without_its_final_boundary_keeps_and_tells_what_was_whole(
    http: httpx.Client, place: str, folder: Path
) -> None:
    answer = post(http, place, part("a", bytes(200_000)), part("b", bytes(200_000)))
    assert (answer.status_code, answer.json()["code"]) == (400, "body_cut")
    assert [each["path"] for each in answer.json()["files"]] == [f"{place}/a"]
    assert files_under(folder) == ["a"]


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        (f"multipart/form-data; boundary={'x' * 71}", 400),
        ("multipart/form-data; boundary*=UTF-8''%E2%82%AC", 400),
        ("multipart/mixed; boundary=x-boundary", 415),
        ("application/json", 415),
        ("", 415),
    ],
)
def test_body_that_is_no_form_is_refused(
    http: httpx.Client, place: str, folder: Path, content_type: str, status: int
) -> None:
    refused = post(http, place, part("a"), END, **{"content-type": content_type})
    assert refused.status_code == status
    assert refused.json()["code"] == ("bad_form" if status == 400 else "unsupported_media_type")
    assert not folder.exists()


def test_type_of_a_form_is_taken_in_any_case_and_quoted(http: httpx.Client, place: str) -> None:
    quoted = f'Multipart/Form-Data; Boundary="{BOUNDARY}"'
    assert post(http, place, part("a"), END, **{"content-type": quoted}).status_code == 201


def test_text_before_and_after_the_parts_is_ignored_however_long_the_end_is(
    http: httpx.Client, place: str, folder: Path
) -> None:
    answer = post(http, place, b"not a part\r\n" * 100_000, part("a"), END, b"nor this\r\n" * 500_000)
    assert (answer.status_code, statuses(answer)) == (201, [201])
    assert files_under(folder) == ["a"]


def chunks(*pieces: bytes) -> Iterator[bytes]:
    yield from pieces


@pytest.mark.parametrize(
    "pieces",
    [
        [f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=a; filename=".encode(), *[b"x" * 10_000] * 10],
        [part("a", b"x", f"Meta-Long: {'x' * 9000}"), END],
        [part(None, b"v" * 40_000, name="a"), part(None, b"v" * 40_000, name="b"), END],
        [f"--{BOUNDARY}\r\nContent-Type: text/plain\r\n\r\nx\r\n".encode(), END],
        [f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=f; filename=a\xff\r\n\r\nx\r\n".encode("latin1"), END],
    ],
    ids=["endless-header", "long-header", "fields", "no-disposition", "not-utf8"],
)
def test_form_that_would_fill_the_memory_or_makes_no_sense_is_refused(
    http: httpx.Client, place: str, folder: Path, pieces: list[bytes]
) -> None:
    refused = http.post(f"{place}/", content=chunks(*pieces), headers=TYPE)
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_form")
    assert not folder.exists()


def test_form_posted_to_a_file_conflicts_for_each(http: httpx.Client, place: str) -> None:
    http.put(f"{place}/a", content=b"x")
    answer = post(http, f"{place}/a", part("b"), part("c"), END)
    assert (answer.status_code, statuses(answer)) == (207, [409, 409])
