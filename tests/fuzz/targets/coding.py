"""Content codings: the same bytes come out however what was sent is cut, or it is refused; never too many at once."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence

from h2gate.codec import coding
from h2gate.codec.coding import PIECE_BYTES, Decoder
from h2gate.errors import BadCoding, ExpandsTooMuch, TooLarge, UnsupportedMediaType
from tests.codec.coders import encoded
from tests.fuzz.source import Source, pieces

MAX_EXPANSION = 100
MAX_BYTES = 4 << 20
STACKS = (("gzip",), ("zstd",), ("br",), ("gzip", "zstd"), ("br", "gzip"), ("zstd", "br"), ("gzip",) * 4)


def run(data: bytes) -> None:
    source = Source(data)
    kind, stack, cuts = source.number(3), source.one_of(STACKS), source.cuts()
    if kind == 0:
        _field(source.rest())
        return
    body = source.rest()
    if kind == 1:
        coded = encoded(body, stack)
        assert decoded(coded, stack, cuts) == (hashlib.sha256(body).digest(), len(body)), "not what was coded"
        body = coded[: max(0, len(coded) - 1)]  # and without its last byte it is not whole
        assert decoded(body, stack, cuts) is None
        return
    found = decoded(body, stack, cuts)
    assert found == decoded(body, stack, ()), "another outcome when cut elsewhere"
    if stack == ("gzip",) and found is not None:
        assert found == _by_gzip(body), "gzip reads it otherwise"


def decoded(body: bytes, stack: Sequence[str], cuts: Sequence[int]) -> tuple[bytes, int] | None:
    """The digest and number of the bytes; None where they are refused, be it for too many or for what is wrong."""
    decoder = Decoder(stack, max_expansion=MAX_EXPANSION, max_bytes=MAX_BYTES)
    digest, n_bytes = hashlib.sha256(), 0
    try:
        for piece in pieces(body, cuts):
            for made in decoder.feed(piece):
                assert len(made) <= PIECE_BYTES, "too much at once"
                digest.update(made)
                n_bytes += len(made)
        decoder.finish()
    except (BadCoding, ExpandsTooMuch, TooLarge):
        return None
    assert n_bytes <= MAX_BYTES
    return digest.digest(), n_bytes


def _by_gzip(body: bytes) -> tuple[bytes, int]:
    found, left = b"", body
    while left:  # gzip.decompress passes over zeros between members
        member = zlib.decompressobj(31)
        found += member.decompress(left)
        left = member.unused_data
    return hashlib.sha256(found).digest(), len(found)


def _field(value: bytes) -> None:
    try:
        found = coding.parse(value.decode("latin1"))
    except UnsupportedMediaType:
        return
    assert set(found) <= set(coding.CODINGS)
    assert len(found) <= coding.MAX_STACK
    Decoder(found).close()
    assert coding.memory_bytes(found) < 1 << 27
