"""Heads and receipts as files: what they claim, whether it was signed, and which line of the log they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from h2gate.audit.chain import Link
from h2gate.audit.log import HEAD, RECEIPT
from h2gate.audit.signing import BadSignature, public_key, unverified, verified
from h2gate.audit.verifying import Anchor
from h2gate.errors import ConfigError


def receipt(file: Path, key: Path) -> Mapping[str, Any]:
    """What a receipt says. Raises `BadSignature`, `ConfigError`."""
    return verified(_text(file), RECEIPT, public_key(key))


def head(file: Path, key: Path | None) -> Mapping[str, Any]:
    """What a head says; without a key, whoever has signed it. Raises `BadSignature`, `ConfigError`."""
    return verified(_text(file), HEAD, public_key(key)) if key is not None else unverified(_text(file))


def anchor(claims: Mapping[str, Any], what: str) -> Anchor:
    """The line that there must be. Raises `BadSignature` where it names none."""
    try:
        return Anchor(Link(int(claims["seq"]), str(claims["hash"])), what)
    except (KeyError, TypeError, ValueError):
        raise BadSignature(f"{what}: names no line") from None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from error
