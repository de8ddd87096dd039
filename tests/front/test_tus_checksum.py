"""tus 1.0.0: checksum and checksum-trailer. What is wrong is discarded whole, and the offset does not move."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable

import crc32c
import pytest

from tests.conftest import Served
from tests.front.tusser import BYTES, VERSION, Tus, code
from tests.server.raw import RawClient

_SUMS: dict[str, Callable[[bytes], bytes]] = {
    "sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "sha256": lambda body: hashlib.sha256(body).digest(),
    "sha512": lambda body: hashlib.sha512(body).digest(),
    "md5": lambda body: hashlib.md5(body, usedforsecurity=False).digest(),
    "crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "crc32c": lambda body: crc32c.crc32c(body).to_bytes(4, "big"),
}


def checksum(name: str, body: bytes) -> str:
    return f"{name} {base64.b64encode(_SUMS[name](body)).decode()}"


def test_algorithms_are_told_and_sha1_is_one(tus: Tus) -> None:
    told = tus.request("OPTIONS", "/tus/").headers["tus-checksum-algorithm"]
    assert set(told.split(",")) == set(_SUMS)
    assert told == told.lower()


@pytest.mark.parametrize("size", [3, 300_000])
@pytest.mark.parametrize("name", _SUMS)
def test_right_checksum_of_each_body_is_stored_and_a_wrong_one_is_460_and_discarded(
    tus: Tus, name: str, size: int
) -> None:
    first, second = b"a" * size, b"b" * size
    url = tus.create(2 * size)
    assert tus.patch(url, 0, first, upload_checksum=checksum(name, first)).headers["upload-offset"] == str(size)
    for sent in (b"c" * size, second[:-1]):
        assert code(tus.patch(url, size, sent, upload_checksum=checksum(name, second))) == (460, "checksum_mismatch")
        assert tus.offset(url) == size
    assert tus.patch(url, size, second, upload_checksum=checksum(name, second)).status_code == 204
    assert tus.get().content == first + second


@pytest.mark.parametrize(
    "value",
    ["sha3 YQ==", "SHA1 YQ==", "sha1", "sha1 YQ==", "sha1 !", "", "sha1:YQ==", "sha1  YQ=="],
)
def test_unknown_algorithm_or_malformed_checksum_is_400_and_changes_nothing(tus: Tus, value: str) -> None:
    url = tus.create(3)
    assert code(tus.patch(url, 0, b"abc", upload_checksum=value)) == (400, "bad_field")
    assert tus.offset(url) == 0


def test_wrong_checksum_at_the_end_shows_no_file(tus: Tus) -> None:
    url = tus.create(3)
    assert code(tus.patch(url, 0, b"abX", upload_checksum=checksum("sha1", b"abc")))[0] == 460
    assert tus.get().status_code == 404
    assert tus.patch(url, 0, b"abc").status_code == 204


Trailing = Callable[..., int]


@pytest.fixture(params=["http2", "http1"])
def trailing(request: pytest.FixtureRequest, gateway: Served, raw: Callable[..., bytes]) -> Trailing:
    """`trailing(url, offset, body, trailer)`: the status of a PATCH with `Upload-Checksum` as a trailer; announced."""

    def over_http2(url: str, offset: int, body: bytes, trailer: str | None) -> int:
        with RawClient(gateway.url, gateway.ca) as client:
            stream = client.open("PATCH", url, *fields(offset))
            client.data(stream, body, end=trailer is None)
            if trailer is not None:
                client.write(client.headers(stream, [("upload-checksum", trailer)], end=True))
            return client.answer(stream).status

    def over_http1(url: str, offset: int, body: bytes, trailer: str | None) -> int:
        lines = [f"PATCH {url} HTTP/1.1", "host: x", "connection: close", "transfer-encoding: chunked"]
        lines += [f"{name}: {value}" for name, value in fields(offset)]
        last = f"0\r\nUpload-Checksum: {trailer}\r\n\r\n" if trailer is not None else "0\r\n\r\n"
        chunk = b"%x\r\n%b\r\n" % (len(body), body)
        answer = raw("\r\n".join([*lines, "", ""]).encode() + chunk + last.encode())
        return int(answer.split()[1])

    return over_http2 if request.param == "http2" else over_http1


def fields(offset: int) -> list[tuple[str, str]]:
    more = [("content-type", BYTES), ("upload-offset", str(offset)), ("trailer", "Upload-Checksum")]
    return [*VERSION.items(), *more]


@pytest.mark.parametrize("name", _SUMS)
def test_checksum_in_a_trailer_is_verified(trailing: Trailing, tus: Tus, name: str) -> None:
    url = tus.create(6)
    assert trailing(url, 0, b"abc", checksum(name, b"abX")) == 460
    assert tus.offset(url) == 0
    assert trailing(url, 0, b"abc", checksum(name, b"abc")) == 204
    assert trailing(url, 3, b"def", checksum(name, b"def")) == 204
    assert tus.get().content == b"abcdef"


@pytest.mark.parametrize("trailer", ["sha3 YQ==", "nonsense", ""])
def test_unknown_algorithm_in_a_trailer_is_400_and_the_bytes_are_discarded(
    trailing: Trailing, tus: Tus, trailer: str
) -> None:
    url = tus.create(6)
    assert trailing(url, 0, b"abc", trailer) == 400
    assert tus.offset(url) == 0


def test_announced_checksum_that_does_not_come_is_460_and_the_bytes_are_discarded(trailing: Trailing, tus: Tus) -> None:
    url = tus.create(6)
    assert trailing(url, 0, b"abc", None) == 460
    assert tus.offset(url) == 0
