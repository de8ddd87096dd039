"""Digests of resumable uploads: of the whole, of one request, as they run; and the limits that are told."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import Serve
from tests.front.test_resumable import APPEND, append, begin, digest_of, n_uploads, problem

MIB = 1 << 20
ALGORITHMS = ["sha-256", "sha-512"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_digest_of_the_whole_at_creation_is_checked_at_the_end(http: httpx.Client, place: str, algorithm: str) -> None:
    for content, right in ((b"1234", True), (b"1235", False)):
        url = begin(http, f"{place}/a", b"12", repr_digest=digest_of(b"1234", algorithm)).headers["location"]
        last = append(http, url, 2, content[2:], "?1")
        assert last.headers["upload-complete"] == "?1"
        if right:
            assert (last.status_code, last.headers["repr-digest"]) == (201, digest_of(b"1234"))
            continue
        assert problem(last) == (400, "digest_mismatch")
        assert (http.head(url).status_code, http.get(url).json()["state"]) == (410, "failed")
    assert http.get(f"{place}/a").content == b"1234"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_digest_of_the_whole_with_the_last_request_is_checked(http: httpx.Client, place: str, algorithm: str) -> None:
    for content, status in ((b"12", 201), (b"13", 400)):
        url = begin(http, f"{place}/a", content).headers["location"]
        last = append(http, url, 2, b"34", "?1", repr_digest=digest_of(b"1234", algorithm))
        assert (last.status_code, last.headers["upload-complete"]) == (status, "?1")
    assert http.get(f"{place}/a").content == b"1234"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_request_with_a_wrong_digest_of_its_own_appends_nothing(http: httpx.Client, place: str, algorithm: str) -> None:
    url = begin(http, f"{place}/a", b"12").headers["location"]
    body = bytes(MIB)
    for complete in ("?0", "?1"):
        refused = append(http, url, 2, body, complete, content_digest=digest_of(b"other", algorithm))
        assert problem(refused) == (400, "digest_mismatch")
        assert (refused.headers["upload-complete"], refused.headers["upload-offset"]) == ("?0", "2")
        assert http.head(url).headers["upload-offset"] == "2"
    right = append(http, url, 2, body, "?1", content_digest=digest_of(body, algorithm))
    assert (right.status_code, right.headers["repr-digest"]) == (201, digest_of(b"12" + body))


def test_creation_with_a_wrong_digest_of_its_content_can_be_gone_on_with(http: httpx.Client, place: str) -> None:
    headers = {"upload-complete": "?1", "content-digest": digest_of(b"other")}
    refused = http.put(f"{place}/a", content=b"12", headers=headers)
    assert problem(refused) == (400, "digest_mismatch")
    assert (refused.headers["upload-complete"], refused.headers["upload-offset"]) == ("?0", "0")
    assert append(http, refused.headers["location"], 0, b"12", "?1").status_code == 201


def test_malformed_digest_is_refused_and_creates_nothing(http: httpx.Client, place: str) -> None:
    before = n_uploads(http)
    for name in ("repr-digest", "content-digest"):
        refused = http.put(f"{place}/a", content=b"x", headers={"upload-complete": "?0", name: "sha-256=x"})
        assert problem(refused) == (400, "bad_field")
    assert n_uploads(http) == before


def test_running_digest_is_told_to_who_wants_it(http: httpx.Client, place: str) -> None:
    wish = "sha-512=3, sha-256=10"
    created = begin(http, f"{place}/a", b"12", want_repr_digest=wish)
    assert created.headers["repr-digest"] == digest_of(b"12")
    url = created.headers["location"]
    assert append(http, url, 2, b"34", "?0", want_repr_digest=wish).headers["repr-digest"] == digest_of(b"1234")
    for nothing in ("sha-256=0", "sha-512=1", "sha-256=?1", "sha-256=11", "sha-256=(1)", "=", "sha-256"):
        told = append(http, url, 4, b"", "?0", want_repr_digest=nothing)
        assert (told.status_code, told.headers.get("repr-digest")) == (204, None)
    assert append(http, url, 4, b"", "?1").headers["repr-digest"] == digest_of(b"1234")
    assert http.head(url).headers["repr-digest"] == digest_of(b"1234")


@pytest.fixture(params=[True, False], ids=["http2", "http1"])
def limited(request: pytest.FixtureRequest, serve: Serve, trust: ssl.SSLContext) -> Iterator[httpx.Client]:
    """A client of a gateway with every limit there is."""
    served = serve(max_size=10_000, min_append=100, max_append=6000)
    http2 = bool(request.param)
    with httpx.Client(http1=not http2, http2=http2, verify=trust, base_url=served.url) as client:
        yield client


LIMITS = "max-size=10000, min-append-size=100, max-append-size=6000"


def test_limits_are_told(limited: httpx.Client) -> None:
    for path in ("/files/", "/files/a", "/uploads/", f"/uploads/{'0' * 32}"):
        told = limited.options(path)
        assert (told.status_code, told.headers["upload-limit"]) == (204, LIMITS)
        assert "application/partial-upload" in told.headers["accept-patch"]
    created = begin(limited, "/files/a")
    limit, _, age = created.headers["upload-limit"].rpartition("=")
    assert limit == f"{LIMITS}, max-age"
    assert 0 < int(age) <= 7 * 86400
    assert limited.head(created.headers["location"]).headers["upload-limit"].startswith(limit)


def test_gateway_without_limits_says_so_in_the_one_way_there_is(http: httpx.Client, place: str) -> None:
    assert http.options(f"{place}/a").headers["upload-limit"] == "min-size=0"


def test_what_is_beyond_a_limit_is_refused_with_the_limits_before_anything_is_created(limited: httpx.Client) -> None:
    too_large = [
        ({"upload-complete": "?0", "upload-length": "10001"}, b""),
        ({"upload-complete": "?0"}, bytes(6001)),
        ({"upload-complete": "?1"}, bytes(6001)),
    ]
    for headers, content in too_large:
        refused = limited.put("/files/a", content=content, headers=headers)
        assert problem(refused) == (413, "too_large")
        assert refused.headers["upload-limit"].startswith(LIMITS)
    assert problem(limited.put("/files/a", content=b"x", headers={"upload-complete": "?0"})) == (400, "too_small")
    assert n_uploads(limited) == 0
    assert limited.put("/files/a", content=b"x", headers={"upload-complete": "?1"}).status_code == 201


def test_upload_that_outgrows_the_limit_is_told_so_and_keeps_what_it_has(limited: httpx.Client) -> None:
    url = begin(limited, "/files/a", bytes(6000)).headers["location"]
    refused = append(limited, url, 6000, bytes(5000), "?0")
    assert (*problem(refused), refused.headers["upload-offset"]) == (413, "too_large", "6000")
    assert refused.headers["upload-limit"].startswith(LIMITS)
    pieces = (bytes(1000) for _ in range(5))
    headers = {**APPEND, "upload-offset": "6000", "upload-complete": "?0"}
    refused = limited.patch(url, content=pieces, headers=headers)
    assert problem(refused) == (413, "too_large")
    offset = int(refused.headers["upload-offset"])
    assert 6000 <= offset <= 10_000
    assert limited.head(url).headers["upload-offset"] == str(offset)
    assert append(limited, url, offset, b"", "?1").status_code == 201


def test_gateway_without_digests_checks_those_that_are_sent(serve: Serve, trust: ssl.SSLContext) -> None:
    served = serve(digest=False)
    with httpx.Client(http2=True, verify=trust, base_url=served.url) as http:
        for content, status in ((b"34", 201), (b"35", 400)):
            url = begin(http, "/files/a", b"12", repr_digest=digest_of(b"1234")).headers["location"]
            assert append(http, url, 2, content, "?1").status_code == status
        url = begin(http, "/files/b", b"12").headers["location"]
        assert append(http, url, 2, b"34", "?1", repr_digest=digest_of(b"1234")).status_code == 201
