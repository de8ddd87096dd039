"""The audit log over real connections: who did what, with which right; nothing secret; receipts that check offline."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from h2gate.audit.log import RECEIPT
from h2gate.audit.settings import AuditSettings, parse
from h2gate.audit.signing import public_key, verified
from h2gate.audit.verifying import verify
from h2gate.auth import keys
from h2gate.errors import AuditFailed, ConfigError, StorageFull
from h2gate.tables import Table
from tests.conftest import Serve, Served
from tests.front.conftest import wait_until
from tests.front.parts import END, TYPE, part

SHA256_ABC = hashlib.sha256(b"abc").hexdigest()
DRAFT = {"upload-draft-interop-version": "8"}
APPEND = {"content-type": "application/partial-upload"}


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """Of the one key that is known. It may do everything in /in."""
    secret, digest = keys.make("lab")
    rights = "storage.modify:/in storage.read:/in"
    text = f'[[keys]]\nid = "lab"\nsha256 = "{digest}"\nrights = "{rights}"\n[audit]\nreads = true\nmax_bytes = "64K"\n'
    (tmp_path / "auth.toml").write_text(text)
    return secret


@pytest.fixture
def served(tmp_path: Path, secret: str, serve: Serve) -> Served:
    return serve(auth=tmp_path / "auth.toml")


@pytest.fixture
def client(served: Served, secret: str) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {secret}"}
    with httpx.Client(base_url=served.plain_url, timeout=30, headers=headers) as client:
        yield client


def lines(served: Served) -> list[dict[str, Any]]:
    """Those of the log, which is as it was written."""
    folder = served.data / "audit"
    assert verify([folder]).faults == []
    files = [*sorted(folder.glob("audit-*.jsonl")), folder / "audit.jsonl"]
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def told(served: Served, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(each.get(name) for name in names) for each in lines(served)]


def receipt(served: Served, text: str) -> dict[str, Any]:
    return verified(text, RECEIPT, public_key(served.data / "audit" / "receipt.pub"))


def test_a_file_that_was_put_has_a_line_before_it_is_acknowledged(served: Served, client: httpx.Client) -> None:
    headers = {"x-request-id": "from-the-proxy", "x-forwarded-for": "192.0.2.7"}
    assert client.put("/files/in/a", content=b"abc", headers=headers).status_code == 201
    (line,) = lines(served)
    expected = {
        "seq": 1,
        "event": "create",
        "who": "key:lab",
        "via": "key",
        "peer": "127.0.0.1",
        "forwarded": "192.0.2.7",
        "method": "PUT",
        "path": "in/a",
        "right": "storage.modify:/in",
        "size": 3,
        "sha256": SHA256_ABC,
        "status": 201,
        "request_id": "from-the-proxy",
    }
    assert expected.items() <= line.items()
    assert line["upload_id"]


def test_what_is_done_to_a_file_has_a_line_each(served: Served, client: httpx.Client) -> None:
    client.put("/files/in/a", content=b"a").raise_for_status()
    client.put("/files/in/a", content=b"b").raise_for_status()
    client.patch("/files/in/a", content=b"cd").raise_for_status()
    client.get("/files/in/a", headers={"range": "bytes=1-2"}).raise_for_status()
    client.delete("/files/in/a").raise_for_status()
    assert told(served, "event", "path", "size", "n_bytes") == [
        ("create", "in/a", 1, None),
        ("replace", "in/a", 1, None),
        ("append", "in/a", 3, None),
        ("read", "in/a", 3, 2),
        ("delete", "in/a", None, None),
    ]


def test_looking_has_no_line(served: Served, client: httpx.Client) -> None:
    client.put("/files/in/a", content=b"a").raise_for_status()
    for method, path in (
        ("HEAD", "/files/in/a"),
        ("GET", "/files/in/"),
        ("OPTIONS", "/files/in/a"),
        ("GET", "/healthz"),
    ):
        assert client.request(method, path).status_code < 300
    assert client.get("/files/in/none").status_code == 404
    assert told(served, "event") == [("create",)]


def test_every_file_of_a_form_and_of_an_archive_has_a_line(served: Served, client: httpx.Client) -> None:
    client.post("/files/in/", content=part("a") + part("../b") + part("c") + END, headers=TYPE)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("d", "e", "f/../g"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"abc"))
    client.put("/files/in/", content=stream.getvalue(), headers={"content-type": "application/x-tar"})
    found = told(served, "event", "path", "code")
    assert sorted(found) == [
        *(("create", f"in/{name}", None) for name in "acde"),
        ("fail", "in/../b", "bad_path"),
        ("fail", "in/f/../g", "bad_path"),
    ]


def test_a_resumable_upload_has_lines_from_its_beginning_to_its_end(served: Served, client: httpx.Client) -> None:
    headers = {**DRAFT, "upload-complete": "?0", "upload-length": "6"}
    begun = client.put("/files/in/a", content=b"ab", headers=headers)
    url = begun.headers["location"]
    for offset, body, complete in ((2, b"c", "?0"), (3, b"def", "?1")):
        headers = {**DRAFT, **APPEND, "upload-offset": str(offset), "upload-complete": complete}
        client.patch(url, content=body, headers=headers).raise_for_status()
    upload_id = url.rpartition("/")[2]
    assert told(served, "event", "upload_id", "path", "size", "n_bytes") == [
        ("begin", upload_id, "in/a", 2, 2),
        ("receive", upload_id, "in/a", 3, 1),
        ("complete", upload_id, "in/a", 6, 3),
    ]
    assert lines(served)[-1]["sha256"] == hashlib.sha256(b"abcdef").hexdigest()


def test_an_upload_of_tus_has_lines_as_well_and_so_has_its_end(served: Served, client: httpx.Client) -> None:
    tus = {"tus-resumable": "1.0.0"}
    metadata = {"upload-metadata": "filename aW4vYQ==", "upload-length": "3"}
    url = client.post("/tus/", headers={**tus, **metadata}).headers["location"]
    append = {**tus, "content-type": "application/offset+octet-stream", "upload-offset": "0"}
    client.patch(url, content=b"abc", headers=append).raise_for_status()
    other = client.post("/tus/", headers={**tus, **metadata}).headers["location"]
    client.delete(other, headers=tus).raise_for_status()
    found = told(served, "event", "upload_id", "sha256")
    assert [each[0] for each in found] == ["begin", "complete", "begin", "cancel"]
    assert found[1] == ("complete", url.rpartition("/")[2], SHA256_ABC)
    assert found[3][1] == other.rpartition("/")[2]


def test_parts_that_are_joined_later_are_told_by_the_gateway(served: Served, client: httpx.Client) -> None:
    tus = {"tus-resumable": "1.0.0"}
    parts = [
        client.post("/tus/", headers={**tus, "upload-length": "3", "upload-concat": "partial"}).headers["location"]
        for _ in range(2)
    ]
    final = {**tus, "upload-concat": f"final;{' '.join(parts)}", "upload-metadata": "filename aW4vYQ=="}
    whole = client.post("/tus/", headers=final).headers["location"]
    append = {**tus, "content-type": "application/offset+octet-stream", "upload-offset": "0"}
    for url in parts:
        client.patch(url, content=b"abc", headers=append).raise_for_status()
    served.inside(served.gateway.resumables.settled(whole.rpartition("/")[2], 20))
    assert served.gateway._reporting is not None
    served.inside(served.gateway._reporting.close())
    (joined,) = [each for each in lines(served) if each["event"] == "join"]
    assert (joined["who"], joined["path"], joined["size"]) == ("key:lab", "in/a", 6)
    assert joined["sha256"] == hashlib.sha256(b"abcabc").hexdigest()


@pytest.mark.parametrize(
    ("path", "authorization", "expected"),
    [
        ("/files/in/a", None, ("deny", None, 401, "unauthenticated")),
        ("/files/in/a", "Bearer h2g_lab_" + 32 * "x", ("deny", None, 401, "unauthenticated")),
        ("/files/out/a", "", ("deny", "key:lab", 403, "forbidden")),
        ("/files/in/%00", "", ("fail", "key:lab", 400, "bad_path")),
    ],
)
def test_what_is_refused_has_a_line(
    served: Served,
    client: httpx.Client,
    path: str,
    authorization: str | None,
    expected: tuple[str, str | None, int, str],
) -> None:
    if authorization is None:
        del client.headers["authorization"]
    elif authorization:
        client.headers["authorization"] = authorization
    assert client.put(path, content=b"a").status_code == expected[2]
    assert told(served, "event", "who", "status", "code") == [expected]


def test_what_is_hidden_from_who_asks_is_a_denial_in_the_log_alone(served: Served, client: httpx.Client) -> None:
    answer = client.get("/files/out/a")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert told(served, "event", "path", "status") == [("deny", "/files/out/a", 404)]


def test_a_flood_of_refusals_is_counted_and_does_not_fill_the_disk(served: Served, client: httpx.Client) -> None:
    for _ in range(50):
        assert client.put("/files/out/a", content=b"a").status_code == 403
    client.put("/files/in/a", content=b"a").raise_for_status()
    assert served.gateway.audit is not None
    served.inside(served.gateway.audit._tell_left_out())
    found = told(served, "event", "code", "count")
    assert found.count(("deny", "forbidden", None)) == 10
    assert found[-2:] == [("create", None, None), ("omit", "forbidden", 40)]


def test_no_secret_and_no_query_is_in_the_log(
    served: Served, client: httpx.Client, secret: str, capfd: pytest.CaptureFixture[str]
) -> None:
    query = {"ticket": "a-secret-ticket"}
    headers = {"cookie": "session=a-secret-cookie"}
    client.put("/files/in/a", content=b"a", params=query, headers=headers).raise_for_status()
    client.put("/files/out/a", content=b"a", params=query, headers=headers)
    client.headers["authorization"] = f"Bearer {secret}x"
    client.put("/files/in/a", content=b"a", params=query, headers=headers)
    texts = (
        b"".join(each.read_bytes() for each in (served.data / "audit").glob("audit*")).decode() + capfd.readouterr().err
    )
    assert [
        each for each in (secret, secret[8:], "a-secret-ticket", "a-secret-cookie", "Bearer") if each in texts
    ] == []
    assert texts.count('"event":"deny"') == 2


def test_a_receipt_is_for_who_asks_and_tells_of_the_line(served: Served, client: httpx.Client) -> None:
    answer = client.put("/files/in/a", content=b"abc", headers={"prefer": "receipt"})
    assert answer.headers["preference-applied"] == "receipt"
    claims = receipt(served, answer.headers["upload-receipt"])
    (line,) = lines(served)
    same = ("path", "size", "sha256", "upload_id", "who", "seq", "hash")
    assert {name: claims[name] for name in same} == {name: line[name] for name in same}
    assert "upload-receipt" not in client.put("/files/in/a", content=b"abc").headers


def test_receipts_are_in_the_lines_of_an_archive_and_of_a_form(served: Served, client: httpx.Client) -> None:
    prefer = {"prefer": "receipt"}
    form = client.post("/files/in/", content=part("a", b"abc") + END, headers={**TYPE, **prefer}).json()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("b")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    headers = {"content-type": "application/x-tar", **prefer}
    first = client.put("/files/in/", content=stream.getvalue(), headers=headers).text.splitlines()[0]
    found = [receipt(served, each["receipt"]) for each in (form["files"][0], json.loads(first))]
    assert [(each["path"], each["sha256"]) for each in found] == [("in/a", SHA256_ABC), ("in/b", SHA256_ABC)]


@pytest.mark.parametrize("error", [AuditFailed, StorageFull])
def test_what_cannot_be_written_down_is_not_acknowledged_and_readiness_says_why(
    served: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    audit = served.gateway.audit
    assert audit is not None
    append = audit._file.append

    def fail(_: object) -> Any:
        raise error("says the test")

    monkeypatch.setattr(audit._lane, "_work", fail)
    answer = client.put("/files/in/a", content=b"a")
    assert (answer.status_code, answer.json()["code"]) == (error.status, error.code)  # type: ignore[attr-defined]
    ready = client.get("/readyz")
    assert (ready.status_code, ready.text) == (503, "audit: says the test\n")
    monkeypatch.setattr(audit._lane, "_work", append)
    assert client.put("/files/in/a", content=b"a").status_code == 204
    assert told(served, "event") == [("replace",)]


def test_upload_that_expires_is_told_by_the_gateway(tmp_path: Path, secret: str, serve: Serve) -> None:
    served = serve(auth=tmp_path / "auth.toml", upload_seconds=0.05, upkeep_seconds=0.05)
    headers = {"authorization": f"Bearer {secret}", **DRAFT, "upload-complete": "?0"}
    httpx.put(f"{served.plain_url}/files/in/a", content=b"ab", headers=headers).raise_for_status()

    wait_until(lambda: told(served, "event")[-1] == ("expire",), "it has expired")
    assert told(served, "event", "who", "path", "size")[-1] == ("expire", "key:lab", "in/a", 2)


def test_settings_of_the_log_are_read_from_its_table(tmp_path: Path) -> None:
    def read(**values: object) -> AuditSettings:
        return parse(Table(tmp_path / "auth.toml", "audit", values), tmp_path / "data")

    assert read().path == tmp_path / "data/audit/audit.jsonl"
    assert read(path="log.jsonl").path == tmp_path / "log.jsonl"
    assert read(max_bytes="1M", durable=False, reads=True).max_bytes == 1 << 20
    for name, value in (("max_bytes", "1K"), ("durable", "yes"), ("pathh", "x")):
        with pytest.raises(ConfigError, match=rf"\[audit\] {name}"):
            read(**{name: value})
