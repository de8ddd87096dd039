"""Resumable uploads belong to who began them; the right is looked at when they begin, go on, and end."""

from __future__ import annotations

import json
import tarfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from tests.conftest import Serve, Served
from tests.front.conftest import files_under, wait_until
from tests.front.parts import END, TYPE, part, statuses
from tests.front.policies import Fields, Policies
from tests.server.raw import RawClient

TUS = {"tus-resumable": "1.0.0"}
MORE = {"content-type": "application/offset+octet-stream", **TUS}
DRAFT = {"content-type": "application/partial-upload"}


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    found = Policies(tmp_path)
    found.key("creator", "storage.create:/in")
    found.key("modifier", "storage.modify:/in storage.read:/in")
    found.key("narrow", "storage.create:/in/a storage.create:/in/one")
    return found


@pytest.fixture
def served(serve: Serve, policies: Policies) -> Served:
    found = serve(auth=policies.file, drain_seconds=0.2)
    found.path("in").mkdir()
    return found


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.plain_url, timeout=30) as client:
        yield client


def begun(http: httpx.Client, who: Fields, path: str, body: bytes, *, complete: str = "?0") -> str:
    answer = http.put(path, content=body, headers={"upload-complete": complete, **who})
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def ended(http: httpx.Client, who: Fields, url: str, body: bytes, offset: int) -> httpx.Response:
    headers = {"upload-offset": str(offset), "upload-complete": "?1", **DRAFT, **who}
    return http.patch(url, content=body, headers=headers)


def test_nobody_is_told_of_anothers_uploads(http: httpx.Client, policies: Policies) -> None:
    url = begun(http, policies.fields("creator"), "/files/in/f", b"half")
    for who, n in (("creator", 1), ("modifier", 0)):
        for query in ("", "?path=in/f"):
            listed = http.get(f"/uploads/{query}", headers=policies.fields(who)).json()["uploads"]
            assert [each["url"] for each in listed] == [url] * n
    refused = http.get(url, headers=policies.fields("modifier"))
    unknown = http.get("/uploads/" + "0" * 32, headers=policies.fields("modifier"))
    assert (refused.status_code, refused.text) == (unknown.status_code, unknown.text) == (404, unknown.text)
    assert ended(http, policies.fields("creator"), url, b"!", 4).status_code == 201


def test_an_upload_of_who_may_only_create_never_replaces_whoever_completes_it(
    served: Served, http: httpx.Client, policies: Policies
) -> None:
    who = policies.fields("creator")
    url = begun(http, who, "/files/in/f", b"half")
    served.path("in/f").write_bytes(b"came meanwhile")
    answer = ended(http, who, url, b"!", 4)
    assert (answer.status_code, answer.json()["code"], answer.headers["upload-complete"]) == (403, "forbidden", "?1")
    assert served.path("in/f").read_bytes() == b"came meanwhile"
    served.path("in/f").unlink()
    assert ended(http, who, url, b"", 5).status_code == 201
    assert served.path("in/f").read_bytes() == b"half!"


def test_an_upload_begun_with_more_rights_ends_with_those_that_are_left(
    served: Served, http: httpx.Client, policies: Policies
) -> None:
    who = policies.fields("modifier")
    served.path("in/f").write_bytes(b"old")
    url = begun(http, who, "/files/in/f", b"half")
    policies.file.write_text(policies.file.read_text().replace("storage.modify:/in storage.read", "storage.create"))
    served.inside(served.gateway.reload_policy())
    assert ended(http, who, url, b"!", 4).status_code == 403
    assert served.path("in/f").read_bytes() == b"old"


def test_parts_of_another_are_not_joined_nor_told_of(http: httpx.Client, policies: Policies) -> None:
    creator, modifier = policies.fields("creator"), policies.fields("modifier")
    partial = {"upload-concat": "partial", "upload-length": "1", **TUS}
    url = http.post("/tus/", headers={**partial, **MORE, **creator}, content=b"1").headers["location"]
    final = {"upload-concat": f"final;{url}", "upload-metadata": "path aW4vZg==", **TUS}
    anothers = http.post("/tus/", headers={**final, **modifier})
    unknown = http.post("/tus/", headers={**final, "upload-concat": f"final;/tus/{'0' * 32}", **modifier})
    assert (anothers.status_code, anothers.text) == (400, unknown.text)
    http.delete(url, headers={**TUS, **creator})
    assert http.post("/tus/", headers={**final, **modifier}).text == unknown.text, "not even that it is over"


