"""RFC 7541: field blocks in every form, and those that cannot be decoded, which end the connection.

The gateway leaves its own table at 4,096 octets, so no client owes it an update; it owes one to whoever wants less.
"""

from __future__ import annotations

from h2gate.wire.engine import ErrorCode
from tests.wire.case import ANSWERED, MALFORMED, SETTINGS_ACK, Answers, Case, Outcome, connection_error, rfc7541
from tests.wire.octets import (
    AUTHORITY,
    GET,
    PREFACE,
    Setting,
    entered,
    headers,
    indexed,
    integer,
    lines,
    literal,
    settings,
    string,
    table_size,
)

DEFAULT_TABLE_BYTES = 4096
BROKEN = connection_error(ErrorCode.COMPRESSION_ERROR)
USER_AGENT = 58
"""Index of a name in the static table."""
CUSTOM_KEY = bytes.fromhex("25a849e95ba97d7f")
CUSTOM_VALUE = bytes.fromhex("25a849e95bb8e8b4bf")
"""Huffman-coded in appendix C.4.3."""
A = bytes((0b00011_111,))
"""Huffman-coded "a" with its padding."""


def case(name: str, block: bytes, allow: tuple[Outcome, ...] = ANSWERED) -> Case:
    """A request with this field block."""
    return rfc7541(name, headers(1, block), allow=allow)


def coded(text: bytes) -> bytes:
    """A request with a field whose value is this, Huffman-coded."""
    return GET + literal(b"x", b"")[:-1] + string(text, huffman=True)


def forms(name: str, form: int, prefix_bits: int) -> tuple[Case, ...]:
    """One form of literals: with a name of the static table and with a new one, plain and Huffman-coded."""
    known = integer(USER_AGENT, prefix_bits, form)
    return (
        case(f"{name}-known-name", GET + known + string(b"agent")),
        case(f"{name}-known-name-huffman", GET + known + string(CUSTOM_VALUE, huffman=True)),
        case(f"{name}-new-name", GET + bytes((form,)) + string(b"custom-key") + string(b"custom-value")),
        case(
            f"{name}-new-name-huffman",
            GET + bytes((form,)) + string(CUSTOM_KEY, huffman=True) + string(CUSTOM_VALUE, huffman=True),
        ),
    )


def two(first: bytes, second: bytes, *, name: str, allow: tuple[Outcome, ...] = (Answers(3),)) -> Case:
    """Two requests: the second finds the table as the first left it."""
    return rfc7541(name, headers(1, GET + first) + headers(3, second), allow=allow)


def shrunk(name: str, n_bytes: int, begins: bytes) -> Case:
    """We let the table of the other side have so many octets; it says so first thing in its next block."""
    opening = PREFACE + settings({Setting.HEADER_TABLE_SIZE: n_bytes}) + SETTINGS_ACK
    return rfc7541(f"4.2-{name}", headers(1, GET), allow=(Answers(block_begins=begins),), opening=opening)


