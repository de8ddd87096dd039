"""Digests that travel with a body (RFC 9530) and the hashes that check them while it is stored.

SHA-256 is what is kept and answered; SHA-512 is computed when a field asks for it. Other algorithms are ignored, as
RFC 9530 section 2 lets a recipient do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from h2gate.errors import DigestMismatch
from h2gate.fields import digests
from h2gate.upload import Tap

ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}
"""Names of RFC 9530 section 5 that are verified, and hashlib's names for them."""

_FIELDS = ("repr-digest", "content-digest", "unencoded-digest")
_UNENCODED = "unencoded:"
"""No algorithm's name has a colon (RFC 9651 section 3.1.2)."""


class Hashes:
    """Running hashes of one body. `taps` go to the storage."""

    def __init__(self, names: set[str], resumed: Any = None) -> None:
        """`names` are RFC 9530's; `resumed` is a running SHA-256 to go on with."""
        self._running: dict[str, Any] = {name: hashlib.new(ALGORITHMS[name]) for name in names}
        self.whole = resumed
        """The running SHA-256 of the whole file, where the body is only its end."""

    @property
    def taps(self) -> list[Tap]:
        return [*self._running.values(), *([self.whole] if self.whole is not None else [])]

    @property
    def running(self) -> Any:
        """The running SHA-256 of the body, or None."""
        return self._running.get("sha-256")

    def value(self, name: str) -> bytes | None:
        """The digest by RFC 9530's name, None if it was not computed."""
        hasher = self._running.get(name)
        return hasher.digest() if hasher is not None else None


def merged(*fields: Mapping[str, bytes]) -> dict[str, bytes]:
    """What several fields say, as one. Raises `DigestMismatch` when they contradict each other: one is wrong then."""
    found: dict[str, bytes] = {}
    for each in fields:
        for name, digest in each.items():
            if found.setdefault(name, digest) != digest and name.removeprefix(_UNENCODED) in ALGORITHMS:
                raise DigestMismatch(f"the fields name different {name} digests for the same bytes")
    return found


def verify(expected: Mapping[str, bytes], name: str, found: bytes) -> None:
    """Raises `DigestMismatch` unless `found` is what the sender expects for `name`, or the sender expects nothing."""
    if name in expected and expected[name] != found:
        raise DigestMismatch(f"the {name} of what arrived is not the one that was sent")


def unencoded(found: Mapping[str, bytes]) -> dict[str, bytes]:
    """What `Unencoded-Digest` says, under names that can stand beside those of what was sent."""
    return {_UNENCODED + name: digest for name, digest in found.items()}


def parted(found: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Digests of what was sent, and those that `unencoded` had marked, under their own names."""
    decoded = {name: digest for name, digest in found.items() if name.startswith(_UNENCODED)}
    sent = {name: digest for name, digest in found.items() if name not in decoded}
    return sent, {name.removeprefix(_UNENCODED): digest for name, digest in decoded.items()}


def trailer_digests(trailers: Sequence[tuple[bytes, bytes]], *wanted: str) -> dict[str, bytes]:
    """The digests among the trailers, of all digest fields or just of those `wanted`. Raises `BadField`,
    `DigestMismatch` when they contradict each other."""
    found: dict[str, bytes] = {}
    for name, value in trailers:
        field = name.decode("latin1").lower()
        if field in (wanted or _FIELDS):
            found = merged(found, digests(value.decode("latin1"), field))
    return found
