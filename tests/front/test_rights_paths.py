"""Other spellings of a path give nobody another right: what is stored lies where the right is, or nothing is."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import pytest

from h2gate.server.certificates import Certificates
from tests.conftest import Served, serving
from tests.front.conftest import files_under
from tests.front.policies import Policies
from tests.server.raw import RawClient

COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")

REFUSED = {
    "dots": "/files/own/../out",
    "encoded dots": "/files/own/%2e%2e/out",
    "half encoded dots": "/files/own/.%2E/out",
    "dots and an encoded slash": "/files/own%2f..%2fout",
    "encoded slash": "/files/own%2fx",
    "encoded backslash": "/files/own%5c..%5cout",
    "backslash": "/files/own\\..\\out",
    "dots decoded twice": "/files/own/%252e%252e%252fout/../x",
    "one dot": "/files/own/./x",
    "empty segment": "/files/own//x",
    "empty first segment": "/files//own/x",
    "two slashes in front": "//files/own/x",
    "absolute form of another path": "https://localhost/files/out",
    "NUL": "/files/own%00/x",
    "overlong dots": "/files/own/%c0%ae%c0%ae/out",
    "other case": "/files/OWN/x",
    "longer name": "/files/owner/x",
    "shorter name": "/files/ow",
    "a space behind": "/files/own%20/x",
    "a dot behind": "/files/own./x",
    "parameters": "/files/own;x=1/../out",
    "the parent": "/files/",
    "nothing": "/files",
    "the other room": "/FILES/own/x",
    "decomposed": f"/files/{DECOMPOSED}/x",
    "full-width letters": "/files/own".replace("o", "\uff4f") + "/x",
}
STORED = {
    "plain": ("/files/own/a", "own/a"),
    "an encoded letter": ("/files/%6fwn/b", "own/b"),
    "a percent sign": ("/files/own/%252e%252e", "own/%2e%2e"),
    "composed": (f"/files/{COMPOSED}/x", f"{COMPOSED}/x"),
    "composed, encoded": ("/files/%C3%A9/y", f"{COMPOSED}/y"),
    "three dots": ("/files/own/...", "own/..."),
    "a query": ("/files/own/c?path=/out", "own/c"),
}


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Policies:
    found = Policies(tmp_path_factory.mktemp("paths"))
    found.key("writer", f"storage.modify:/own storage.modify:/%6fwn storage.modify:/{COMPOSED}")
    return found


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, policies: Policies
) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("gateway"), certificates) as start:
        found = start(auth=policies.file, drain_seconds=0.2)
        found.path("out").write_bytes(b"out")
        yield found


@pytest.fixture
def client(served: Served) -> Iterator[RawClient]:
    with RawClient(served.url, served.ca) as client:
        yield client


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "GET"])
@pytest.mark.parametrize("target", REFUSED.values(), ids=REFUSED)
def test_no_spelling_reaches_out_of_a_right(
    served: Served, client: RawClient, policies: Policies, target: str, method: str
) -> None:
    before = files_under(served.path(""))
    fields = [("content-length", "1"), *policies.fields("writer").items()]
    answer = client.answer(client.open_raw(client.fields(method, target, *fields), then=b"x"))
    assert answer.reset is not None or answer.status in (301, 400, 403, 404, 405)
    assert files_under(served.path("")) == before
    assert served.path("out").read_bytes() == b"out"
    assert client.get("/healthz").status == 200


@pytest.mark.parametrize(("target", "path"), STORED.values(), ids=STORED)
def test_what_is_stored_lies_where_the_right_is(
    served: Served, client: RawClient, policies: Policies, target: str, path: str
) -> None:
    assert client.put(target, b"x", *policies.fields("writer").items()).status == 201
    assert served.path(path).read_bytes() == b"x"
