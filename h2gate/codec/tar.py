"""tar archives (POSIX.1-2001 pax, ustar, GNU), read in whatever pieces they arrive and written member by member.

The standard library's tarfile wants a file to read from, so it cannot be fed. Nothing here judges a name: that is for
whoever stores it. Memory holds one header block, one record and the piece that was given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from zlib import adler32

from h2gate.errors import BadBundle

BLOCK = 512
MAX_RECORD = 64 << 10
END = bytes(2 * BLOCK)
_MAX_OCTAL = 8**11
_OTHERS = {
    **{b"1": "a hard link", b"2": "a symbolic link", b"3": "a character device", b"4": "a block device"},
    **{b"6": "a pipe", b"S": "a sparse file", b"D": "a dumped folder", b"M": "the rest of a volume", b"V": "a label"},
}
_FILES = (b"0", b"\0", b"7")
_RECORDS = ("path", "size", "mtime")
_SPARSE = "GNU.sparse."


@dataclass(frozen=True, slots=True)
class Member:
    """The beginning of a member. `kind` is "file", "folder" or "other"; `what` says which other, in words."""

    name: str
    size: int
    modified_ns: int | None = None
    kind: str = "file"
    what: str = ""
    records: Mapping[str, str] = field(default_factory=dict)
    """Those of its pax records that were asked for, besides its name, size and time."""


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of the member, in order."""

    chunk: bytes | memoryview


@dataclass(frozen=True, slots=True)
class MemberEnd:
    """The member is whole."""


@dataclass(frozen=True, slots=True)
class ArchiveEnd:
    """What follows means nothing."""


Event: TypeAlias = Member | Data | MemberEnd | ArchiveEnd


class TarReader:
    """`feed` it, then `close` it. Both raise `BadBundle`; it is of no use afterwards.

    Of the pax records only those named in `keep` are handed on: a few bytes of an archive could else make work for all
    that follow.
    """

    def __init__(self, keep: Collection[str] = ()) -> None:
        self._keep = {name.encode() for name in (*_RECORDS, *keep)}
        self._block = b""
        self._left = self._padding = 0
        self._record: tuple[bytes, bytearray] | None = None
        """A record that is being gathered: its type, what there is of it."""
        self._record_bytes = 0
        self._globals: dict[str, str] = {}
        self._locals: dict[str, str] = {}
        self._sparse: Member | None = None
        """Of a sparse file more header blocks may follow."""
        self._is_over = False

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """What the next piece brings."""
        view = memoryview(chunk)
        while view and not self._is_over:
            if self._left:
                part, view = view[: self._left], view[self._left :]
                self._left -= len(part)
                yield from self._content(part)
            elif self._padding:
                n_bytes = min(self._padding, len(view))
                self._padding -= n_bytes
                view = view[n_bytes:]
            else:
                n_bytes = BLOCK - len(self._block)
                self._block += bytes(view[:n_bytes])
                view = view[n_bytes:]
                if len(self._block) == BLOCK:
                    block, self._block = self._block, b""
                    yield from self._header(block) if self._sparse is None else self._sparse_header(block, 504)

    def close(self) -> None:
        """The archive must have ended."""
        if not self._is_over:
            raise BadBundle("the archive breaks off")

    def _content(self, part: memoryview) -> Iterator[Event]:
        if self._record is None:
            yield Data(part)
            if not self._left:
                yield MemberEnd()
            return
        kind, gathered = self._record
        gathered += part
        if not self._left:
            self._record = None
            self._take_record(kind, bytes(gathered))

    def _header(self, block: bytes) -> Iterator[Event]:
        if not any(block):
            self._is_over = True
            yield ArchiveEnd()
            return
        _check_sum(block)
        kind = block[156:157]
        size = _size(_number(block[124:136]))
        if kind in b"xgLK":
            self._begin_record(kind, size)
            return
        records, self._locals = {**self._globals, **self._locals}, {}
        self._record_bytes = 0
        member = _member(block, kind, size, records)
        if kind == b"S":
            self._sparse = member
            yield from self._sparse_header(block, 482)
        else:
            yield from self._begin(member)

    def _begin(self, member: Member) -> Iterator[Event]:
        self._left, self._padding = member.size, -member.size % BLOCK
        yield member
        if not member.size:
            yield MemberEnd()

    def _sparse_header(self, block: bytes, more_at: int) -> Iterator[Event]:
        if not block[more_at]:
            member, self._sparse = self._sparse, None
            if member is not None:
                yield from self._begin(member)

    def _begin_record(self, kind: bytes, size: int) -> None:
        self._record_bytes += size
        if self._record_bytes > MAX_RECORD:
            raise BadBundle(f"headers of the archive are longer than {MAX_RECORD} bytes")
        self._left, self._padding = size, -size % BLOCK
        self._record = (kind, bytearray())
        if not size:
            self._record = None

    def _take_record(self, kind: bytes, content: bytes) -> None:
        if kind == b"L":
            self._locals["path"] = _text(content.partition(b"\0")[0])
        elif kind == b"x":
            self._locals |= self._records(content)
        elif kind == b"g":
            self._globals |= self._records(content)

    def _records(self, content: bytes) -> dict[str, str]:
        """`length key=value\\n`, again and again (POSIX pax, extended header)."""
        found = {}
        start = stop = 0
        while (start := stop) < len(content):
            digits, _, _ = content[start : start + 8].partition(b" ")
            stop = start + (int(digits) if digits.isdigit() else 0)  # else it would stay where it is
            key, equals, value = content[start + len(digits) + 1 : stop].partition(b"=")
            if not equals or not value.endswith(b"\n") or stop > len(content):
                raise BadBundle("an extended header of the archive is damaged")
            if key.startswith(_SPARSE.encode()):
                found[_SPARSE] = ""
            elif key in self._keep:
                found[key.decode()] = _text(value[:-1])
        return found


