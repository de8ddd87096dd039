"""Checksums of one request's body, as `Upload-Checksum` of tus 1.0.0 names them.

They find damage on the way, not an enemy: that is why the weak ones are offered too, and what is kept of a file is its
SHA-256 alone.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import crc32c

from h2gate.errors import BadField, ChecksumMismatch
from h2gate.fields import from_base64
from h2gate.upload import Tap

FIELD = "Upload-Checksum"
ALGORITHMS = ("sha256", "sha512", "crc32c", "crc32", "sha1", "md5")
"""The names, best first: the strong ones, then the fast ones, then what else is asked for (tus demands sha1)."""


class Hasher(Tap, Protocol):
    def digest(self) -> bytes:
        """The checksum of what came so far; more may follow."""


class _Crc:
    """A 32-bit sum with the face of a hashlib object."""

    __slots__ = ("_function", "_value")

    def __init__(self, function: Callable[[memoryview | bytes, int], int]) -> None:
        self._function = function
        self._value = 0

    def update(self, data: memoryview | bytes, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


_HASHERS: Mapping[str, Callable[[], Hasher]] = {
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "crc32c": lambda: _Crc(crc32c.crc32c),
    "crc32": lambda: _Crc(zlib.crc32),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "md5": lambda: hashlib.md5(usedforsecurity=False),
}


@dataclass(frozen=True, slots=True)
class Checksum:
    name: str
    """One of `ALGORITHMS`."""
    digest: bytes


def hasher(name: str) -> Hasher:
    """What computes this checksum. Raises `BadField` for a name that isn't one of `ALGORITHMS`."""
    if name not in _HASHERS:
        raise BadField(f"{FIELD}: the algorithm is none of {', '.join(ALGORITHMS)}")
    return _HASHERS[name]()


def parse(value: str) -> Checksum:
    """`Upload-Checksum`: the algorithm in lower case, one space, Base64. Raises `BadField`."""
    name, _, encoded = value.partition(" ")
    n_bytes = len(hasher(name).digest())
    digest = from_base64(encoded, FIELD)
    if len(digest) != n_bytes:
        raise BadField(f"{FIELD}: a {name} has {n_bytes} bytes, not {len(digest)}")
    return Checksum(name, digest)


def verify(checksum: Checksum, found: bytes) -> None:
    """Raises `ChecksumMismatch` unless `found` is what the sender computed."""
    if checksum.digest != found:
        raise ChecksumMismatch(f"the {checksum.name} of what arrived is not the one that was sent")
