"""The face as the real curl uses it, over both HTTP versions."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from h2gate.fields import digest_field
from tests.front.conftest import Curl

MIB = 1 << 20


@pytest.mark.parametrize("size", [0, 1, 131_073, 5 * MIB + 1])
def test_file_and_pipe_are_stored_and_come_back(
    curl: Curl, place: str, folder: Path, tmp_path: Path, size: int
) -> None:
    body = (bytes(range(251)) * (size // 251 + 1))[:size]
    (tmp_path / "a").write_bytes(body)
    assert curl(f"{place}/a", "-T", str(tmp_path / "a")).stdout == b"201"
    assert curl(f"{place}/b", "-T", "-", input=body).stdout == b"201"
    for name in ("a", "b"):
        assert (folder / name).read_bytes() == body
        assert curl(f"{place}/{name}", "-o", str(tmp_path / "got")).stdout == b"200"
        assert (tmp_path / "got").read_bytes() == body


def test_download_goes_on_where_it_was_cut(curl: Curl, place: str, tmp_path: Path) -> None:
    curl(f"{place}/a", "-T", "-", input=b"0123456789")
    (tmp_path / "got").write_bytes(b"0123")
    assert curl(f"{place}/a", "-C", "-", "-o", str(tmp_path / "got")).stdout == b"206"
    assert (tmp_path / "got").read_bytes() == b"0123456789"


def test_append_digest_condition_and_removal(curl: Curl, place: str, folder: Path) -> None:
    url = f"{place}/a"
    assert curl(url, "-T", "-", "-H", "If-None-Match: *", input=b"one").stdout == b"201"
    assert curl(url, "-T", "-", "-H", "If-None-Match: *", input=b"two").stdout.endswith(b"412")
    digest = digest_field("sha-512", hashlib.sha512(b"two").digest())
    patch = ["-X", "PATCH", "-H", f"Content-Digest: {digest}", "-H", "Content-Type: application/octet-stream"]
    assert curl(url, *patch, "--data-binary", "@-", input=b"tw0").stdout.endswith(b"400")
    assert curl(url, *patch, "--data-binary", "@-", input=b"two").stdout == b"204"
    assert (folder / "a").read_bytes() == b"onetwo"
    head = curl(url, "-I").stdout.lower()
    assert b"content-length: 6\r\n" in head
    assert head.endswith(b"200")
    assert curl(url, "-X", "DELETE").stdout == b"204"
    assert curl(url).stdout.endswith(b"404")


def test_large_upload_that_is_refused_is_answered_before_its_end(curl: Curl, place: str) -> None:
    refused = curl(f"{place}/a", "-T", "-", "-H", "Content-Encoding: compress", input=bytes(20 * MIB))
    assert refused.stdout.endswith(b"415")
    assert b"unsupported_media_type" in refused.stdout
