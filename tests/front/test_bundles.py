"""tar archives put to a folder: each member is a file of its own, answered as soon as it is safe."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from h2gate.codec import tar
from h2gate.fields import digest_field
from tests.conftest import Serve
from tests.front.conftest import Curl, files_under
from tests.server.raw import RawClient, eventually

TAR = {"content-type": "application/x-tar"}


def archive_of(*members: tuple[str, bytes], end: bytes = tar.END, sha256: str | None = None) -> bytes:
    records = {"H2GATE.sha256": sha256} if sha256 is not None else {}
    pieces = [(tar.header(name, len(content), 10**18, records), content) for name, content in members]
    return b"".join(header + content + tar.padding(len(content)) for header, content in pieces) + end


def other(name: str, kind: bytes) -> bytes:
    """A member that is no file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info.tobuf(tarfile.GNU_FORMAT)


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson"), answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def outcomes(answer: httpx.Response) -> dict[str, Any]:
    """Status or code by name."""
    return {each["name"]: each.get("code", each["status"]) for each in lines(answer)[:-1]}


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_members_are_stored_each_with_its_answer(http: httpx.Client, place: str, folder: Path, method: str) -> None:
    http.put(f"{place}/b", content=b"old")
    large = bytes(range(256)) * 20_000
    body = archive_of(("a", b""), ("b", large), ("c/d", b"y"))
    answer = http.request(method, f"{place}/", content=body, headers=TAR)
    assert outcomes(answer) == {"a": 201, "b": 204, "c/d": 201}
    assert lines(answer)[-1] == {"summary": True, "stored": 3, "failed": 0, "bytes": len(large) + 1}
    told = {each["name"]: each for each in lines(answer)[:-1]}
    assert (told["b"]["path"], told["b"]["size"]) == (f"{place}/b", len(large))
    assert told["b"]["repr_digest"] == digest_field("sha-256", hashlib.sha256(large).digest())
    assert (folder / "b").read_bytes() == large
    assert (folder / "a").stat().st_mtime == 10**9


def test_archive_put_to_a_name_is_a_file(http: httpx.Client, place: str, folder: Path) -> None:
    body = archive_of(("a", b"1"))
    assert http.put(f"{place}/x.tar", content=body, headers=TAR).status_code == 201
    assert (folder / "x.tar").read_bytes() == body


def test_tar_and_curl_as_documented(curl: Curl, place: str, folder: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name, size in (("small", 10), ("deep/er/large", 3_000_000), ("deep/" + "long" * 50, 5)):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(bytes(size))
    (tree / "link").symlink_to("small")
    made = subprocess.run(["tar", "c", "-C", str(tmp_path), "tree"], check=True, capture_output=True)
    done = curl(f"{place}/", "-T", "-", "-H", "Content-Type: application/x-tar", input=made.stdout)
    assert done.stdout.endswith(b"200"), done
    assert subprocess.run(["diff", "-r", "--no-dereference", tree, folder / "tree"], check=False).returncode == 1
    (tree / "link").unlink()
    assert subprocess.run(["diff", "-r", tree, folder / "tree"], check=False).returncode == 0
    assert b'"name": "tree/link", "status": 400, "code": "bad_path"' in done.stdout


HOSTILE = {
    "../up": "bad_path",
    "/abs": "bad_path",
    "a//b": "bad_path",
    "a/../../b": "bad_path",
    "x" * 300: "bad_path",
    "a\x01b": "bad_path",
    "a\\b": "bad_path",
    "there/below": "conflict",
}


def test_hostile_names_are_told_and_the_rest_goes_on(http: httpx.Client, place: str, folder: Path) -> None:
    http.put(f"{place}/there", content=b"a file")
    body = archive_of(*((name, b"x") for name in HOSTILE), ("good", b"1"))
    assert outcomes(http.put(f"{place}/", content=body, headers=TAR)) == {**HOSTILE, "good": 201}
    assert files_under(folder) == ["good", "there"]


def test_links_devices_and_sparse_files_are_told_and_the_rest_goes_on(
    http: httpx.Client, place: str, folder: Path
) -> None:
    odd = b"".join(other(f"odd{kind.decode()}", kind) for kind in (b"1", b"2", b"3", b"4", b"6", b"S"))
    answer = http.put(f"{place}/", content=odd + archive_of(("good", b"1")), headers=TAR)
    assert outcomes(answer) == {**{f"odd{kind}": "bad_path" for kind in "12346S"}, "good": 201}
    assert files_under(folder) == ["good"]


def test_second_member_of_a_name_is_refused(http: httpx.Client, place: str, folder: Path) -> None:
    body = archive_of(("a", b"first"), ("./a", b"second"))
    assert outcomes(http.put(f"{place}/", content=body, headers=TAR)) == {"a": 201, "./a": "conflict"}
    assert (folder / "a").read_bytes() == b"first"


def test_digest_of_a_member_is_verified(http: httpx.Client, place: str, folder: Path) -> None:
    right = archive_of(("a", b"1"), end=b"", sha256=hashlib.sha256(b"1").hexdigest())
    wrong = archive_of(("b", b"1"), end=b"", sha256="00" * 32)
    odd = archive_of(("c", b"1"), sha256="?")
    answer = http.put(f"{place}/", content=right + wrong + odd, headers=TAR)
    assert outcomes(answer) == {"a": 201, "b": "digest_mismatch", "c": "bad_field"}
    assert files_under(folder) == ["a"]


def test_garbage_is_an_error_and_what_was_stored_before_it_stays(http: httpx.Client, place: str, folder: Path) -> None:
    answer = http.put(f"{place}/", content=b"PK\x03\x04" * 200, headers=TAR)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_bundle")
    answer = http.put(f"{place}/", content=archive_of(("a", b"1"), end=b"\x01" * 512), headers=TAR)
    *_, error, summary = lines(answer)
    assert (error["code"], summary["stored"]) == ("bad_bundle", 1)
    assert files_under(folder) == ["a"]


def test_unknown_content_coding_is_refused_not_stored(http: httpx.Client, place: str) -> None:
    answer = http.put(f"{place}/", content=b"", headers={**TAR, "content-encoding": "compress"})
    assert answer.status_code == 415


def test_answers_come_while_the_archive_is_still_sent(serve: Serve) -> None:
    served = serve()
    with RawClient(served.url, served.ca) as client:
        stream = client.open("PUT", "/files/in/", ("content-type", "application/x-tar"))
        answer = client.answers[stream]
        for name in ("a", "b"):
            client.push(stream, archive_of((name, b"1"), end=b""), end=False)
            client.until(lambda name=name: f'"name": "{name}"'.encode() in answer.body)  # type: ignore[misc]
            assert served.path(f"in/{name}").read_bytes() == b"1"
        client.push(stream, tar.header("half", 200_000, 0) + bytes(100_000), end=False)
        client.reset(stream)
        client.quiet()
        eventually(lambda: not served.staged(), "nothing is left behind")
        assert sorted(path.name for path in (served.data / "files/in").iterdir()) == ["a", "b"]


def test_thousands_of_small_files_arrive(http: httpx.Client, place: str, folder: Path) -> None:
    body = io.BytesIO(archive_of(*((f"d{number % 7}/{number}", b"%d" % number * 300) for number in range(3000))))
    answer = http.put(f"{place}/", content=iter(lambda: body.read(100_000), b""), headers=TAR)
    assert lines(answer)[-1]["stored"] == 3000
    assert all((folder / f"d{number % 7}/{number}").read_bytes() == b"%d" % number * 300 for number in range(3000))
