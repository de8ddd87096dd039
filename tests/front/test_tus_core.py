"""tus 1.0.0, core: every MUST and SHOULD of the protocol's server, over both HTTP versions."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import Serve
from tests.front.conftest import Curl
from tests.front.tusser import BYTES, Tus, code, encoded

UNKNOWN = "/tus/" + "0" * 32
ALLOWED = "HEAD, PATCH, DELETE, GET, OPTIONS"
NOT_NUMBERS = ["-1", "1.5", "+1", "0x1", "x", "", "1, 1", "1" * 30, "\u00b2"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/tus/", 400),
        ("PUT", "/tus/", 405),
        ("HEAD", "/tus", 405),
        ("HEAD", UNKNOWN, 404),
        ("PATCH", UNKNOWN, 415),
        ("DELETE", UNKNOWN, 404),
        ("GET", UNKNOWN, 404),
        ("POST", UNKNOWN, 405),
        ("HEAD", "/tus/what", 404),
        ("HEAD", UNKNOWN + "/", 404),
        ("HEAD", UNKNOWN + "/more", 404),
        ("OPTIONS", "/tus/", 204),
    ],
)
def test_every_answer_names_the_version(tus: Tus, method: str, path: str, status: int) -> None:
    answer = tus.request(method, path)
    assert (answer.status_code, answer.headers["tus-resumable"]) == (status, "1.0.0")
    if status == 405:
        assert answer.headers["allow"] == ("POST, OPTIONS" if path in ("/tus", "/tus/") else ALLOWED)
    if method == "HEAD":
        assert answer.content == b""


@pytest.mark.parametrize("version", ["0.2.2", "1.0.1", "2.0.0", "", "1.0.0, 1.0.0", None])
def test_version_that_is_not_spoken_is_refused_and_nothing_is_done(tus: Tus, version: str | None) -> None:
    url = tus.create(3)
    refused = [
        tus.post(upload_length=1, upload_metadata=tus.named("b"), tus_resumable=version),
        tus.patch(url, 0, b"abc", tus_resumable=version),
        tus.request("DELETE", url, tus_resumable=version),
        tus.request("PUT", url, tus_resumable=version),
    ]
    for answer in refused:
        assert code(answer) == (412, "unsupported_version")
        assert answer.headers["tus-version"] == "1.0.0"
        assert "location" not in answer.headers
    head = tus.request("HEAD", url, tus_resumable=version)
    assert (head.status_code, head.headers["tus-version"]) == (412, "1.0.0")
    assert tus.offset(url) == 0


@pytest.mark.parametrize("version", [None, "1.0.0", "9.9.9"])
@pytest.mark.parametrize("path", ["/tus", "/tus/", UNKNOWN])
def test_options_tell_version_and_extensions_whatever_version_asks(tus: Tus, path: str, version: str | None) -> None:
    answer = tus.request("OPTIONS", path, tus_resumable=version)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["tus-version"] == "1.0.0"
    assert set(answer.headers["tus-extension"].split(",")) == {
        *("creation", "creation-with-upload", "creation-defer-length", "expiration", "checksum", "checksum-trailer"),
        *("termination", "concatenation", "concatenation-unfinished"),
    }
    assert "tus-max-size" not in answer.headers


def test_largest_size_is_told_where_there_is_one_and_more_is_413(serve: Serve) -> None:
    served = serve(max_size=1000)
    with httpx.Client(base_url=served.plain_url) as http:
        tus = Tus(http)
        assert tus.request("OPTIONS", "/tus/").headers["tus-max-size"] == "1000"
        assert code(tus.post(upload_length=1001)) == (413, "too_large")
        url = tus.create(upload_defer_length=1)
        assert code(tus.patch(url, 0, bytes(1001))) == (413, "too_large")
        assert code(tus.patch(url, 0, b"", upload_length=1001)) == (413, "too_large")
        assert tus.offset(url) == 0
        assert tus.patch(url, 0, bytes(1000), upload_length=1000).status_code == 204


@pytest.mark.parametrize("method", ["POST", "PUT", "GET", "DELETE"])
def test_overriding_method_is_the_method_and_the_real_one_is_ignored(tus: Tus, method: str) -> None:
    def by(override: str, content: bytes = b"", **fields: object) -> tuple[int, str | None]:
        answer = tus.request(method, url, content, x_http_method_override=override, **fields)
        return answer.status_code, answer.headers.get("upload-offset")

    url = tus.create(6)
    assert by("PATCH", b"abc", content_type=BYTES, upload_offset=0) == (204, "3")
    assert by("HEAD") == (200, "3")
    assert tus.request(method, url, x_http_method_override="OPTIONS").headers["tus-version"] == "1.0.0"
    assert by("BREW") == (405, None)
    assert by("DELETE") == (204, None)
    assert tus.head(url).status_code == 410


def test_creation_may_be_overridden_too(tus: Tus) -> None:
    answer = tus.request("PUT", "/tus/", upload_length=5, x_http_method_override="POST")
    assert answer.status_code == 201
    assert tus.offset(answer.headers["location"]) == 0


def test_head_tells_offset_and_length_at_the_beginning_on_the_way_and_at_the_end(tus: Tus) -> None:
    url = tus.create(5)
    for offset, piece in ((0, b"abc"), (3, b"de"), (5, b"")):
        answer = tus.head(url)
        assert answer.status_code in (200, 204)
        assert (answer.headers["upload-offset"], answer.headers["upload-length"]) == (str(offset), "5")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.content == b""
        assert tus.patch(url, offset, piece).status_code == 204
    assert tus.get().content == b"abcde"


def test_head_of_what_is_not_there_is_404_without_an_offset(tus: Tus) -> None:
    answer = tus.head(UNKNOWN)
    assert (answer.status_code, answer.content) == (404, b"")
    assert "upload-offset" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("sizes", [[1, 1, 3], [0, 5], [5], [100_000, 1, 2_000_000, 4095]], ids=str)
def test_patch_answers_204_with_the_offset_after_the_bytes_it_stored(tus: Tus, sizes: list[int]) -> None:
    body = (bytes(range(251)) * (sum(sizes) // 251 + 1))[: sum(sizes)]
    url, offset = tus.create(len(body)), 0
    for size in sizes:
        answer = tus.patch(url, offset, body[offset : offset + size])
        offset += size
        assert (answer.status_code, answer.headers["upload-offset"], answer.content) == (204, str(offset), b"")
    assert answer.headers["etag"] == tus.get().headers["etag"]
    assert answer.headers["repr-digest"] == tus.get().headers["repr-digest"]
    assert answer.headers["content-location"] == f"/files/{tus.folder}/a"
    assert tus.get().content == body


@pytest.mark.parametrize("offset", [0, 2, 4, 10**17])
def test_patch_at_another_offset_is_409_tells_the_offset_and_changes_nothing(tus: Tus, offset: int) -> None:
    url = tus.create(6)
    tus.patch(url, 0, b"abc")
    refused = tus.patch(url, offset, b"xyz")
    assert code(refused) == (409, "offset_conflict")
    assert refused.headers["upload-offset"] == "3"
    assert tus.patch(url, 3, b"def").headers["upload-offset"] == "6"
    assert tus.get().content == b"abcdef"


@pytest.mark.parametrize("media_type", [None, "application/octet-stream", "text/plain", "application/partial-upload"])
def test_patch_of_another_type_is_415_and_changes_nothing(tus: Tus, media_type: str | None) -> None:
    url = tus.create(3)
    refused = tus.patch(url, 0, b"abc", content_type=media_type)
    assert code(refused) == (415, "unsupported_media_type")
    assert refused.headers["accept-patch"] == BYTES
    assert tus.offset(url) == 0


@pytest.mark.parametrize("value", [None, *NOT_NUMBERS])
def test_patch_without_an_offset_that_is_a_number_is_400_and_changes_nothing(tus: Tus, value: str | None) -> None:
    url = tus.create(3)
    assert tus.patch(url, value, b"abc").status_code == 400
    assert tus.offset(url) == 0


def test_patch_of_what_is_not_there_is_404(tus: Tus) -> None:
    assert code(tus.patch(UNKNOWN, 0, b"abc")) == (404, "not_found")


def test_patch_beyond_the_length_is_refused_and_changes_nothing(tus: Tus) -> None:
    url = tus.create(3)
    assert code(tus.patch(url, 0, b"abcd")) == (400, "inconsistent_length")
    assert tus.patch(url, 0, b"abc").status_code == 204
    assert tus.get().content == b"abc"


def test_end_that_is_sent_again_is_told_where_the_upload_is(tus: Tus) -> None:
    url = tus.create(3)
    tus.patch(url, 0, b"abc")
    again = tus.patch(url, 0, b"abc")
    assert (code(again), again.headers["upload-offset"]) == ((409, "offset_conflict"), "3")
    nothing = tus.patch(url, 3, b"")
    assert (nothing.status_code, nothing.headers["upload-offset"]) == (204, "3")
    assert code(tus.patch(url, 3, b"d")) == (400, "completed_upload")
    assert tus.get().content == b"abc"


def test_url_of_an_upload_leads_to_its_file_once_there_is_one(tus: Tus) -> None:
    url = tus.create(3)
    assert code(tus.request("GET", url, tus_resumable=None)) == (404, "not_found")
    tus.patch(url, 0, b"abc")
    answer = tus.http.get(url, follow_redirects=True)
    assert (answer.url.path, answer.content) == (f"/files/{tus.folder}/a", b"abc")
    assert tus.head(url).headers["content-location"] == f"/files/{tus.folder}/a"


def test_nothing_is_seen_before_it_is_whole(tus: Tus) -> None:
    url = tus.create(6)
    tus.patch(url, 0, b"abc")
    assert tus.get().status_code == 404
    tus.patch(url, 3, b"def")
    assert tus.get().content == b"abcdef"


def test_real_curl_begins_is_told_the_offset_and_goes_on(curl: Curl, place: str) -> None:
    version, path = ("-H", "Tus-Resumable: 1.0.0"), place.removeprefix("/files/")
    named = encoded({"path": f"{path}/a"})
    head = curl("/tus/", *version, "-X", "POST", "-i", "-H", "Upload-Length: 6", "-H", f"Upload-Metadata: {named}")
    lines = head.stdout.decode().lower().splitlines()
    url = next(line.removeprefix("location: ") for line in lines if line.startswith("location: "))
    patch = (*version, "-X", "PATCH", "-H", f"Content-Type: {BYTES}", "--data-binary", "@-")
    assert curl(url, *patch, "-H", "Upload-Offset: 0", input=b"abc").stdout == b"204"
    assert b"upload-offset: 3\r\n" in curl(url, *version, "-I").stdout.lower()
    assert curl(url, *patch, "-H", "Upload-Offset: 3", input=b"def").stdout == b"204"
    assert curl(f"/files/{path}/a").stdout == b"abcdef200"
