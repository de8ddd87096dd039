"""One request names one server, in however many ways."""

from __future__ import annotations

import pytest

from h2gate.wire.authority import is_contradictory


@pytest.mark.parametrize(
    ("scheme", "authority", "host"),
    [
        (b"https", b"gate.example", b"gate.example"),
        (b"https", b"gate.example", b"GATE.example"),
        (b"https", b"gate.example:443", b"gate.example"),
        (b"https", b"gate.example", b"gate.example:"),
        (b"http", b"gate.example:80", b"Gate.example"),
        (b"https", b"[::1]:443", b"[::1]"),
        (b"https", b"gate.example", None),
        (b"https", None, b"gate.example"),
        (b"https", None, None),
    ],
)
def test_host_and_authority_that_agree_are_fine(scheme: bytes, authority: bytes | None, host: bytes | None) -> None:
    assert not is_contradictory(fields(scheme, authority, host))


@pytest.mark.parametrize(
    ("scheme", "authority", "host"),
    [
        (b"https", b"gate.example", b"evil.example"),
        (b"https", b"gate.example", b""),
        (b"https", b"gate.example", b"gate.example:80"),
        (b"http", b"gate.example", b"gate.example:443"),
        (b"https", b"gate.example", b"gate.example.evil.example"),
        (b"https", b"gate.example:8443", b"gate.example"),
        (b"https", b"[::1]", b"[::2]"),
    ],
)
def test_host_that_is_not_the_authority_contradicts_it(scheme: bytes, authority: bytes, host: bytes) -> None:
    assert is_contradictory(fields(scheme, authority, host))


def fields(scheme: bytes, authority: bytes | None, host: bytes | None) -> list[tuple[bytes, bytes]]:
    found = [(b":scheme", scheme), (b":authority", authority), (b"host", host)]
    return [(name, value) for name, value in found if value is not None]
