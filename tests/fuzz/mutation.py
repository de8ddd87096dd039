"""Makes inputs from inputs: bytes changed, doubled, dropped, put elsewhere, and words of the formats put in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

MAX_BYTES = 1 << 16
WORDS = (
    *(
        b"",
        b"\0",
        b"\xff",
        b" ",
        b"-",
        b"--",
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b"%2f",
        b"%2e%2e",
        b"..",
        b"/",
        b"\\",
    ),
    *(
        b"//",
        b"?",
        b"#",
        b";",
        b",",
        b"=",
        b":",
        b'"',
        b"\xc3\xa9",
        b"\xed\xa0\x80",
        b"%00",
        b"%c3%a9",
        b"*",
        b"0",
        b"-1",
    ),
    *(b"9" * 20, b"9" * 5000, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"ustar\x0000", b"path=", b"size="),
    *(b"mtime=", b"--b", b"\r\n--b--", b"\r\n--b\r\n", b"filename=", b"filename*=utf-8''%ff", b"sha-256=:AA==:"),
    *(b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18", b"http://", b"HTTP/1.1", b"chunked", b"final;"),
)


def mutated(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Another input, some changes away from `data`."""
    found = bytearray(data)
    for _ in range(1 << random.randrange(5)):
        random.choice(_CHANGES)(found, others, random)
    return bytes(found[:MAX_BYTES])


def _change_byte(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    if data:
        at = random.randrange(len(data))
        data[at] = random.choice((data[at] ^ 1 << random.randrange(8), random.randrange(256), (data[at] + 1) % 256))


def _drop(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    start = random.randrange(len(data) + 1)
    del data[start : start + 1 + random.randrange(1 << random.randrange(12))]


def _double(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    start = random.randrange(len(data) + 1)
    part = data[start : start + 1 + random.randrange(1 << random.randrange(12))]
    at = random.randrange(len(data) + 1)
    data[at:at] = part * random.choice((1, 1, 1, 2, 30))


def _put_word(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    at, word = random.randrange(len(data) + 1), random.choice(WORDS)
    data[at : at + random.choice((0, len(word)))] = word


def _put_noise(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    at, noise = random.randrange(len(data) + 1), random.randbytes(1 + random.randrange(16))
    data[at : at + random.choice((0, len(noise)))] = noise


def _splice(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    if others:
        other = random.choice(others)
        data[random.randrange(len(data) + 1) :] = other[random.randrange(len(other) + 1) :]


_CHANGES: tuple[Callable[[bytearray, Sequence[bytes], Random], None], ...] = (
    *(_change_byte,) * 4,
    *(_drop, _double, _put_noise, _splice),
    *(_put_word,) * 3,
)
