"""Whom a request is for, said once: a Host field beside another :authority is a way to be taken for two (RFC 9113
section 8.3.1), so whoever gets such a request treats it as malformed. libnghttp2 does not look."""

from __future__ import annotations

from collections.abc import Iterable

from h2gate.wire.engine import Header

_DEFAULT_PORTS = {b"https": b":443", b"http": b":80"}


def is_contradictory(headers: Iterable[Header]) -> bool:
    """Whether Host and :authority are both there and name different servers. Case and the default port do not count."""
    fields = dict(headers)
    host, authority = fields.get(b"host"), fields.get(b":authority")
    if host is None or authority is None or host == authority:
        return False
    port = _DEFAULT_PORTS.get(fields.get(b":scheme", b"").lower(), b":")
    return _plain(host, port) != _plain(authority, port)


def _plain(authority: bytes, default_port: bytes) -> bytes:
    return authority.lower().removesuffix(default_port).removesuffix(b":")
