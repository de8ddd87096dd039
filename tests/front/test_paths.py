"""Paths: whatever is asked for, nothing outside of the shown files is touched, and what is refused is told why."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote_to_bytes

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from h2gate.errors import BadPath
from h2gate.front.request import file_path, file_url
from h2gate.upload import MAX_PATH_BYTES, MAX_SEGMENT_BYTES, checked_path
from tests.conftest import Served
from tests.front.conftest import Curl, files_under

METHODS = ["PUT", "PATCH", "POST", "GET", "HEAD", "DELETE"]
BAD = {
    "dot-dot": "../secret",
    "dot-dot-deep": "a/../../../secret",
    "dot": "./a",
    "encoded-dot-dot": "%2e%2e/secret",
    "half-encoded-dot-dot": ".%2E/secret",
    "encoded-slash": "a%2Fb",
    "encoded-slashes-and-dots": "..%2f..%2fsecret",
    "nul": "a%00b",
    "newline": "a%0Ab",
    "escape": "a%1bb",
    "delete": "a%7Fb",
    "backslash": "a%5Cb",
    "absolute": "/etc/passwd",
    "empty-segment": "a//b",
    "only-slash": "/",
    "long-segment": "x" * 256,
    "long-utf8-segment": "%C3%A9" * 128,
    "long-path": "/".join(["x" * 200] * 21),
    "deep-path": "/".join("x" * 130),
    "not-utf8": "a%FFb",
    "overlong-utf8": "%C0%AE%C0%AE/secret",
    "surrogate": "a%ED%A0%80b",
}
FORM = {"content-type": "multipart/form-data; boundary=b"}


@pytest.fixture
def secret(gateway: Served) -> Path:
    """A file beside the shown ones."""
    secret = gateway.data / "secret"
    secret.write_text("secret")
    return secret


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", BAD.values(), ids=BAD)
def test_bad_path_is_refused_and_nothing_is_touched(
    http: httpx.Client, gateway: Served, secret: Path, method: str, path: str
) -> None:
    before = files_under(gateway.data / "files")
    target = {"target": b"/files/" + path.encode()}
    refused = http.request(method, "/", content=b"--b--" if method[0] == "P" else None, headers=FORM, extensions=target)
    assert refused.status_code == 400
    assert method == "HEAD" or refused.json()["code"] == "bad_path"
    assert secret.read_text() == "secret"
    assert files_under(gateway.data / "files") == before


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_file_named_with_a_slash_at_its_end_is_refused(http: httpx.Client, place: str, method: str) -> None:
    for path in (f"{place}/a/", f"{place}/", "/files/"):
        refused = http.request(method, path, content=b"x")
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_path")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("to", ["file", "folder"])
def test_symbolic_link_is_followed_for_nobody(
    http: httpx.Client, place: str, folder: Path, tmp_path: Path, method: str, to: str
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_text("secret")
    folder.mkdir()
    link = folder / "link"
    link.symlink_to(tmp_path / "d/a" if to == "file" else tmp_path / "d")
    path = f"{place}/link" if to == "file" else f"{place}/link/a"
    form = b"--b\r\ncontent-disposition: form-data; name=f; filename=link\r\n\r\nx\r\n--b--\r\n"
    if method == "POST":
        path = f"{place}/" if to == "file" else f"{place}/link/"
    headers = FORM if method == "POST" else {}
    answer = http.request(method, path, content=form if method[0] == "P" else None, headers=headers)
    if method == "POST":
        assert answer.status_code == 207
        assert [(each["status"], each["code"]) for each in answer.json()["files"]] == [(400, "bad_path")]
    else:
        assert answer.status_code == 400
        assert method == "HEAD" or answer.json()["code"] == "bad_path"
    assert link.is_symlink()
    assert files_under(tmp_path / "d") == ["a"]
    assert (tmp_path / "d/a").read_text() == "secret"


def test_listing_through_a_symbolic_link_is_refused(http: httpx.Client, place: str, folder: Path) -> None:
    folder.mkdir()
    (folder / "link").symlink_to("/etc")
    assert http.get(f"{place}/link/").json()["code"] == "bad_path"
    assert http.get(f"{place}/link").json()["code"] == "bad_path"


def test_file_where_a_folder_is_needed_and_folder_where_a_file_is_put_conflict(
    http: httpx.Client, place: str, folder: Path
) -> None:
    http.put(f"{place}/a", content=b"x")
    http.put(f"{place}/d/a", content=b"x")
    cases = [("PUT", "a/b", {}), ("PUT", "d", {}), ("PUT", "d", {"if-none-match": "*"}), ("PATCH", "d", {})]
    for method, path, headers in cases:
        refused = http.request(method, f"{place}/{path}", content=b"y", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict"), (method, path)
    assert files_under(folder) == ["a", "d/a"]


def test_longest_names_are_stored(http: httpx.Client, place: str) -> None:
    for name in ("x" * MAX_SEGMENT_BYTES, "%C3%A9" * 127, "/".join(["x"] * 120)):
        assert http.put(f"{place}/{name}", content=b"x").status_code == 201
        assert http.get(f"{place}/{name}").content == b"x"


def test_raw_bytes_beyond_ascii_in_the_target_are_no_server_error(
    curl: Curl, place: str, raw: Callable[..., bytes]
) -> None:
    done = curl(f"{place}/é.txt", "--upload-file", "-", "--path-as-is", input=b"x")
    assert done.stdout[-3:] in (b"201", b"400")
    done = curl(place, "--path-as-is", "-X", "GET", "--request-target", "/files/\udcff\udcfe")
    assert done.stdout[-3:] == b"400"
    answer = raw(b"GET /files/\xff HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("target", ["files/a", "http://gate?x/files/a", "https://gate.example?/files/a", "x/files/a"])
def test_target_that_only_looks_like_the_path_of_a_file_is_none(
    gateway: Served, raw: Callable[..., bytes], target: str
) -> None:
    answer = raw(f"PUT {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx".encode())
    assert answer.split()[1] in (b"404", b"405"), answer
    assert not gateway.path("a").exists()
    assert not gateway.path("files/a").exists()


@pytest.mark.parametrize("target", [b"?x", b"x://[", b"/no?\xbc", b"/no?%bc", b"/\xff?y", b"*", b"//[", b"/no#["])
@pytest.mark.parametrize("host", [b"x", b"\xff.\xff", b"[", b"a..b", b"x" * 300, b"x:y", b""])
def test_target_or_host_that_quart_would_fail_at_is_not_found(
    raw: Callable[..., bytes], target: bytes, host: bytes
) -> None:
    answer = raw(b"GET %b HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n" % (target, host))
    assert answer.split()[1] == (b"404" if target.isascii() else b"400"), answer


def test_path_outside_of_the_files_is_not_found_whatever_its_bytes(http: httpx.Client) -> None:
    for target in (b"/%ff", b"/filesystem", b"/FILES/a", b"/x/../files/a", b"/%66iles/a"):
        found = http.request("GET", "/", extensions={"target": target})
        assert (found.status_code, found.json()["code"]) == (404, "not_found"), target


@given(st.binary(max_size=300))
@example(b"a/../b")
@example(b"%2e./x")
@example(b"/")
@example(b"%c3%a9/")
def test_any_target_is_a_plain_path_or_refused(rest: bytes) -> None:
    try:
        path, is_folder = file_path(b"/files/" + rest)
    except BadPath:
        return
    assert is_folder == (rest == b"" or rest.endswith(b"/"))
    assert path.encode() == unquote_to_bytes(rest).removesuffix(b"/")
    names = path.split("/") if path else []
    assert all(name not in ("", ".", "..") and len(name.encode()) <= MAX_SEGMENT_BYTES for name in names)
    assert len(path.encode()) <= MAX_PATH_BYTES
    assert not any(char < " " or char in "\\\x7f" for char in path)
    assert file_path(file_url(path).encode())[0] == path
    assert checked_path(path) == path


@given(st.text(max_size=60))
def test_any_text_is_kept_as_it_is_or_refused(text: str) -> None:
    try:
        assert checked_path(text) == text
    except BadPath:
        assert text
    else:
        assert file_path(file_url(text).encode()) == (text, text == "")


def test_target_of_a_proxy_request_is_answered(gateway: Served) -> None:
    with socket.create_connection(("127.0.0.1", gateway.plain_port), timeout=10) as sock:
        sock.sendall(b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert sock.recv(65536).split()[1] in (b"204", b"404", b"405")
