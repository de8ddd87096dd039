"""Content codings undone piece by piece: the same bytes whatever the cuts, and an error that says what is wrong."""

from __future__ import annotations

import gzip
import itertools
import os
import struct
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.codec.coding import CODINGS, FREE_BYTES, PIECE_BYTES, Decoder, parse
from h2gate.errors import BadCoding, ExpandsTooMuch, GateError, TooLarge, UnsupportedMediaType
from tests.codec.coders import encoded, zstd

MIB = 1 << 20
STACKS = [stack for n in (1, 2) for stack in itertools.product(CODINGS, repeat=n)] + [("gzip", "zstd", "br", "gzip")]
TEXT = b"".join(b"%d: a line of a log that says little\n" % number for number in range(20_000))


def decoded(data: bytes, codings: Sequence[str], cuts: Sequence[int] = (), **limits: int) -> bytes:
    """Fed in pieces that end at `cuts`."""
    decoder = Decoder(codings, **limits)
    found = []
    ends = sorted({*(cut % (len(data) + 1) for cut in cuts), 0, len(data)})
    for start, stop in itertools.pairwise(ends):
        for piece in decoder.feed(data[start:stop]):
            assert len(piece) <= PIECE_BYTES
            found.append(piece)
    decoder.finish()
    return b"".join(found)


@pytest.mark.parametrize("codings", STACKS, ids=", ".join)
@given(data=st.binary(max_size=2000), repeated=st.integers(1, 300), cuts=st.lists(st.integers(0, 10**6), max_size=20))
def test_what_was_coded_comes_back_wherever_it_is_cut(
    codings: tuple[str, ...], data: bytes, repeated: int, cuts: list[int]
) -> None:
    assert decoded(encoded(data * repeated, codings), codings, cuts) == data * repeated


@pytest.mark.parametrize("coding", CODINGS)
def test_every_single_cut_of_a_small_body_gives_the_same(coding: str) -> None:
    coded = encoded(TEXT[:2000], [coding])
    assert all(decoded(coded, [coding], [cut]) == TEXT[:2000] for cut in range(len(coded)))
    assert decoded(coded, [coding], range(len(coded))) == TEXT[:2000]


@pytest.mark.parametrize("coding", CODINGS)
def test_large_bodies_come_in_pieces_that_are_bounded(coding: str) -> None:
    data = os.urandom(MIB) + bytes(8 * MIB) + TEXT
    assert decoded(encoded(data, [coding]), [coding], range(0, 2 * MIB, 65536)) == data


@pytest.mark.parametrize("coding", CODINGS)
def test_empty_file_is_a_body_too_and_an_empty_body_is_cut(coding: str) -> None:
    assert decoded(encoded(b"", [coding]), [coding]) == b""
    with pytest.raises(BadCoding, match="ends early"):
        decoded(b"", [coding])


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_that_follow_each_other_are_one_file(coding: str) -> None:
    members = [TEXT[at : at + 65280] for at in range(0, len(TEXT), 65280)]  # as bgzip cuts
    coded = b"".join(encoded(each, [coding]) for each in [*members, b""])
    assert decoded(coded, [coding], range(0, len(coded), 777)) == TEXT


def test_gzip_header_may_have_all_its_fields_and_their_checksum() -> None:
    head = b"\x1f\x8b\x08\x1e" + bytes(4) + b"\x00\x03" + struct.pack("<H", 4) + b"ABCD" + b"name\0" + b"comment\0"
    head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    coded = head + gzip.compress(b"content")[10:]
    assert decoded(coded, ["gzip"], range(len(coded))) == b"content"


def test_zstd_skippable_frames_are_skipped_wherever_they_stand() -> None:
    skippable = struct.pack("<II", 0x184D2A53, 70_000) + os.urandom(70_000)
    coded = skippable + zstd.compress(b"one") + skippable + zstd.compress(b"two") + skippable
    assert decoded(coded, ["zstd"], range(0, len(coded), 9999)) == b"onetwo"
    with pytest.raises(BadCoding, match="ends early"):
        decoded(coded[:-1], ["zstd"])


