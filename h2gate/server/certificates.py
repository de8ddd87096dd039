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


@dataclass(frozen=True, slots=True)
class Shown:
    """The certificate that a client has shown and the handshake has verified."""

    der: bytes
    verified_by: ssl.SSLContext

    def still_counts(self, now: ssl.SSLContext | None) -> bool:
        """Whether all authorities are believed by now that were then: a connection may be older than the settings, and
        which one it was is not known any more."""
        if now is self.verified_by:
            return True
        return now is not None and _authorities(self.verified_by) <= _authorities(now)


def _authorities(context: ssl.SSLContext) -> set[bytes]:
    return set(context.get_ca_certs(binary_form=True)) if context.verify_mode != ssl.CERT_NONE else set()


def shown_by(tls: ssl.SSLObject | None) -> Shown | None:
    """What TLS tells of the client's."""
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    return Shown(der, tls.context) if tls is not None and der is not None else None


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
