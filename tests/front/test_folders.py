"""Folders: listings as JSON and HTML, whatever the names; DELETE; the methods that are allowed."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import httpx
import pytest

from tests.conftest import Served

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
NAMES = [
    '"quoted"',
    "'single'",
    "<script>alert(1)",
    "a&b=c;d",
    "e f",
    "g%20h",
    "\u00fc\u0301\u4e2d\U0001f600",
    "#?",
]


def test_listing_is_json_with_what_is_known_of_each_file(http: httpx.Client, place: str) -> None:
    stored = http.put(f"{place}/b", content=b"123", headers={"last-modified": "Wed, 21 Oct 2015 07:28:00 GMT"})
    http.put(f"{place}/a/deep", content=b"")
    found = http.get(f"{place}/")
    assert found.headers["content-type"] == "application/json"
    assert found.json() == {
        "path": f"{place}/".removeprefix("/files/"),
        "entries": [
            {"name": "a", "type": "directory"},
            {
                "name": "b",
                "type": "file",
                "size": 3,
                "modified": "2015-10-21T07:28:00Z",
                "etag": stored.headers["etag"],
                "repr_digest": stored.headers["repr-digest"],
            },
        ],
    }
    head = http.head(f"{place}/")
    assert (head.status_code, head.content, head.headers["content-length"]) == (
        200,
        b"",
        found.headers["content-length"],
    )


def test_any_name_is_listed_in_order_and_its_link_leads_to_it(http: httpx.Client, place: str, folder: Path) -> None:
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(name)
    entries = http.get(f"{place}/").json()["entries"]
    assert [entry["name"] for entry in entries] == sorted(NAMES)
    page = http.get(f"{place}/", headers=HTML)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["vary"] == "accept"
    assert "<script" not in page.text
    links = [part.partition("'")[0] for part in page.text.split("<a href='./")[1:]]
    assert len(links) == len(NAMES)
    assert [http.get(f"{place}/{link}").text for link in links] == sorted(NAMES)


def test_name_that_is_not_utf8_is_listed_and_breaks_nothing(http: httpx.Client, place: str, folder: Path) -> None:
    folder.mkdir()
    with open(os.fsencode(folder) + b"/\xff\xfe.txt", "wb"):  # noqa: PTH123 - a path of bytes
        pass
    (folder / "b").touch()
    listing = http.get(f"{place}/")
    assert [entry["name"] for entry in listing.json()["entries"]] == ["b", "\udcff\udcfe.txt"]
    assert json.loads(listing.content.decode("ascii"))
    page = http.get(f"{place}/", headers=HTML)
    assert page.status_code == 200
    assert "%FF%FE.txt" in page.text


def test_listing_leaves_out_what_is_neither_file_nor_folder(http: httpx.Client, place: str, folder: Path) -> None:
    folder.mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    assert http.get(f"{place}/").json()["entries"] == []
    assert http.get(f"{place}/pipe").status_code == 404
    assert http.put(f"{place}/pipe", content=b"x").status_code == 409
    assert (folder / "pipe").is_fifo()


@pytest.mark.parametrize("accept", ["", "x", "text/html;q=abc", "text/html;q=0, */*", "*/*;q=0", ";;,,", "image/png"])
def test_listing_is_json_for_whoever_does_not_prefer_html(http: httpx.Client, place: str, accept: str) -> None:
    http.put(f"{place}/a", content=b"")
    found = http.get(f"{place}/", headers={"accept": accept})
    assert found.status_code == 200
    assert found.headers["content-type"] in ("application/json", "text/html; charset=utf-8")
    if "html" not in accept:
        assert found.json()["entries"]


def test_folder_without_its_slash_is_redirected_to(http: httpx.Client, place: str) -> None:
    http.put(f"{place}/%C3%A9%20/a", content=b"")
    found = http.get(f"{place}/%C3%A9%20")
    assert (found.status_code, found.headers["location"]) == (301, f"{place}/%C3%A9%20/")
    assert http.get(f"{place}/%C3%A9%20", follow_redirects=True).json()["entries"][0]["name"] == "a"


def test_folder_that_is_missing_or_a_file_is_not_found(http: httpx.Client, place: str) -> None:
    http.put(f"{place}/a", content=b"")
    for path in (f"{place}/b/", f"{place}/a/", f"{place}/a/b", f"{place}/a/b/", f"{place}/b/c"):
        found = http.get(path)
        assert (found.status_code, found.json()["code"]) == (404, "not_found"), path


def test_delete_removes_a_file_and_an_empty_folder_only(http: httpx.Client, place: str, folder: Path) -> None:
    http.put(f"{place}/d/a", content=b"x")
    for path in (f"{place}/d", f"{place}/d/"):
        full = http.delete(path)
        assert (full.status_code, full.json()["code"]) == (409, "conflict")
    assert http.delete(f"{place}/d/a/").status_code == 404
    assert (folder / "d/a").read_bytes() == b"x"
    gone = http.delete(f"{place}/d/a")
    assert (gone.status_code, gone.content) == (204, b"")
    assert http.get(f"{place}/d/a").status_code == 404
    assert http.delete(f"{place}/d/").status_code == 204
    assert not (folder / "d").exists()


def test_delete_of_what_is_missing_is_not_found_and_the_root_stays(http: httpx.Client, place: str) -> None:
    http.put(f"{place}/a", content=b"")
    for path in (f"{place}/b", f"{place}/b/c", f"{place}/a/c"):
        assert http.delete(path).status_code == 404
    root = http.delete("/files/")
    assert (root.status_code, root.json()["code"]) == (409, "conflict")


def test_delete_honours_conditions(http: httpx.Client, place: str) -> None:
    etag = http.put(f"{place}/a", content=b"x").headers["etag"]
    assert http.delete(f"{place}/a", headers={"if-match": '"other"'}).status_code == 412
    assert http.delete(f"{place}/a", headers={"if-match": etag}).status_code == 204


def test_file_stored_after_a_delete_has_its_own_record(http: httpx.Client, place: str) -> None:
    for content in (b"one", b"two", b"three"):
        stored = http.put(f"{place}/a", content=content, headers={"content-type": "text/plain"})
        assert stored.status_code == 201
        found = http.get(f"{place}/a")
        assert (found.headers["etag"], found.headers["content-type"]) == (stored.headers["etag"], "text/plain")
        assert http.delete(f"{place}/a").status_code == 204


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "MKCOL", "put", "X"])
def test_other_methods_are_refused_with_those_that_are_allowed(http: httpx.Client, place: str, method: str) -> None:
    request = httpx.Request(method, http.base_url.join(f"{place}/a"))
    request.method = method  # as written: httpx makes it upper case
    refused = http.send(request)
    assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")
    assert "PUT" in refused.headers["allow"]


def test_options_tells_methods_and_patch_types(http: httpx.Client, place: str) -> None:
    found = http.options(f"{place}/a")
    assert (found.status_code, found.content) == (204, b"")
    assert {"GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS"} == set(found.headers["allow"].split(", "))
    assert "application/octet-stream" in found.headers["accept-patch"]


def test_the_root_without_its_slash_is_redirected_to(http: httpx.Client) -> None:
    answer = http.get("/files")
    assert (answer.status_code, answer.headers["location"]) == (301, "/files/")


def test_target_in_absolute_form_is_the_same_file(gateway: Served) -> None:
    with socket.create_connection(("127.0.0.1", gateway.plain_port), 10) as peer:
        peer.sendall(b"GET http://127.0.0.1/files/ HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: peer.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"path": ""' in answer
