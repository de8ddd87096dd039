"""A file that is sent with a content coding: the same bytes each time, gone on with anywhere, only where it helps."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import sys
from pathlib import Path

import pytest

from h2gate.client import coded
from h2gate.client.coded import CodedSource
from h2gate.client.local import PIECE
from h2gate.client.source import FileSource
from h2gate.codec.encoding import ENCODERS, encoded, shrinks

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DECODED = {"gzip": gzip.decompress, "zstd": zstd.decompress}
SIZE = 5 * PIECE + 12_345


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of three sections that shrinks by half or so."""
    monkeypatch.setattr(coded, "SECTION", 2 * PIECE)
    words = [b"%x " % random.Random(7).getrandbits(64) for _ in range(5000)]  # noqa: S311 - not a secret
    dice = random.Random(8)  # noqa: S311 - not a secret
    (tmp_path / "a").write_bytes(b"".join(dice.choice(words) + b"%d" % n for n in range(SIZE // 10))[:SIZE])
    return tmp_path / "a"


def content(path: Path) -> bytes:
    return path.read_bytes()


def source(path: Path, coding: str) -> CodedSource:
    return CodedSource(FileSource(path, path.stat().st_size, lambda n_bytes: None), coding)


async def sent(of: CodedSource, offset: int = 0) -> bytes:
    await of.look()
    return b"".join([piece async for piece in of.body(offset)])


@pytest.mark.parametrize("coding", ENCODERS)
async def test_what_is_sent_is_the_file_and_shorter(path: Path, coding: str) -> None:
    here = source(path, coding)
    body = await sent(here)
    assert DECODED[coding](body) == content(path)
    assert len(body) < SIZE * 0.9
    assert here.digest == hashlib.sha256(body).digest()
    assert here.unencoded == await here.file_digest() == hashlib.sha256(content(path)).digest()


@pytest.mark.parametrize("coding", ENCODERS)
async def test_it_goes_on_at_any_byte_in_this_run_and_in_another(path: Path, coding: str) -> None:
    here = source(path, coding)
    body = await sent(here)
    dice = random.Random(9)  # noqa: S311 - not a secret
    for offset in [1, len(body) - 1, *(dice.randrange(len(body)) for _ in range(4))]:
        other = source(path, coding)
        for each in (here, other):
            assert await each.digest_at(offset) == hashlib.sha256(body[:offset]).digest()
            assert await sent(each, offset) == body[offset:]
            assert each.digest == hashlib.sha256(body).digest()
            assert each.unencoded == hashlib.sha256(content(path)).digest()


async def test_going_on_reads_only_from_the_beginning_of_a_section(path: Path) -> None:
    read = 0

    def progress(n_bytes: int) -> None:
        nonlocal read
        read += n_bytes

    here = CodedSource(FileSource(path, SIZE, progress), "zstd")
    body = await sent(here)
    assert read == SIZE
    assert here.read_from(len(body) - 1) == 4 * PIECE
    here.durable(len(body) - 1)
    read = 0
    assert await sent(here, len(body) - 1) == body[-1:]
    assert read == SIZE - 4 * PIECE


@pytest.mark.parametrize("coding", ENCODERS)
def test_what_is_flushed_can_be_decoded_before_the_end(coding: str) -> None:
    encoder = ENCODERS[coding]()
    if coding == "zstd":
        decoder = zstd.ZstdDecompressor()
        assert decoder.decompress(encoder.encode(b"half ") + encoder.flush()) == b"half "
        assert decoder.decompress(encoder.encode(b"whole") + encoder.end()) == b"whole"
    assert DECODED[coding](encoder.encode(b"again") + encoder.end())[-5:] == b"again"
    assert DECODED[coding](encoded(coding, b"x" * 1000)) == b"x" * 1000


def test_only_what_gets_smaller_is_worth_it() -> None:
    assert shrinks([b"words and words " * 100])
    assert not shrinks([os.urandom(1 << 16)])
    assert not shrinks([])
