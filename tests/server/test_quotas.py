"""Quotas over real connections: refused before the body where the length is known, in the middle where it is not, and
the other uploads of the connection go on."""

from __future__ import annotations

import json
import tarfile
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve, Served
from tests.front.parts import END, TYPE, part
from tests.front.policies import Policies
from tests.server.conftest import Connect
from tests.server.raw import Answer, RawClient, eventually

MAX_BYTES = 1_000_000
MAX_FILE_BYTES = 700_000


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    found = Policies(tmp_path)
    found.key("u", "storage.modify:/ storage.read:/", 'tenant = "t"')
    limits = f"max_bytes = {MAX_BYTES}", f"max_file_bytes = {MAX_FILE_BYTES}", "max_uploads = 2"
    found.tenant("t", *limits)
    return found


@pytest.fixture
def served(policies: Policies, serve: Serve) -> Served:
    return serve(auth=policies.file, drain_seconds=0.2)


@pytest.fixture
def client(served: Served, connect: Connect) -> RawClient:
    return connect(served)


@pytest.fixture
def field(policies: Policies) -> tuple[str, str]:
    return "authorization", policies.fields("u")["authorization"]


def told(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(answer.body))
    return found


def test_nobody_of_a_tenant_puts_a_file_in_the_place_of_its_folder(
    client: RawClient, served: Served, field: tuple[str, str]
) -> None:
    """Every path below it would be in nobody's reach until somebody who may delete it does."""
    tus = ("upload-length", "1"), ("upload-metadata", f"path {b64encode(b't').decode()}"), ("tus-resumable", "1.0.0")
    ways = ("PUT", "/files/t", ()), ("PUT", "/files/t", (("upload-complete", "?0"),)), ("POST", "/tus/", tus)
    for method, path, more in ways:
        answer = client.answer(client.open(method, path, field, *more, end=True))
        assert (answer.status, told(answer)["code"]) == (400, "bad_path")
    assert client.answer(client.open("PUT", "/files/t/a", ("content-length", "0"), field, end=True)).status == 201
    assert served.path("t/a").exists()


def test_length_that_does_not_fit_is_refused_without_a_byte_of_it_and_neighbours_go_on(
    client: RawClient, served: Served, field: tuple[str, str]
) -> None:
    neighbour = client.open("PUT", "/files/t/neighbour", ("content-length", "600000"), field)
    client.push(neighbour, bytes(300_000), end=False)
    refused = client.answer(client.open("PUT", "/files/t/a", ("content-length", "400001"), field))
    assert (refused.status, told(refused)["code"]) == (507, "over_quota")
    assert told(refused)["left"] == {"bytes": 400_000, "files": None}
    large = client.answer(client.open("PUT", "/files/t/a", ("content-length", str(MAX_FILE_BYTES + 1)), field))
    assert (large.status, told(large)["max_bytes"]) == (413, MAX_FILE_BYTES)
    client.push(neighbour, bytes(300_000))
    assert client.answer(neighbour).status == 201
    assert client.put("/files/t/b", bytes(400_000), field).status == 201
    assert {each.name for each in served.path("t").iterdir()} == {"neighbour", "b"}
    assert not client.closed


def test_body_of_unknown_length_is_refused_in_the_middle_and_neighbours_go_on(
    client: RawClient, served: Served, field: tuple[str, str]
) -> None:
    assert client.put("/files/t/there", bytes(500_000), field).status == 201
    neighbour = client.open("PUT", "/files/t/neighbour", ("content-length", "200000"), field)
    client.push(neighbour, bytes(100_000), end=False)
    growing = client.open("PUT", "/files/t/a", field)
    client.push(growing, bytes(600_000), end=False)
    answer = client.answer(growing)
    assert (answer.status, told(answer)["code"]) == (507, "over_quota")
    client.push(neighbour, bytes(100_000))
    assert client.answer(neighbour).status == 201
    eventually(lambda: served.staged() == [], "nothing is kept of it")
    assert client.put("/files/t/b", bytes(300_000), field).status == 201


def test_one_upload_too_many_is_told_when_to_come_again(client: RawClient, field: tuple[str, str]) -> None:
    running = [client.open("PUT", f"/files/t/{n}", ("content-length", "200"), field) for n in range(2)]
    for each in running:
        client.push(each, bytes(100), end=False)
    client.quiet()

    def refused() -> bool:
        answer = client.put("/files/t/more", b"", field)
        return answer.status == 429 and told(answer)["code"] == "too_many_uploads" and "retry-after" in answer.headers

    eventually(refused, "both have begun")
    for each in running:
        client.push(each, bytes(100))
        assert client.answer(each).status == 201
    assert client.put("/files/t/more", b"", field).status == 201


def test_files_of_a_form_and_an_archive_are_looked_at_one_by_one(client: RawClient, field: tuple[str, str]) -> None:
    assert client.put("/files/t/there", bytes(MAX_FILE_BYTES), field).status == 201
    body = part("a", bytes(200_000)) + part("b", bytes(200_000)) + part("c", bytes(100)) + END
    media_type = ("content-type", TYPE["content-type"])
    stream = client.open("POST", "/files/t/", ("content-length", str(len(body))), media_type, field)
    client.push(stream, body)
    answer = client.answer(stream)
    assert answer.status == 207
    assert [each.get("code") for each in told(answer)["files"]] == [None, "over_quota", None]

    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, n_bytes in (("d", 50_000), ("e", 150_000), ("f", 100)):
            member = tarfile.TarInfo(name)
            member.size = n_bytes
            tar.addfile(member, BytesIO(bytes(n_bytes)))
    stream = client.open("PUT", "/files/t/", ("content-type", "application/x-tar"), field)
    client.push(stream, out.getvalue())
    lines = [json.loads(line) for line in bytes(client.answer(stream).body).splitlines()]
    assert {each["name"]: each.get("code") for each in lines[:-1]} == {"d": None, "e": "over_quota", "f": None}


def test_tus_upload_that_does_not_fit_is_refused_at_its_creation(client: RawClient, field: tuple[str, str]) -> None:
    metadata = ("upload-metadata", f"filename {b64encode(b't/a').decode()}")
    fields = (("tus-resumable", "1.0.0"), metadata, field)
    assert client.put("/files/t/there", bytes(600_000), field).status == 201
    refused = client.answer(client.open("POST", "/tus/", *fields, ("upload-length", "400001"), end=True))
    assert (refused.status, told(refused)["left"]["bytes"]) == (507, 400_000)
    assert client.answer(client.open("POST", "/tus/", *fields, ("upload-length", "400000"), end=True)).status == 201
