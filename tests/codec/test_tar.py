"""The tar reader and writer, against the standard library's and by hand."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.codec import tar
from h2gate.codec.tar import ArchiveEnd, Data, Member, MemberEnd, TarReader
from h2gate.errors import BadBundle

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=180).map(
    lambda text: text.strip("/") or "x"
)
KEEP = ["H2GATE.sha256"]
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@dataclass
class Read:
    """What came out for one member."""

    member: Member
    content: bytearray = field(default_factory=bytearray)
    is_whole: bool = False


def read(archive: bytes, cuts: Sequence[int] = ()) -> list[Read]:
    found: list[Read] = []
    reader = TarReader(KEEP)
    edges = [0, *sorted(cut % (len(archive) + 1) for cut in cuts), len(archive)]
    for start, stop in pairwise(edges):
        for event in reader.feed(archive[start:stop]):
            match event:
                case Member():
                    found.append(Read(event))
                case Data():
                    found[-1].content += event.chunk
                case MemberEnd():
                    found[-1].is_whole = True
                case ArchiveEnd():
                    assert all(each.is_whole for each in found)
    reader.close()
    return found


def archive_of(*members: tarfile.TarInfo | tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for each in members:
            if isinstance(each, tarfile.TarInfo):
                archive.addfile(each, io.BytesIO(bytes(each.size)))
            else:
                info = tarfile.TarInfo(each[0])
                info.size = len(each[1])
                archive.addfile(info, io.BytesIO(each[1]))
    return out.getvalue()


def info(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, **more: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.size = kind, size
    for key, value in more.items():
        setattr(found, key, value)
    return found


@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=2000)), max_size=5),
    st.sampled_from(FORMATS[1:]),
    st.lists(st.integers(0, 2**20), max_size=20),
)
def test_what_tarfile_writes_is_read_however_it_is_cut(
    members: list[tuple[str, bytes]], form: int, cuts: list[int]
) -> None:
    found = read(archive_of(*members, form=form), cuts)
    assert [(each.member.name, bytes(each.content)) for each in found] == members


@given(st.lists(st.tuples(NAMES, st.binary(max_size=2000), st.integers(-(2**33), 2**35)), max_size=5))
def test_what_is_written_is_read_by_tarfile_and_by_ourselves(members: list[tuple[str, bytes, int]]) -> None:
    pieces = [
        piece
        for name, content, seconds in members
        for piece in (tar.header(name, len(content), seconds * 10**9), content, tar.padding(len(content)))
    ]
    archive = b"".join([*pieces, tar.END])
    with tarfile.open(fileobj=io.BytesIO(archive)) as other:
        theirs = [(each.name, other.extractfile(each).read(), each.mtime) for each in other]  # type: ignore[union-attr]
    assert theirs == [(name.rstrip("/"), content, seconds) for name, content, seconds in members]
    ours = [(each.member.name, bytes(each.content), each.member.modified_ns) for each in read(archive)]
    assert [each[:2] for each in ours] == [each[:2] for each in members]
    assert [each[2] for each in ours] == [each[2] * 10**9 if abs(each[2] * 10**9) < 2**63 else None for each in members]


PLAIN_NAMES = st.text("abc/-. ", min_size=1, max_size=90).map(lambda text: text.strip("/") or "x")


@given(st.lists(st.tuples(PLAIN_NAMES, st.binary(max_size=1500)), max_size=5), st.lists(st.integers(0, 2**20)))
def test_ustar_is_read_however_it_is_cut(members: list[tuple[str, bytes]], cuts: list[int]) -> None:
    found = read(archive_of(*members, form=tarfile.USTAR_FORMAT), cuts)
    assert [(each.member.name, bytes(each.content)) for each in found] == members


def seen(data: bytes, cuts: Sequence[int] = ()) -> list[tuple[str, int, int]] | str:
    """What is read of it, or why nothing is."""
    try:
        return [(each.member.name, each.member.size, len(each.content)) for each in read(data, cuts)]
    except BadBundle as error:
        return str(error)


@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=600)), min_size=1, max_size=3),
    st.sampled_from(FORMATS[1:]),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=4),
    st.lists(st.integers(0, 2**20), max_size=8),
)
def test_what_is_damaged_is_refused_or_read_alike_however_it_is_cut(
    members: list[tuple[str, bytes]], form: int, damage: list[tuple[int, int]], cuts: list[int]
) -> None:
    archive = bytearray(archive_of(*members, form=form))
    for at, byte in damage:
        archive[at % len(archive)] = byte
    assert seen(bytes(archive), cuts) == seen(bytes(archive))


@given(st.binary(max_size=156), st.binary(min_size=1, max_size=1), st.binary(max_size=355), st.binary(max_size=2048))
def test_header_with_a_right_checksum_may_say_anything(start: bytes, kind: bytes, end: bytes, rest: bytes) -> None:
    block = start.ljust(156, b"\0") + kind + end.ljust(355, b"\0")
    assert isinstance(seen(summed(block) + rest + tar.END), list | str)


def summed(block: bytes, signed: bool = False) -> bytes:
    """The header block with its right checksum."""
    rest = block[:148] + b" " * 8 + block[156:]
    value = sum(byte - 256 if signed and byte > 127 else byte for byte in rest)
    return block[:148] + b"%06o\0 " % value + block[156:]


@pytest.mark.parametrize("signed", [False, True])
def test_checksum_may_be_of_signed_bytes(signed: bool) -> None:
    (found,) = read(summed(tar.header("é", 0, 0), signed) + tar.END)
    assert found.member.name == "é"


@pytest.mark.parametrize("form", FORMATS)
def test_one_byte_at_a_time_is_enough(form: int) -> None:
    archive = archive_of(("a", b"1" * 513), ("d" * 90 + "/" + "e" * 90, b""), ("b", b"2"), form=form)
    found = read(archive, range(len(archive)))
    assert [bytes(each.content) for each in found] == [b"1" * 513, b"", b"2"]


def test_times_have_their_fraction_and_records_are_handed_on() -> None:
    records = {"H2GATE.sha256": "00", "mtime": "1234567890.125"}
    (found,) = read(archive_of(info("a", pax_headers=records)))
    assert found.member.modified_ns == 1234567890_125000000
    assert found.member.records["H2GATE.sha256"] == "00"


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a character device"),
        (tarfile.BLKTYPE, "a block device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (b"Z", "a member of an unknown type"),
    ],
)
def test_what_is_no_file_is_named_and_the_rest_is_read(kind: bytes, what: str) -> None:
    found = read(archive_of(info("odd", kind, linkname="/etc/passwd"), ("a", b"1")))
    assert (found[0].member.kind, found[0].member.what) == ("other", what)
    assert bytes(found[1].content) == b"1"


def test_records_nobody_asked_for_are_not_kept() -> None:
    """Else a header that holds thousands of them would cost something with every member after it."""
    many = {f"k{number}": "v" for number in range(4000)}
    (found,) = read(archive_of(info("a", pax_headers={**many, "H2GATE.sha256": "00"})))
    assert found.member.records == {"H2GATE.sha256": "00"}


def test_global_record_is_of_all_that_follow_unless_theirs_says_other() -> None:
    own = archive_of(info("b", pax_headers={"mtime": "7"}))
    first, second = read(pax(b"13 mtime=100\n", b"g") + archive_of(("a", b""))[:512] + own)
    assert (first.member.modified_ns, second.member.modified_ns) == (100 * 10**9, 7 * 10**9)


@pytest.mark.parametrize(
    "record", [b"6 a=b\nnothing", b"6 a=b\n12345678 a=b\n", b"6 a=b\n0 a=b\n", b" a=b\n", b"x a=b\n"]
)
def test_record_that_does_not_say_its_length_is_refused(record: bytes) -> None:
    with pytest.raises(BadBundle, match="damaged"):
        read(pax(record) + archive_of(("a", b"1")))


def test_name_that_ends_in_a_slash_is_a_file_when_there_is_something_in_it() -> None:
    found = read(tar.header("d/", 0, 0) + tar.header("a/", 1, 0) + b"1" + tar.padding(1) + tar.END)
    assert [(each.member.name, each.member.kind) for each in found] == [("d/", "folder"), ("a/", "file")]


def test_size_may_be_in_base_256_and_beyond_8_gib() -> None:
    large = info("a", size=2**40).tobuf(tarfile.GNU_FORMAT)
    (event,) = TarReader().feed(large)
    assert isinstance(event, Member)
    assert event.size == 2**40


@pytest.mark.parametrize("digits", [b"\x80" + b"\xff" * 11, b"\xff" * 12])
def test_size_that_cannot_be_is_refused(digits: bytes) -> None:
    block = tar.header("a", 0, 0)
    with pytest.raises(BadBundle, match="impossible size"):
        read(summed(block[:124] + digits + block[136:]) + tar.END)


def test_long_link_target_is_passed_over() -> None:
    found = read(archive_of(info("n" * 150, tarfile.SYMTYPE, linkname="t" * 300), ("a", b"1"), form=tarfile.GNU_FORMAT))
    assert [each.member.name for each in found] == ["n" * 150, "a"]


def test_folder_is_a_folder_and_a_slash_makes_one() -> None:
    found = read(archive_of(info("d", tarfile.DIRTYPE), ("a", b"1")))
    assert [each.member.kind for each in found] == ["folder", "file"]


def sparse(extended: int) -> bytes:
    """A GNU sparse file with so many further header blocks and one block of data."""
    header = bytearray(info("s", b"S", 512).tobuf(tarfile.GNU_FORMAT))
    header[482] = extended > 0
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    more = [bytes(504) + bytes([left > 1]) + bytes(7) for left in range(extended, 0, -1)]
    return b"".join([bytes(header), *more, b"x" * 512])


@pytest.mark.parametrize("extended", [0, 1, 3])
def test_sparse_file_is_skipped_with_all_its_headers(extended: int) -> None:
    found = read(sparse(extended) + archive_of(("a", b"1")))
    assert (found[0].member.what, len(found[0].content)) == ("a sparse file", 512)
    assert bytes(found[1].content) == b"1"


def test_pax_sparse_file_is_one_too() -> None:
    (found,) = read(archive_of(info("s", pax_headers={"GNU.sparse.major": "1"})))
    assert found.member.what == "a sparse file"


def test_name_that_is_not_utf8_is_told() -> None:
    block = bytearray(tar.header("a", 0, 0))
    block[0] = 0xFF
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (found,) = read(bytes(block) + tar.END)
    assert found.member.what == "a name that is not UTF-8"


def pax(content: bytes, kind: bytes = b"x") -> bytes:
    return info("p", kind, len(content)).tobuf(tarfile.USTAR_FORMAT) + content + tar.padding(len(content))


@pytest.mark.parametrize(
    "broken",
    [
        b"\x01" * 512,
        b"PK\x03\x04" + bytes(508),
        bytes(archive_of(("a", b"1"))[:148]) + b"0000000\0" + archive_of(("a", b"1"))[156:512],
        pax(b"99 path=a\n"),
        pax(b"path=a\n"),
        pax(b"9 path=a"),
        pax(b"12 size=-1\n\n") + archive_of(("a", b"1")),
        pax(b"11 size=1x\n") + archive_of(("a", b"1")),
        pax(b"x" * (tar.MAX_RECORD + 1)),
        pax(b"x" * (tar.MAX_RECORD + 1), b"L"),
        pax(b"11 k=%b\n" % (b"v" * 5)) * 6000,
    ],
)
def test_damaged_header_ends_the_reading(broken: bytes) -> None:
    with pytest.raises(BadBundle):
        read(broken + tar.END)


def test_endless_headers_are_too_many() -> None:
    record = b"4099 k=" + b"v" * 4091 + b"\n"
    with pytest.raises(BadBundle, match="longer"):
        read(pax(record) * 20 + archive_of(("a", b"1")))


def test_archive_that_breaks_off_is_noticed() -> None:
    archive = archive_of(("a", b"1" * 600))
    for cut in (0, 1, 511, 512, 700, 1024 + 512):
        with pytest.raises(BadBundle, match="breaks off"):
            read(archive[:cut])


def test_what_follows_the_end_is_ignored() -> None:
    assert len(read(archive_of(("a", b"1")) + b"anything")) == 1
