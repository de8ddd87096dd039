"""Ed25519 signatures as compact JWS (RFC 7515, RFC 9864): over receipts, and over the head of the log.

The key is made when it is missing; whoever has the public one can check without asking anybody.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from h2gate.errors import ConfigError

_ALGORITHM = "Ed25519"


class Signer:
    """Signs with a private key."""

    def __init__(self, key: OKPKey) -> None:
        self._key = key
        self._kid = key.thumbprint()

    def sign(self, kind: str, claims: Mapping[str, Any]) -> str:
        """A compact JWS; `kind` is its `typ`, so that nothing signed for one purpose serves another."""
        header = {"alg": _ALGORITHM, "typ": kind, "kid": self._kid}
        payload = json.dumps(claims, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
        return jws.serialize_compact(header, payload, self._key, algorithms=[_ALGORITHM])


class BadSignature(ValueError):
    """It is not what the holder of the key has signed."""


def verified(text: str, kind: str, key: OKPKey) -> dict[str, Any]:
    """The claims of a JWS. Raises `BadSignature`."""
    try:
        found = jws.deserialize_compact(text.strip(), key, algorithms=[_ALGORITHM])
        claims = json.loads(found.payload or b"")
    except (JoseError, ValueError) as error:
        raise BadSignature(f"the signature is not good: {error}") from None
    if found.headers().get("typ") != kind or not isinstance(claims, dict):
        raise BadSignature(f"not a {kind}")
    return claims


def unverified(text: str) -> dict[str, Any]:
    """The claims of a JWS, whoever has signed it. Raises `BadSignature`."""
    try:
        claims = json.loads(jws.extract_compact(text.strip().encode()).payload or b"")
    except (JoseError, ValueError) as error:
        raise BadSignature(f"not a JWS: {error}") from None
    if not isinstance(claims, dict):
        raise BadSignature("not a JWS of ours")
    return claims


def public_key(file: Path) -> OKPKey:
    """The key in a PEM file, public or private. Raises `ConfigError`."""
    try:
        return OKPKey.import_key(file.read_text())
    except (OSError, ValueError, JoseError) as error:
        raise ConfigError(f"{file}: not an Ed25519 key: {error}") from error


def signer(file: Path) -> Signer:
    """The signer with the private key in `file`, which is made with its `.pub` if missing; of several processes that
    find it so, one makes it. Raises `ConfigError`."""
    if not file.exists():
        _make(file)
    key = public_key(file)
    if not key.is_private or key.curve_name != "Ed25519":
        raise ConfigError(f"{file}: not a private Ed25519 key")
    _write_public(file, key)
    return Signer(key)


def _make(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as opened:  # noqa: PTH123 - by its descriptor, so that nobody else can read it before
            opened.write(OKPKey.generate_key("Ed25519").as_pem(private=True))
            opened.flush()
            os.fsync(fd)
        with suppress(FileExistsError):
            os.link(draft, file)
        draft.unlink()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error


def _write_public(file: Path, key: OKPKey) -> None:
    public = file.with_suffix(".pub")
    with suppress(OSError):  # it can be made from the private one at any time
        if not public.exists():
            public.write_bytes(key.as_pem(private=False))