def _member(block: bytes, kind: bytes, size: int, records: dict[str, str]) -> Member:
    name = records.get("path") or _name(block)
    if records.get("size"):
        size = _size(_decimal(records["size"]))
    modified_ns = _nanoseconds(records["mtime"]) if records.get("mtime") else _number(block[136:148]) * 10**9
    is_time = abs(modified_ns) < 2**63
    what = _OTHERS.get(kind, "" if kind in _FILES or kind == b"5" else "a member of an unknown type")
    if _SPARSE in records:
        what = _OTHERS[b"S"]
    if not name.isascii() and any("\ud800" <= char <= "\udfff" for char in name):
        what = "a name that is not UTF-8"
    if kind in b"123456":
        size = 0
    is_folder = kind == b"5" or (kind in _FILES and name.endswith("/") and not size)  # with bytes in it, it is a file
    return Member(
        name,
        size,
        modified_ns if is_time else None,
        "other" if what else "folder" if is_folder else "file",
        what,
        records,
    )


def _check_sum(block: bytes) -> None:
    """Some old programs summed signed bytes."""
    told = _number(block[148:156])
    rest = block[:148] + b" " * 8 + block[156:]
    unsigned = _sum(rest[:256]) + _sum(rest[256:])
    if told != unsigned and told != unsigned - 256 * sum(byte > 127 for byte in rest):
        raise BadBundle("not a tar archive, or damaged: a header has the wrong checksum")


def _sum(some: bytes) -> int:
    """Of up to 256 bytes; the lower half of an Adler-32 is one more than that, modulo 65521 (RFC 1950)."""
    return (adler32(some) & 0xFFFF) - 1


def _number(digits: bytes) -> int:
    """Octal, or GNU's base-256."""
    if digits[0] & 0x80:
        value = int.from_bytes(digits, "big", signed=False) & (1 << (8 * len(digits) - 1)) - 1
        return value - (1 << (8 * len(digits) - 1)) if digits[0] & 0x40 else value
    text = digits.partition(b"\0")[0].strip(b" ")
    try:
        return int(text or b"0", 8)
    except ValueError:
        raise BadBundle("a header of the archive has a number that is none") from None


def _size(value: int) -> int:
    if not 0 <= value < 2**63:
        raise BadBundle("a member of the archive has an impossible size")
    return value


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadBundle("a header of the archive has a number that is none")
    return int(text)


def _nanoseconds(text: str) -> int:
    """Seconds since the epoch, with a fraction."""
    whole, _, fraction = text.partition(".")
    negative = whole.startswith("-")
    fraction_ns = _decimal((fraction[:9] or "0").ljust(9, "0"))
    ns = _decimal(whole.removeprefix("-") or "0") * 10**9 + fraction_ns
    return -ns if negative else ns


def _name(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def header(name: str, size: int, modified_ns: int, records: Mapping[str, str] | None = None) -> bytes:
    """What comes before the bytes of a file: a ustar header, and before it a pax header for what does not fit."""
    raw = name.encode("utf-8", "surrogateescape")
    more = dict(records or {})
    if len(raw) > 100:
        more["path"] = name
    if size >= _MAX_OCTAL:
        more["size"] = str(size)
    seconds = modified_ns // 10**9
    if not 0 <= seconds < _MAX_OCTAL:
        more["mtime"] = str(seconds)
        seconds = 0
    own = _block(raw[:100], size if size < _MAX_OCTAL else 0, seconds, b"0")
    if not more:
        return own
    content = b"".join(_record(key, value) for key, value in more.items())
    return _block(b"pax", len(content), 0, b"x") + content + padding(len(content)) + own


def padding(size: int) -> bytes:
    """What comes after the bytes of a file."""
    return bytes(-size % BLOCK)


def _record(key: str, value: str) -> bytes:
    rest = b" " + f"{key}={value}\n".encode("utf-8", "surrogateescape")
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _block(name: bytes, size: int, seconds: int, kind: bytes) -> bytes:
    fields = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0%011o\0" % (size, seconds)
    rest = kind + bytes(100) + b"ustar\x0000"
    checksum = sum(fields) + sum(rest) + 8 * ord(" ")
    return (fields + b"%06o\0 " % checksum + rest).ljust(BLOCK, b"\0")
