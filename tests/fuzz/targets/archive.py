"""tar: what tarfile reads of an archive we read as well; what is broken is refused, alike however it is cut.

Nothing is held beyond a header block and one record, and every step moves on.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Sequence

from h2gate.codec.tar import BLOCK, END, MAX_RECORD, ArchiveEnd, Data, Member, MemberEnd, TarReader, header, padding
from h2gate.errors import BadBundle, GateError
from h2gate.front.archive import Archive, MemberBody
from tests.fuzz.source import PiecesBody, Source, pieces

Seen = tuple[list[tuple[Member, bytes]], str]
"""The members that are whole with what is in them, and what is wrong with the rest."""


def run(data: bytes) -> None:
    source = Source(data)
    kind, cuts, repair = source.number(2), source.cuts(), source.flag()
    if kind == 1:
        _written(source, cuts)
        return
    if kind == 2:
        ways = [source.number(2) for _ in range(4)]
        asyncio.run(_walked(_with_checksums(source.rest()), cuts, ways))
        return
    archive = source.rest()
    if repair:
        archive = _with_checksums(archive)
    seen = read(archive, cuts)
    assert seen == read(archive, ()), "other members when cut elsewhere"
    if not seen[1]:
        _compare(archive, seen[0])


def read(archive: bytes, cuts: Sequence[int]) -> Seen:
    reader, found = TarReader(["H2GATE.sha256"]), list[tuple[Member, bytes]]()
    member: Member | None = None
    content = bytearray()
    try:
        for piece in pieces(archive, cuts):
            for event in reader.feed(piece):
                match event:
                    case Member():
                        assert member is None, "a member begins in another one"
                        member, content = event, bytearray()
                    case Data(chunk):
                        assert len(chunk), "an empty piece"
                        content += chunk
                    case MemberEnd():
                        assert member is not None
                        assert len(content) == member.size
                        found.append((member, bytes(content)))
                        member = None
                    case ArchiveEnd():
                        assert member is None, "the archive ends in a member"
            _check_held(reader)
        reader.close()
    except BadBundle as error:
        return found, str(error)
    return found, ""


def _check_held(reader: TarReader) -> None:
    assert len(reader._block) < BLOCK
    assert reader._record is None or len(reader._record[1]) <= MAX_RECORD
    kept = [*reader._globals.items(), *reader._locals.items()]
    assert sum(len(key) + len(value) for key, value in kept) <= 8 * MAX_RECORD


async def _walked(body: bytes, cuts: Sequence[int], ways: Sequence[int]) -> None:
    """As a bundle is: members are gathered, pulled piece by piece or passed over, and the archive goes on."""
    members, wrong = read(body, cuts)
    archive, found = Archive(PiecesBody(body, cuts)), 0
    try:
        while (member := await archive.next_member()) is not None:
            held = MemberBody(archive, member.size)
            match ways[found % len(ways)]:
                case 0:
                    await held.gather()
                    content = b"".join((await held.pull()).chunks)
                case 1:
                    content = await _pulled(held)
                case _:
                    content = members[found][1] if found < len(members) else b""
            if found < len(members):
                assert members[found] == (member, content)
            found += 1
        await archive.drop_padding()
    except GateError as error:
        assert str(error) == wrong
        return
    assert (found, wrong) == (len(members), "")


async def _pulled(body: MemberBody) -> bytes:
    content, is_over = b"", False
    while not is_over:
        batch = await body.pull()
        content, is_over = content + b"".join(batch.chunks), batch.last
    return content


def _written(source: Source, cuts: Sequence[int]) -> None:
    """What our writer writes is read again, by tarfile as well."""
    members: list[tuple[str, bytes, int]] = []
    while not source.is_empty and len(members) < 30:
        size, seconds = source.number(1500), source.number(2**35) - 2**34
        name = source.taken(1 + source.number(300)).replace(b"\0", b"").decode("utf-8", "replace").strip("/")
        members.append((name or "x", source.taken(size), seconds))
    parts = [
        piece
        for name, content, seconds in members
        for piece in (_header(name, len(content), seconds), content, padding(len(content)))
    ]
    archive = b"".join([*parts, END])
    found, wrong = read(archive, cuts)
    assert not wrong, wrong
    assert [(each.name, content) for each, content in found] == [(name, content) for name, content, _ in members]
    times = [seconds * 10**9 if abs(seconds * 10**9) < 2**63 else None for _, _, seconds in members]
    assert [each.modified_ns for each, _ in found] == times
    _compare(archive, found)


def _header(name: str, size: int, seconds: int) -> bytes:
    return header(name, size, seconds * 10**9, {"H2GATE.sha256": "00"})


def _with_checksums(archive: bytes) -> bytes:
    """With every block that says it is a header made a valid one: else a mutation seldom gets beyond the checksum."""
    found = bytearray(archive)
    for at in range(0, len(found) - BLOCK + 1, BLOCK):
        if found[at + 257 : at + 262] == b"ustar":
            found[at + 148 : at + 156] = b" " * 8
            found[at + 148 : at + 156] = b"%06o\0 " % sum(found[at : at + BLOCK])
    return bytes(found)


def _compare(archive: bytes, ours: list[tuple[Member, bytes]]) -> None:
    """With tarfile, which must agree on the plain files of an archive that it takes and that we take."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:", errorlevel=2) as other:
            theirs = [
                (each.name, file.read() if (file := other.extractfile(each)) else b"")
                for each in other.getmembers()
                if each.isreg() and not each.sparse
            ]
    except (tarfile.TarError, ValueError, OSError, IndexError, KeyError, OverflowError, EOFError):
        return  # stricter than we are, in one thing or another
    files = [(each.name, content) for each, content in ours if each.kind == "file"]
    found, expected = _plain(files), _plain(theirs)
    assert len(expected) <= len(found), "tarfile finds more files"  # fewer: it takes a damaged header for the end
    for (name, content), (own_name, own) in zip(expected, found, strict=False):
        assert content == own, f"tarfile reads {name} otherwise"
        # It knows prefixes in headers of every kind, and GNU's long names beyond the length they say.
        assert name.endswith(f"/{own_name}") or name.startswith(own_name), f"tarfile calls {own_name} {name}"


def _plain(files: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """tarfile takes slashes off the end of a name; names that are not UTF-8 we do not call files."""
    return [(name.rstrip("/"), content) for name, content in files if name.isprintable()]
