"""Development certificates, made when there are none: a CA of this folder's own and a leaf for this machine. And what
TLS tells of the client's."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from h2gate.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of PEM files: what a client must trust, and what the server shows."""

    ca: Path
    cert: Path
    key: Path
    client_ca: Path | None = None
    """Authorities of clients' certificates: with it the handshake asks for one, and goes on without."""


def certificate_of(tls: ssl.SSLObject | None) -> bytes | None:
    """The certificate that the client has shown and the handshake has verified, DER."""
    return tls.getpeercert(binary_form=True) if tls is not None else None


def ensure(folder: Path) -> Certificates:
    """The development certificates in `folder`; made if any is missing. Raises `ConfigError` if that can't be done."""
    found = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    if all(path.exists() for path in (found.ca, found.cert, found.key)):
        return found
    import trustme  # noqa: PLC0415 - a tenth of what starting takes, and needed once

    authority = trustme.CA(organization_name="h2gate development")
    leaf = authority.issue_cert("localhost", "127.0.0.1", "::1", *_own_name())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(found.key, leaf.private_key_pem.bytes(), mode=0o600)
        _write(found.cert, b"".join(blob.bytes() for blob in leaf.cert_chain_pems), mode=0o644)
        _write(found.ca, authority.cert_pem.bytes(), mode=0o644)
    except OSError as error:
        raise ConfigError(f"certificates cannot be made in {folder}: {error.strerror}") from error
    return found


def _own_name() -> list[str]:
    name = socket.gethostname()
    return [name] if name and name != "localhost" and name.isascii() and "_" not in name else []


def _write(path: Path, content: bytes, *, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