@pytest.mark.parametrize("codings", STACKS[:6], ids=", ".join)
def test_body_that_ends_early_is_refused_wherever_it_ends(codings: tuple[str, ...]) -> None:
    coded = encoded(TEXT[:5000], codings)
    for stop in [*range(20), len(coded) // 2, *range(len(coded) - 20, len(coded))]:
        with pytest.raises(BadCoding):
            decoded(coded[:stop], codings)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("garbage", [b"\0", b"garbage", bytes(70_000), b"\x1f\x8b"])
def test_what_is_behind_the_end_is_refused_in_the_same_piece_or_the_next(coding: str, garbage: bytes) -> None:
    coded = encoded(TEXT, [coding])
    for cuts in ([], [len(coded)], range(0, len(coded), 1000)):
        with pytest.raises(BadCoding):
            decoded(coded + garbage, [coding], cuts)


@pytest.mark.parametrize("at", [-8, -5, -4, -1])
def test_gzip_with_a_wrong_checksum_or_length_is_refused(at: int) -> None:
    coded = bytearray(gzip.compress(TEXT))
    coded[at] ^= 1
    with pytest.raises(BadCoding, match="gzip"):
        decoded(bytes(coded), ["gzip"])


def test_zstd_with_a_wrong_checksum_is_refused() -> None:
    coded = bytearray(zstd.compress(TEXT, options={zstd.CompressionParameter.checksum_flag: 1}))
    assert decoded(bytes(coded), ["zstd"]) == TEXT
    coded[-1] ^= 1
    with pytest.raises(BadCoding, match="zstd"):
        decoded(bytes(coded), ["zstd"])


@pytest.mark.parametrize("codings", STACKS, ids=", ".join)
@given(data=st.data())
def test_damage_anywhere_is_an_error_of_ours_or_other_bytes_and_never_another_error(
    codings: tuple[str, ...], data: st.DataObject
) -> None:
    coded = bytearray(encoded(TEXT[:3000], codings))
    for _ in range(data.draw(st.integers(1, 4))):
        coded[data.draw(st.integers(0, len(coded) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decoded(bytes(coded), codings, [data.draw(st.integers(0, 5000))], max_expansion=250)
    except GateError as error:
        assert isinstance(error, BadCoding | ExpandsTooMuch)
    else:
        assert len(found) < 250 * len(coded) + FREE_BYTES


def test_zstd_window_of_8_mib_is_taken_and_a_larger_one_is_not() -> None:
    data = os.urandom(MIB)
    for log, taken in [(23, True), (24, False), (27, False)]:
        options = {int(zstd.CompressionParameter.window_log): log}
        compressor = zstd.ZstdCompressor(options=options)  # of a length that is not known before: the window is as said
        coded = compressor.compress(data) + compressor.flush()
        if taken:
            assert decoded(coded, ["zstd"]) == data
        else:
            with pytest.raises(BadCoding, match="memory"):
                decoded(coded, ["zstd"])


@pytest.mark.parametrize("coding", CODINGS)
def test_what_expands_too_much_ends_when_it_does_so_and_not_before_the_free_amount(coding: str) -> None:
    zeros = encoded(bytes(FREE_BYTES), [coding])
    assert decoded(zeros, [coding], max_expansion=1) == bytes(FREE_BYTES)
    decoder, n_bytes = Decoder([coding], max_expansion=250), 0
    bomb = encoded(bytes(300 * MIB), [coding])
    with pytest.raises(ExpandsTooMuch):
        for at in range(0, len(bomb), 1000):
            for piece in decoder.feed(bomb[at : at + 1000]):
                n_bytes += len(piece)
    assert n_bytes <= FREE_BYTES + 250 * decoder.n_coded


@pytest.mark.parametrize("outer", ["gzip", "br", "zstd"])
def test_layer_in_the_middle_that_expands_to_what_becomes_nothing_is_counted(outer: str) -> None:
    skippable = (struct.pack("<II", 0x184D2A50, MIB) + bytes(MIB)) * 100
    bomb = encoded(skippable + zstd.compress(b"x"), [outer])
    with pytest.raises(ExpandsTooMuch):
        decoded(bomb, ["zstd", outer], max_expansion=250)
    with pytest.raises(TooLarge):
        decoded(bomb, ["zstd", outer], max_bytes=1000)
    assert decoded(bomb, ["zstd", outer]) == b"x"


def test_the_last_layer_has_no_more_than_it_may() -> None:
    coded = encoded(TEXT, ["br", "gzip"])
    assert decoded(coded, ["br", "gzip"], max_bytes=len(TEXT)) == TEXT
    with pytest.raises(TooLarge) as caught:
        decoded(coded, ["br", "gzip"], max_bytes=len(TEXT) - 1)
    assert not isinstance(caught.value, ExpandsTooMuch)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_flood_of_tiny_members_is_refused_and_short_logs_are_not(coding: str) -> None:
    flood = encoded(b"", [coding]) * 100_000
    with pytest.raises(BadCoding, match="members"):
        decoded(flood, [coding], range(0, len(flood), 65536))
    logs = encoded(TEXT[:1000], [coding])
    assert decoded(logs * 10_000, [coding]) == TEXT[:1000] * 10_000


@pytest.mark.parametrize(
    ("value", "codings"),
    [
        ("", ()),
        ("identity", ()),
        ("gzip", ("gzip",)),
        ("X-GZip", ("gzip",)),
        ("gzip,zstd", ("gzip", "zstd")),
        (" br , , identity,gzip ", ("br", "gzip")),
        ("gzip, gzip, gzip, gzip", ("gzip",) * 4),
    ],
)
def test_field_is_read_in_the_order_in_which_the_codings_were_applied(value: str, codings: tuple[str, ...]) -> None:
    assert parse(value) == codings


@pytest.mark.parametrize("value", ["compress", "deflate", "gzip;q=1", "gzip br", "gzip, aes128gcm", "br, " * 5 + "br"])
def test_coding_that_is_not_known_is_refused_and_told_what_is(value: str) -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        parse(value)
    assert caught.value.headers == [(b"accept-encoding", b"gzip, zstd, br")]
