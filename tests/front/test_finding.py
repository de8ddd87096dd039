"""What a sender who lost the URL of an upload asks: which one is it, does nobody write it, are its bytes mine."""

from __future__ import annotations

from urllib.parse import quote

import httpx

from tests.conftest import Served
from tests.front.conftest import wait_until
from tests.front.test_resumable import append, begin, digest_of
from tests.server.raw import RawClient

WANTED = {"want-repr-digest": "sha-256=9"}


def at(http: httpx.Client, path: str) -> list[str]:
    return [each["url"] for each in http.get("/uploads/", params={"path": path}).json()["uploads"]]


def test_uploads_of_one_file_that_can_be_gone_on_with_are_listed(http: httpx.Client, place: str) -> None:
    path = f"{place}/{quote('ä %?+&=')}"
    first, second, over = (begin(http, path).headers["location"] for _ in range(3))
    begin(http, f"{place}/other")
    append(http, over, 0, b"whole", "?1")
    http.delete(first)
    assert at(http, path) == [second]
    assert at(http, f"{place}/nothing") == []
    assert len(at(http, f"{place}/other")) == 1


def test_upload_that_is_being_written_is_not_listed_and_not_disturbed(
    http: httpx.Client, gateway: Served, place: str
) -> None:
    url = begin(http, f"{place}/a").headers["location"]
    writer = RawClient(gateway.url, gateway.ca)
    fields = {"content-type": "application/partial-upload", "upload-offset": "0", "upload-complete": "?1"}
    stream = writer.open("PATCH", url, *fields.items())
    writer.push(stream, b"1", end=False)
    wait_until(lambda: not at(http, f"{place}/a"), "it is written")
    writer.data(stream, b"2", end=True)
    assert writer.answer(stream).status == 201
    writer.sock.close()
    assert http.get(f"{place}/a").content == b"12"


def test_path_that_cannot_be_is_refused(http: httpx.Client) -> None:
    assert http.get("/uploads/", params={"path": "/files/../a"}).status_code == 400


def test_head_tells_the_digest_of_what_is_there_to_who_wants_it(http: httpx.Client, place: str) -> None:
    url = begin(http, f"{place}/a", b"12").headers["location"]
    assert http.head(url, headers=WANTED).headers["repr-digest"] == digest_of(b"12")
    append(http, url, 2, bytes(100_000), "?0")
    assert http.head(url, headers=WANTED).headers["repr-digest"] == digest_of(b"12" + bytes(100_000))
    for unwanted in ({}, {"want-repr-digest": "sha-256=0"}, {"want-repr-digest": "md5=9"}):
        assert "repr-digest" not in http.head(url, headers=unwanted).headers