TABLES = (
    two(entered(b"x-kept", b"yes"), GET + indexed(62), name="2.3.2-entry-of-the-dynamic-table"),
    two(
        entered(b"x-kept", b"a") + entered(b"x-also", b"b"),
        GET + indexed(63) + literal(62, b"c"),
        name="2.3.2-older-entries-move",
    ),
    case("2.3.3-index-beyond-the-tables", GET + indexed(70), BROKEN),
    case("2.3.3-name-beyond-the-tables", GET + literal(70, b"value"), BROKEN),
    case("2.3.3-first-index-beyond-the-static-table", GET + indexed(62), BROKEN),
    two(entered(b"x-kept", b"yes"), GET + indexed(63), name="2.3.3-index-beyond-the-dynamic-table", allow=BROKEN),
    case("4.2-update-at-the-end", GET + table_size(1), BROKEN),
    case("4.2-update-in-the-midst", indexed(2) + table_size(0) + indexed(7) + indexed(4), BROKEN),
    case("4.2-update-at-the-beginning", table_size(100) + GET),
    case("4.2-two-updates", table_size(0) + table_size(DEFAULT_TABLE_BYTES) + GET),
    case("4.2-update-alone", table_size(0), MALFORMED),
    shrunk("table-of-0-is-said", 0, table_size(0)),
    shrunk("table-of-100-is-said", 100, table_size(100)),
    two(
        entered(b"x-kept", b"yes"), table_size(0) + GET + indexed(62), name="4.3-update-empties-the-table", allow=BROKEN
    ),
    two(
        entered(b"x-kept", b"yes") + entered(b"x-long", b"v" * 4090),
        GET + indexed(62),
        name="4.4-entry-larger-than-the-table-empties-it",
        allow=BROKEN,
    ),
    two(
        entered(b"x-a", b"v" * 2000) + entered(b"x-b", b"v" * 2000) + entered(b"x-c", b"v" * 2000),
        GET + indexed(62),
        name="4.4-newest-entry-is-kept",
    ),
    two(
        entered(b"x-a", b"v" * 2000) + entered(b"x-b", b"v" * 2000) + entered(b"x-c", b"v" * 2000),
        GET + indexed(64),
        name="4.4-oldest-entry-is-evicted",
        allow=BROKEN,
    ),
)

PRIMITIVES = (
    case("5.1-integer-too-large", GET + b"\xff" + b"\xff" * 9 + b"\x7f", BROKEN),
    case("5.1-integer-that-does-not-end", GET + b"\xff\x80\x80", BROKEN),
    case("5.1-length-too-large", GET + b"\x00\x01x\x7f" + b"\xff" * 9 + b"\x7f", BROKEN),
    case("5.1-integer-with-zeros-at-its-end", GET + b"\x0f\x80\x80\x00" + string(b"x"), (*BROKEN, Answers())),
    case("5.2-huffman", coded(A)),
    case("5.2-huffman-of-nothing", coded(b"")),
    case("5.2-huffman-without-padding", coded(CUSTOM_VALUE)),
    case("5.2-padding-longer-than-7-bits", coded(A + b"\xff"), BROKEN),
    case("5.2-padding-of-one-octet-alone", coded(b"\xff"), BROKEN),
    case("5.2-padding-of-zeros", coded(bytes((0b00011_000,))), BROKEN),
    case("5.2-padding-that-is-not-the-beginning-of-eos", coded(bytes((0b00011_110,))), BROKEN),
    case("5.2-eos", coded(b"\xff\xff\xff\xff"), BROKEN),
    case("5.2-eos-within", coded(b"\x1f\xff\xff\xff\xe3"), BROKEN),
    case("5.2-string-is-cut", GET + b"\x00\x01x\x05valu", BROKEN),
    case("5.2-name-is-cut", GET + b"\x00\x05nam", BROKEN),
    case("5.2-literal-without-value", GET + b"\x00\x01x", BROKEN),
    case("5.2-literal-without-name", GET + b"\x00", BROKEN),
    case("5.2-huffman-string-is-cut", GET + b"\x00\x01x\x89" + CUSTOM_VALUE[:-1], BROKEN),
)

REPRESENTATIONS = (
    case("6.1-indexed", indexed(2) + indexed(7) + indexed(4) + lines((AUTHORITY, b"gate.example")), ANSWERED),
    case("6.1-index-0", GET + indexed(0), BROKEN),
    *forms("6.2.1-incremental-indexing", 0x40, 6),
    *forms("6.2.2-without-indexing", 0x00, 4),
    *forms("6.2.3-never-indexed", 0x10, 4),
    case("6.3-update", table_size(0) + GET),
    case("6.3-update-too-large", table_size(DEFAULT_TABLE_BYTES + 1) + GET, BROKEN),
    case("6.3-update-far-too-large", table_size(2**31) + GET, BROKEN),
)

CASES = TABLES + PRIMITIVES + REPRESENTATIONS