def test_of_a_form_each_file_needs_its_own_right(served: Served, http: httpx.Client, policies: Policies) -> None:
    form = part("a/x") + part("b") + part("one") + part("a/../b") + END
    answer = http.post("/files/in/", content=form, headers={**TYPE, **policies.fields("narrow")})
    assert statuses(answer) == [201, 403, 201, 400]
    assert files_under(served.path("in")) == ["a/x", "one"]
    again = http.post("/files/in/", content=part("one") + END, headers={**TYPE, **policies.fields("narrow")})
    assert statuses(again) == [403], "it is there, and may not be replaced"


def test_of_an_archive_each_member_needs_its_own_right(served: Served, http: httpx.Client, policies: Policies) -> None:
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, size in (("a/x", 0), ("b", 5), ("large", 300_000), ("one", 300_000)):
            member = tarfile.TarInfo(name)
            member.size = size
            tar.addfile(member, BytesIO(bytes(size)))
    headers = {"content-type": "application/x-tar", **policies.fields("narrow")}
    answer = http.put("/files/in/", content=out.getvalue(), headers=headers)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert {each.get("name"): each.get("status") for each in lines[:-1]} == {
        "a/x": 201,
        "b": 403,
        "large": 403,
        "one": 201,
    }
    assert files_under(served.path("in")) == ["a/x", "one"]


class Begun:
    """Two uploads with half of their bytes on their way, by a raw client: a PUT, and one that can be gone on with."""

    def __init__(self, client: RawClient, who: Fields) -> None:
        self.client = client
        length = ("content-length", "200000")
        self.put = client.open("PUT", "/files/in/put", length, *who.items())
        self.resumable = client.open("PUT", "/files/in/kept", length, ("upload-complete", "?1"), *who.items())
        self.append = client.open("PATCH", "/files/in/there", length, *who.items())
        for stream in (self.put, self.resumable, self.append):
            client.push(stream, bytes(100_000), end=False)
        client.quiet()

    def end(self) -> list[int]:
        for stream in (self.put, self.resumable, self.append):
            self.client.push(stream, bytes(100_000))
        return [self.client.answer(each).status for each in (self.put, self.resumable, self.append)]


def test_a_key_that_is_withdrawn_completes_nothing_any_more(
    served: Served, http: httpx.Client, policies: Policies
) -> None:
    who, before = policies.fields("modifier"), policies.file.read_text()
    served.path("in/there").write_bytes(b"there")
    with RawClient(served.url, served.ca) as client:
        uploads = Begun(client, who)
        policies.withdraw()
        served.inside(served.gateway.reload_policy())
        assert uploads.end() == [401, 401, 401]
    assert files_under(served.path("in")) == ["there"]
    assert served.path("in/there").read_bytes() == b"there"
    policies.file.write_text(before)
    served.inside(served.gateway.reload_policy())
    (found,) = http.get("/uploads/", headers=who).json()["uploads"]
    assert (found["offset"], found["state"]) == (200_000, "receiving"), "its bytes were kept"
    assert ended(http, who, found["url"], b"", 200_000).status_code == 201
    assert served.path("in/kept").stat().st_size == 200_000


@pytest.mark.parametrize(("seconds", "statuses"), [(3600.0, [201, 201, 204]), (0.0, [401, 401, 401])])
def test_a_request_may_outlive_its_key_for_as_long_as_is_set(
    serve: Serve, policies: Policies, seconds: float, statuses: list[int]
) -> None:
    now = time.gmtime(time.time() + 3)
    policies.key("brief", "storage.modify:/in", f"expires = {time.strftime('%Y-%m-%dT%H:%M:%SZ', now)}")
    served = serve(auth=policies.file, expired_seconds=seconds)
    served.path("in").mkdir()
    served.path("in/there").write_bytes(b"there")
    who = policies.fields("brief")
    with RawClient(served.url, served.ca) as client, httpx.Client(base_url=served.plain_url) as http:
        uploads = Begun(client, who)
        wait_until(lambda: http.head("/files/in/there", headers=who).status_code == 401, "it expires")
        assert uploads.end() == statuses


def test_a_file_that_cannot_be_used_changes_nothing(served: Served, http: httpx.Client, policies: Policies) -> None:
    policies.file.write_text("[[keys]]\nid = 'a'\n")
    served.inside(served.gateway.reload_policy())
    assert http.get("/files/in/", headers=policies.fields("modifier")).status_code == 200
