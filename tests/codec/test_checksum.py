"""`Upload-Checksum`: read strictly, computed over any split, and a mismatch is told apart from a bad field."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.codec.checksum import ALGORITHMS, Checksum, hasher, parse, verify
from h2gate.errors import BadField, ChecksumMismatch

CHECK = b"123456789"
KNOWN = {
    "crc32": "cbf43926",
    "crc32c": "e3069283",
    "md5": "25f9e794323b453885f5181f1b624d0b",
    "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "sha512": "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274a"
    "d27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85",
}
"""Of `CHECK`, from the catalogues of CRCs and from coreutils."""


def written(name: str, digest: bytes) -> str:
    return f"{name} {base64.b64encode(digest).decode()}"


def test_every_algorithm_is_known_and_tus_has_its_sha1() -> None:
    assert sorted(ALGORITHMS) == sorted(KNOWN)
    assert "sha1" in ALGORITHMS


@pytest.mark.parametrize("name", ALGORITHMS)
def test_hasher_computes_the_known_value(name: str) -> None:
    running = hasher(name)
    running.update(memoryview(bytearray(CHECK))[:4])
    running.digest()
    running.update(CHECK[4:])
    assert running.digest().hex() == KNOWN[name]


@pytest.mark.parametrize("name", ALGORITHMS)
@given(pieces=st.lists(st.binary(max_size=300), max_size=6))
def test_any_split_has_the_checksum_of_the_whole(name: str, pieces: list[bytes]) -> None:
    split, whole = hasher(name), hasher(name)
    for piece in pieces:
        split.update(memoryview(piece))
    whole.update(b"".join(pieces))
    assert split.digest() == whole.digest()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_checksum_that_was_written_is_read(name: str) -> None:
    digest = bytes.fromhex(KNOWN[name])
    assert parse(written(name, digest)) == Checksum(name, digest)


def test_example_of_the_standard_is_read() -> None:
    assert parse("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=").digest.hex() == "2aae6c35c94fcfb415dbe95f408b9ce91ee846ed"


@pytest.mark.parametrize("value", ["", "sha-256 AAAA", "SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", " sha1 AAAA", "crc64 AA=="])
def test_unknown_algorithm_is_refused_and_the_known_ones_are_named(value: str) -> None:
    with pytest.raises(BadField, match=r"^Upload-Checksum: .*sha256.*sha1"):
        parse(value)


def test_hasher_of_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(BadField, match="none of sha256"):
        hasher("sha3")


@pytest.mark.parametrize(
    "encoded",
    ["", "y/Q5Jg", "y/Q5Jg=", "y_Q5Jg==", " y/Q5Jg==", "y/Q5Jg== ", "y/Q5Jg==y/Q5Jg==", "y/Q5", "y/Q5JgA=", "ÿ/Q5Jg=="],
)
def test_malformed_or_wrongly_long_value_is_refused(encoded: str) -> None:
    assert parse("crc32 y/Q5Jg==") == Checksum("crc32", bytes.fromhex(KNOWN["crc32"]))
    with pytest.raises(BadField, match=r"^Upload-Checksum: "):
        parse(f"crc32 {encoded}")


@given(st.sampled_from(["sha1 ", "crc32 ", "md5", ""]), st.text(max_size=40))
def test_any_value_is_read_or_refused_as_a_bad_field(start: str, rest: str) -> None:
    try:
        found = parse(start + rest)
    except BadField as error:
        assert str(error).startswith("Upload-Checksum: ")
    else:
        assert found.name in ALGORITHMS


def test_same_checksum_is_accepted() -> None:
    verify(Checksum("crc32", b"1234"), b"1234")


def test_another_checksum_is_a_mismatch_and_names_the_algorithm() -> None:
    with pytest.raises(ChecksumMismatch, match="crc32c") as caught:
        verify(Checksum("crc32c", b"1234"), b"4321")
    assert (caught.value.status, caught.value.code) == (460, "checksum_mismatch")
