"""How large one file may be, by whom it comes or whose the folder is: by every way that makes one."""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.auth.servers import Reply, serving
from tests.conftest import Serve, Served
from tests.front.conftest import files_under
from tests.front.parts import END, TYPE, part
from tests.front.policies import Fields, Policies

MAX = 1000
TUS = {"tus-resumable": "1.0.0"}
BYTES = {**TUS, "content-type": "application/offset+octet-stream"}
CODED = gzip.compress(bytes(MAX + 1))


@pytest.fixture(params=["of-who-sends", "of-the-tenant", "of-both"])
def limited(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Iterator[tuple[Served, Fields]]:
    """A gateway, and what a request carries that may put files of so many bytes into `in/`."""
    policies = Policies(tmp_path)
    policies.key("lab", "storage.modify:/")
    least, other = str(MAX), str(10 * MAX)
    told, kept = {"of-who-sends": (least, ""), "of-the-tenant": ("", least), "of-both": (least, other)}[request.param]
    limit = (("X-H2gate-Max-Size", told),) if told else ()
    with serving(lambda asked: Reply(204, (("Remote-User", "alice"), *limit))) as peer:
        policies.lines("[forward]", f'url = "{peer.url}/"', 'rights = "storage.modify:/"')
        if kept:
            policies.tenant("t", 'root = "in"', f"max_file_bytes = {kept}")
        yield serve(auth=policies.file, drain_seconds=0.2), {"cookie": "session=1"}


@pytest.fixture
def served(limited: tuple[Served, Fields]) -> Served:
    return limited[0]


@pytest.fixture
def http(limited: tuple[Served, Fields]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=limited[0].plain_url, timeout=30, headers=limited[1]) as client:
        yield client


def named(path: str) -> Fields:
    return {"upload-metadata": f"path {b64encode(path.encode()).decode()}"}


def put(http: httpx.Client, n_bytes: int) -> int:
    return http.put("/files/in/f", content=bytes(n_bytes)).status_code


def put_of_unknown_length(http: httpx.Client, n_bytes: int) -> int:
    return http.put("/files/in/f", content=iter([bytes(n_bytes - 1), b"x"])).status_code


def put_coded(http: httpx.Client, n_bytes: int) -> int:
    coded = gzip.compress(bytes(n_bytes))
    return http.put("/files/in/f", content=coded, headers={"content-encoding": "gzip"}).status_code


def patch(http: httpx.Client, n_bytes: int) -> int:
    assert http.put("/files/in/f", content=b"x").status_code == 201
    status = http.patch("/files/in/f", content=bytes(n_bytes - 1)).status_code
    if status != 204:
        assert http.delete("/files/in/f").status_code == 204
    return status


def form(http: httpx.Client, n_bytes: int) -> int:
    content = part("f", bytes(n_bytes)) + END
    found = http.post("/files/in/", content=content, headers=TYPE).json()["files"]
    return int(found[0]["status"])


def resumable(http: httpx.Client, n_bytes: int) -> int:
    return http.put("/files/in/f", content=bytes(n_bytes), headers={"upload-complete": "?1"}).status_code


def in_pieces(http: httpx.Client, n_bytes: int) -> int:
    url = http.put("/files/in/f", content=bytes(n_bytes - 1), headers={"upload-complete": "?0"}).headers["location"]
    fields = {"upload-offset": str(n_bytes - 1), "upload-complete": "?1", "content-type": "application/partial-upload"}
    return http.patch(url, content=b"x", headers=fields).status_code


def coded_resumable(http: httpx.Client, n_bytes: int) -> int:
    fields = {"upload-complete": "?1", "content-encoding": "gzip"}
    return http.put("/files/in/f", content=gzip.compress(bytes(n_bytes)), headers=fields).status_code


def tus(http: httpx.Client, n_bytes: int) -> int:
    return http.post("/tus/", headers={"upload-length": str(n_bytes), **TUS, **named("in/f")}).status_code


def joined(http: httpx.Client, n_bytes: int) -> int:
    urls = []
    for size in (n_bytes - 1, 1):
        fields = {"upload-length": str(size), "upload-concat": "partial", **BYTES}
        urls.append(http.post("/tus/", content=bytes(size), headers=fields).headers["location"])
    fields = {"upload-concat": f"final;{' '.join(urls)}", **TUS, **named("in/f")}
    return http.post("/tus/", headers=fields).status_code


def joined_later(http: httpx.Client, n_bytes: int) -> int:
    fields = {"upload-defer-length": "1", "upload-concat": "partial", **TUS}
    urls = [http.post("/tus/", headers=fields).headers["location"] for _ in range(2)]
    fields = {"upload-concat": f"final;{' '.join(urls)}", **TUS, **named("in/f")}
    made = http.post("/tus/", headers=fields).headers["location"].rpartition("/")[2]
    for url, size in zip(urls, (n_bytes - 1, 1), strict=True):
        told = {"upload-offset": "0", "upload-length": str(size), **BYTES}
        assert http.patch(url, content=bytes(size), headers=told).status_code == 204
    state = http.get(f"/uploads/{made}", headers={"prefer": "wait=30"}).json()["state"]
    return {"complete": 201, "failed": 413}[state]


Way = Callable[[httpx.Client, int], int]
WAYS: Mapping[str, Way] = {
    each.__name__: each
    for each in (
        put,
        put_of_unknown_length,
        put_coded,
        patch,
        form,
        resumable,
        in_pieces,
        coded_resumable,
        tus,
        joined,
        joined_later,
    )
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_file_has_as_many_bytes_as_it_may_and_not_one_more(served: Served, http: httpx.Client, way: Way) -> None:
    assert way(http, MAX + 1) == 413
    assert files_under(served.path("in")) == []
    assert way(http, MAX) in (201, 204)


def test_limit_of_who_began_an_upload_holds_for_who_completes_it(serve: Serve, tmp_path: Path) -> None:
    """The same principal by another answer of the server; what came coded is decoded only then."""
    policies = Policies(tmp_path)
    policies.key("lab", "storage.modify:/")
    limits = [(("X-H2gate-Max-Size", str(MAX)),), ()]
    with serving(lambda asked: Reply(204, (("Remote-User", "alice"), *limits[0]))) as peer:
        policies.lines("[forward]", f'url = "{peer.url}/"', 'rights = "storage.modify:/"', "cache_seconds = 0")
        served = serve(auth=policies.file, drain_seconds=0.2)
        with httpx.Client(base_url=served.plain_url, timeout=30, headers={"cookie": "session=1"}) as http:
            fields = {"upload-complete": "?0", "content-encoding": "gzip"}
            url = http.put("/files/f", content=CODED[:10], headers=fields).headers["location"]
            del limits[0]
            rest = {"upload-offset": "10", "upload-complete": "?1", "content-type": "application/partial-upload"}
            assert http.patch(url, content=CODED[10:], headers=rest).status_code == 413
    assert not served.path("f").exists()
