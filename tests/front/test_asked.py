"""What an authentication server is told is what the gateway then does, and what it says goes no further."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.auth.servers import Asked, Peer, Reply, serving
from tests.conftest import Serve, Served
from tests.front.policies import Policies
from tests.server.raw import RawClient

ALICE = Reply(204, (("Remote-User", "alice"),))
TUS = {"tus-resumable": "1.0.0"}
COOKIE = {"cookie": "session=alice"}
CROSS = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving(lambda asked: ALICE) as found:
        yield found


@pytest.fixture
def served(serve: Serve, tmp_path: Path, peer: Peer) -> Served:
    policies = Policies(tmp_path)
    policies.lines("[forward]", f'url = "{peer.url}/"', 'rights = "storage.modify:/ storage.read:/"')
    policies.table("tickets", 'key = "tickets.key"')
    return serve(auth=policies.file)


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.plain_url, timeout=30) as client:
        yield client


@pytest.fixture
def upload(http: httpx.Client) -> str:
    metadata = f"path {b64encode(b'f').decode()}"
    answer = http.post("/tus/", headers={"upload-length": "3", "upload-metadata": metadata, **TUS, **COOKIE})
    assert answer.status_code == 201
    return answer.headers["location"]


def test_server_is_asked_about_the_method_that_is_meant(http: httpx.Client, peer: Peer, upload: str) -> None:
    def answer(asked: Asked) -> Reply:
        methods = {asked.headers["x-original-method"], asked.headers["x-forwarded-method"]}
        return Reply(403) if "DELETE" in methods else ALICE

    peer.answer = answer
    for method, override in (("DELETE", {}), ("POST", {"x-http-method-override": "DELETE"})):
        assert http.request(method, upload, headers={**TUS, **COOKIE, **override}).status_code == 403
    assert http.head(upload, headers={**TUS, **COOKIE}).status_code == 200


def test_page_of_another_origin_does_not_write_by_calling_it_reading(http: httpx.Client, upload: str) -> None:
    fields = {"x-http-method-override": "DELETE", **TUS, **COOKIE, **CROSS}
    assert http.get(upload, headers=fields).status_code == 403
    assert http.head(upload, headers={**TUS, **COOKIE}).status_code == 200


@pytest.mark.parametrize("scheme", ["Negotiate", "NTLM", "Digest", "Basic", "basic", "HOBA", ""])
def test_page_of_another_origin_does_not_write_with_what_a_browser_says_by_itself(
    http: httpx.Client, served: Served, scheme: str
) -> None:
    fields = {"authorization": f"{scheme} abc".strip(), **CROSS}
    assert http.put("/files/a", content=b"x", headers=fields).status_code == 403
    assert not served.path("a").exists()
    own = {**fields, "origin": served.plain_url, "sec-fetch-site": "same-origin"}
    assert http.put("/files/a", content=b"x", headers=own).status_code == 201
    assert http.put("/files/b", content=b"x", headers={**CROSS, "authorization": "Bearer x"}).status_code == 201


def test_cookies_that_came_in_lines_of_their_own_are_told_as_one_field_of_cookies(served: Served, peer: Peer) -> None:
    with RawClient(served.url, served.ca) as client:
        stream = client.open("GET", "/files/", ("cookie", "a=1"), ("cookie", "session=alice"), end=True)
        assert client.answer(stream).status == 200
    assert peer.asked[-1].headers["cookie"] == "a=1; session=alice"


def test_ticket_of_who_may_put_small_files_is_for_small_files(http: httpx.Client, peer: Peer, served: Served) -> None:
    peer.answer = lambda asked: Reply(204, (*ALICE.headers, ("X-H2gate-Max-Size", "10")))
    for wanted in ({}, {"max_file_bytes": 1000}):
        made = http.post("/tickets/", json={"folder": "in", **wanted}, headers=COOKIE).json()
        assert made["max_file_bytes"] == 10
        answer = http.put("/files/in/a", content=bytes(11), headers={"authorization": f"Bearer {made['ticket']}"})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    less = http.post("/tickets/", json={"folder": "in", "max_file_bytes": 5}, headers=COOKIE).json()
    assert less["max_file_bytes"] == 5
    assert not served.path("in/a").exists()


def test_what_not_everybody_may_see_is_kept_by_no_cache_for_others(http: httpx.Client, served: Served) -> None:
    served.path("a").write_bytes(b"secret")
    for path in ("/files/a", "/files/", "/files/none"):
        for method in ("GET", "HEAD"):
            answer = http.request(method, path, headers=COOKIE)
            assert answer.headers["cache-control"] == "private, no-cache", (method, path)
    again = http.get(
        "/files/a", headers={**COOKIE, "if-none-match": http.get("/files/a", headers=COOKIE).headers["etag"]}
    )
    assert (again.status_code, again.headers["cache-control"]) == (304, "private, no-cache")
