"""Pages of other origins: those that were let in may upload and see how far they are; others may not."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import Serve
from tests.front.tusser import VERSION

PAGE, OTHER = "https://app.example", "https://other.example"
PATHS = ["/tus/", "/tus/" + "0" * 32, "/files/", "/files/a", "/uploads/", "/uploads/" + "0" * 32]


@pytest.fixture(params=["one", "any", "none"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def http(serve: Serve, kind: str) -> Iterator[httpx.Client]:
    origins = {"one": (PAGE, "https://second.example"), "any": ("*",), "none": ()}[kind]
    with httpx.Client(base_url=serve(cors_origins=origins).plain_url) as client:
        yield client


def told(answer: httpx.Response) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


def allowed(kind: str) -> str | None:
    return {"one": PAGE, "any": "*", "none": None}[kind]


@pytest.mark.parametrize("path", PATHS)
def test_preflight_tells_a_page_what_it_may_send(http: httpx.Client, kind: str, path: str) -> None:
    asked = {"access-control-request-method": "PATCH", "access-control-request-headers": "tus-resumable,upload-offset"}
    answer = http.options(path, headers={"origin": PAGE, **asked})
    assert answer.is_success
    assert answer.headers.get("access-control-allow-origin") == allowed(kind)
    if kind != "none":
        methods = answer.headers["access-control-allow-methods"].split(", ")
        assert {"POST", "PATCH", "HEAD", "DELETE", "PUT"} <= set(methods)
        assert answer.headers["access-control-allow-headers"] == "tus-resumable,upload-offset"
        assert int(answer.headers["access-control-max-age"]) > 0
    else:
        assert told(answer) == set()


@pytest.mark.parametrize("path", PATHS)
def test_page_may_read_answers_and_errors_and_their_fields(http: httpx.Client, kind: str, path: str) -> None:
    for method in ("GET", "HEAD", "BREW"):
        answer = http.request(method, path, headers={"origin": PAGE})
        assert answer.headers.get("access-control-allow-origin") == allowed(kind)
        if kind == "none":
            assert told(answer) == set()
            continue
        exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
        assert {"location", "upload-offset", "upload-length", "tus-resumable", "repr-digest", "etag"} <= set(exposed)


def test_upload_of_a_page_may_be_seen(http: httpx.Client, kind: str) -> None:
    answer = http.post("/tus/", headers={"origin": PAGE, "upload-length": "5", **VERSION})
    assert answer.status_code == 201
    assert answer.headers.get("access-control-allow-origin") == allowed(kind)
    exposed = set(answer.headers.get("access-control-expose-headers", "").lower().split(", "))
    shown = {"location", "upload-expires", "tus-resumable", "date"}
    assert (shown <= exposed) == (kind != "none")


@pytest.mark.parametrize("origin", [OTHER, "null", PAGE + ".evil.example", PAGE + ":8443", "http://app.example", None])
def test_page_of_another_origin_is_told_nothing(http: httpx.Client, kind: str, origin: str | None) -> None:
    asked = {"access-control-request-method": "PATCH"} | ({"origin": origin} if origin else {})
    for answer in (http.options("/tus/", headers=asked), http.get("/files/", headers=asked)):
        assert bool(told(answer)) == (kind == "any" and origin is not None)


def test_what_depends_on_the_origin_says_so_to_caches(http: httpx.Client, kind: str) -> None:
    for headers in ({}, {"origin": PAGE}, {"origin": OTHER}):
        vary = http.get("/files/", headers=headers).headers.get("vary", "")
        assert ("origin" in vary) == (kind == "one")
        assert "accept" in vary
