"""What comes before the answer (104, 100), and what is left when a request is cut: over both HTTP versions."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.conftest import Serve, Served
from tests.front.conftest import Curl, wait_until
from tests.front.talk import Fields, Http1Talk, Http2Talk, Talk
from tests.front.test_resumable import APPEND, append, begin, digest_of, n_uploads
from tests.front.tusser import BYTES, VERSION, encoded

KIB = 1 << 10
PIECE = os.urandom(300 * KIB)
DRAFT = {"upload-draft-interop-version": "8"}
TUS = {**VERSION, "content-type": BYTES}

Open = Callable[..., Talk]


@pytest.fixture
def eager(serve: Serve) -> Served:
    """A gateway that tells of every piece."""
    return serve(progress_seconds=0.0)


@pytest.fixture(params=[Http2Talk, Http1Talk], ids=["http2", "http1"])
def talk(request: pytest.FixtureRequest) -> Open:
    """`talk(served, method, path, **fields)`"""

    def start(served: Served, method: str, path: str, fields: Fields) -> Talk:
        found: Talk = request.param(served.url, served.ca, method, path, fields)
        return found

    return start


def offsets(talk: Talk) -> list[int]:
    return [int(each["upload-offset"]) for each in talk.interim if "upload-offset" in each]


@pytest.mark.parametrize("version", ["3", "5", "6", "8"])
def test_creation_is_told_where_before_its_body_and_then_how_far(talk: Open, eager: Served, version: str) -> None:
    complete = {"upload-incomplete": "?0"} if version == "3" else {"upload-complete": "?1"}
    upload = talk(eager, "PUT", "/files/a", {"upload-draft-interop-version": version, **complete})
    upload.until(lambda: bool(upload.interim))
    first = upload.interim[0]
    assert (first[":status"], first["upload-draft-interop-version"]) == ("104", version)
    assert re.fullmatch(r"/uploads/[0-9a-f]{32}", first["location"])
    assert first["upload-limit"].startswith("max-age=")
    for n_pieces in (1, 2):
        upload.send(PIECE)
        upload.until(lambda n_pieces=n_pieces: offsets(upload)[-1:] == [n_pieces * len(PIECE)])  # type: ignore[misc]
    upload.end()
    status, fields, _ = upload.answer()
    assert (status, fields["upload-draft-interop-version"], fields["repr-digest"]) == (
        201,
        version,
        digest_of(PIECE * 2),
    )
    assert offsets(upload) == sorted(offsets(upload))
    assert [each.get("location") for each in upload.interim[1:]] == [None] * len(upload.interim[1:])
    assert {each["upload-draft-interop-version"] for each in upload.interim} == {version}


@pytest.mark.parametrize("version", [None, "2", "4", "7", "9", "x"])
def test_who_names_no_known_version_gets_no_104(talk: Open, eager: Served, version: str | None) -> None:
    named = {"upload-draft-interop-version": version} if version is not None else {}
    upload = talk(eager, "PUT", "/files/a", {**named, "upload-complete": "?0"})
    upload.send(PIECE)
    upload.end()
    status, fields, _ = upload.answer()
    assert (status, upload.interim, "upload-draft-interop-version" in fields) == (201, [], False)


def test_append_is_told_how_far_and_never_where(talk: Open, eager: Served) -> None:
    created = talk(eager, "POST", "/files/a", {"upload-complete": "?0", "content-length": "0"})
    created.end()
    url = created.answer()[1]["location"]
    upload = talk(eager, "PATCH", url, {**DRAFT, **APPEND, "upload-offset": "0", "upload-complete": "?1"})
    upload.send(PIECE)
    upload.until(lambda: offsets(upload)[-1:] == [len(PIECE)])
    upload.end()
    assert upload.answer()[0] == 201
    assert not any("location" in each for each in upload.interim)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("kind", ["content-digest", "malformed", "upload-checksum"])
def test_offset_that_was_told_stays_whatever_the_trailers_say(
    talk: Open, eager: Served, kind: str, announced: bool
) -> None:
    created = talk(eager, "POST", "/files/a", {"upload-complete": "?0", "content-length": "0"})
    created.end()
    url = created.answer()[1]["location"]
    name, value = (kind, digest_of(b"other")) if kind != "malformed" else ("content-digest", "sha-256=x")
    fields = {**DRAFT, **APPEND, "upload-offset": "0", "upload-complete": "?0"}
    if kind == "upload-checksum":
        url, fields, value = url.replace("uploads", "tus"), {**TUS, "upload-offset": "0"}, "foo eA=="
    upload = talk(eager, "PATCH", url, fields | ({"trailer": name} if announced else {}))
    upload.send(PIECE)
    if not announced:
        state = url.replace("tus", "uploads")
        wait_until(lambda: f'"offset": {len(PIECE)}' in told(talk, eager, "GET", state)[1], "there is no checkpoint")
    upload.send(PIECE[:1000])
    upload.end({name: value})
    assert upload.answer()[0] == 400
    head = told(talk, eager, "HEAD", url.replace("tus", "uploads"))[0]
    possible = [0] if announced else [len(PIECE), len(PIECE) + 1000]
    assert int(head["upload-offset"]) in possible
    if kind != "upload-checksum":
        assert max([0, *offsets(upload)]) == int(head["upload-offset"])


def told(talk: Open, served: Served, method: str, url: str) -> tuple[Fields, str]:
    asked = talk(served, method, url, {"content-length": "0"})
    asked.end()
    _, fields, content = asked.answer()
    return fields, content.decode()


def test_sender_that_waits_for_the_104_gets_it_though_it_sends_no_more(talk: Open, serve: Serve) -> None:
    served = serve(progress_seconds=0.2)
    upload = talk(served, "PUT", "/files/a", {**DRAFT, "upload-complete": "?1"})
    for size in (100_000, 100_001):
        upload.send(PIECE[: size - sum(offsets(upload)[-1:])])
        upload.until(lambda size=size: offsets(upload)[-1:] == [size])  # type: ignore[misc]
    upload.end()
    status, fields, _ = upload.answer()
    assert (status, fields["repr-digest"]) == (201, digest_of(PIECE[:100_000] + PIECE[:1]))


def test_offset_is_told_at_the_pace_that_is_set(talk: Open, serve: Serve) -> None:
    served = serve(progress_seconds=3600.0)
    upload = talk(served, "PUT", "/files/a", {**DRAFT, "upload-complete": "?1"})
    for _ in range(8):
        upload.send(PIECE)
    upload.end()
    assert upload.answer()[0] == 201
    assert offsets(upload) == []


def test_what_was_told_is_there_after_a_cut_and_the_rest_goes_on_from_it(talk: Open, eager: Served) -> None:
    upload = talk(eager, "PUT", "/files/a", {**DRAFT, "upload-complete": "?1", "content-length": str(3 * len(PIECE))})
    upload.send(PIECE)
    upload.until(lambda: offsets(upload)[-1:] == [len(PIECE)])
    upload.send(PIECE[:1000])
    upload.cut()
    url = upload.interim[0]["location"]
    head = talk(eager, "HEAD", url, {"content-length": "0"})
    head.end()
    status, fields, _ = head.answer()
    assert (status, fields["upload-complete"], fields["upload-length"]) == (204, "?0", str(3 * len(PIECE)))
    offset = int(fields["upload-offset"])
    assert len(PIECE) <= offset <= len(PIECE) + 1000
    fields = {**DRAFT, **APPEND, "upload-offset": str(offset), "upload-complete": "?1"}
    rest = talk(eager, "PATCH", url, fields)
    rest.send((PIECE * 3)[offset:])
    rest.end()
    status, fields, _ = rest.answer()
    assert (status, fields["repr-digest"]) == (201, digest_of(PIECE * 3))
    assert eager.path("a").read_bytes() == PIECE * 3


def test_100_continue_comes_beside_104(talk: Open, eager: Served) -> None:
    fields = {**DRAFT, "upload-complete": "?1", "content-length": "3", "expect": "100-continue"}
    upload = talk(eager, "PUT", "/files/a", fields)
    upload.until(lambda: len(upload.interim) == 2)
    assert [each[":status"] for each in upload.interim] == ["104", "100"]
    upload.send(b"abc")
    upload.end()
    assert upload.answer()[0] == 201


def test_refused_creation_is_told_at_once_without_100_or_104(talk: Open, eager: Served) -> None:
    fields = {**DRAFT, "upload-complete": "?1", "upload-length": "4", "content-length": "3", "expect": "100-continue"}
    refused = talk(eager, "PUT", "/files/a", fields)
    assert (refused.answer()[0], refused.interim) == (400, [])


@pytest.mark.parametrize("kind", ["draft", "tus", "plain", "append"])
@pytest.mark.parametrize(
    ("path", "size", "status"), [("folder", 3, 409), ("file/x", 3, 409), ("link/x", 3, 400), ("new", 9 * 10**14, 507)]
)
def test_body_that_has_no_place_or_no_room_is_refused_before_it_is_asked_for(
    talk: Open, eager: Served, kind: str, path: str, size: int, status: int
) -> None:
    for name in ("file", "folder/file"):
        stored = talk(eager, "PUT", f"/files/{name}", {"content-length": "1"})
        stored.send(b"x")
        stored.end()
        assert stored.answer()[0] == 201
    eager.path("link").symlink_to(eager.path("folder"))
    method, url, fields = "PUT", f"/files/{path}", {"content-length": str(size), "expect": "100-continue"}
    if kind == "draft":
        fields |= {**DRAFT, "upload-complete": "?1"}
    elif kind == "tus":
        method, url, fields = "POST", "/tus/", {**fields, **TUS, "upload-length": str(size)}
        fields["upload-metadata"] = encoded({"path": path})
    elif kind == "append":
        begun = talk(eager, "PUT", "/files/new", {"upload-complete": "?0", "content-length": "0"})
        begun.end()
        method, url, status = "PATCH", begun.answer()[1]["location"], 507
        fields |= {**DRAFT, **APPEND, "upload-offset": "0", "upload-complete": "?0", "content-length": str(9 * 10**14)}
    refused = talk(eager, method, url, fields)
    assert (refused.answer()[0], refused.interim) == (status, [])
    n_begun = 1 if kind == "append" else 0
    assert len(list((eager.data / "partial").iterdir())) == n_begun


def test_newcomer_takes_over_and_the_old_request_is_told(talk: Open, eager: Served) -> None:
    old = talk(eager, "PUT", "/files/a", {**DRAFT, "upload-complete": "?1"})
    old.send(PIECE)
    old.until(lambda: offsets(old)[-1:] == [len(PIECE)])
    url = old.interim[0]["location"]
    head = talk(eager, "HEAD", url, {"content-length": "0"})
    head.end()
    assert head.answer()[1]["upload-offset"] == str(len(PIECE))
    status, fields, content = old.answer()
    assert (status, fields["location"], b'"superseded"' in content) == (409, url, True)
    assert "upload-offset" not in fields
    new = talk(eager, "PATCH", url, {**APPEND, "upload-offset": str(len(PIECE)), "upload-complete": "?1"})
    new.send(PIECE)
    new.end()
    assert new.answer()[1]["repr-digest"] == digest_of(PIECE * 2)


def test_deletion_ends_a_running_request(talk: Open, eager: Served) -> None:
    running = talk(eager, "PUT", "/files/a", {**DRAFT, "upload-complete": "?1"})
    running.send(PIECE)
    running.until(lambda: bool(offsets(running)))
    deleted = talk(eager, "DELETE", running.interim[0]["location"], {"content-length": "0"})
    deleted.end()
    assert deleted.answer()[0] == 204
    assert running.answer()[0] == 409
    assert list((eager.data / "partial").iterdir()) == []
    assert not eager.path("a").exists()


def test_curl_sees_104_and_its_cut_upload_goes_on(
    curl: Curl, http: httpx.Client, place: str, folder: Path, tmp_path: Path
) -> None:
    body = PIECE * 40
    (tmp_path / "a").write_bytes(body)
    fields = ["-H", "Upload-Draft-Interop-Version: 8", "-H", "Upload-Complete: ?1"]
    slow = ["--limit-rate", "2M", "--max-time", "1"]
    cut = curl(f"{place}/a", "-v", "-T", str(tmp_path / "a"), *slow, *fields)
    assert cut.returncode == 28
    seen = cut.stderr.decode()
    assert re.search(r"^< HTTP/\S+ 104", seen, re.MULTILINE)
    url = re.findall(r"^< location: (\S+)", seen, re.MULTILINE)[0].strip()
    head = http.head(url).headers
    offset = int(head["upload-offset"])
    assert (head["upload-complete"], head["upload-length"]) == ("?0", str(len(body)))
    assert 0 < offset < len(body)
    done = curl(
        *[url, "-X", "PATCH", "--data-binary", "@-", "-H", f"Upload-Offset: {offset}", *fields],
        *["-H", "Content-Type: application/partial-upload"],
        input=body[offset:],
    )
    assert done.stdout.endswith(b"201")
    assert (folder / "a").read_bytes() == body


def test_peer_that_leaves_in_the_middle_leaves_an_upload_that_goes_on(
    talk: Open, gateway: Served, http: httpx.Client, place: str
) -> None:
    """Without 104: it is found in the list."""
    before = n_uploads(http)
    upload = talk(gateway, "PUT", f"{place}/a", {"upload-complete": "?1"})
    upload.send(PIECE)
    wait_until(lambda: n_uploads(http) > before, "there is no upload")
    upload.cut()
    [found, *_] = http.get("/uploads/").json()["uploads"]
    assert found["path"] == f"{place}/a"
    offset = int(http.head(found["url"]).headers["upload-offset"])
    assert append(http, found["url"], offset, PIECE[offset:], "?1").status_code == 201
    assert begin(http, f"{place}/b").status_code == 201
