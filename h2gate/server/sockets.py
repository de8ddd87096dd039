"""The sockets to serve on: one for each worker and address, all workers' on the same ports (SO_REUSEPORT)."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from h2gate.config import Settings
from h2gate.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Bound:
    """A socket that is bound, and how it is spoken on."""

    sock: socket.socket
    tls: bool

    @property
    def url(self) -> str:
        host, port = self.sock.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self.tls else 'http'}://{shown}:{port}"


def bind_all(settings: Settings) -> list[list[Bound]]:
    """For every worker a socket for every address. The first worker's settle which port 0 becomes."""
    first = [_bind(listen, settings) for listen in settings.listen]
    return [first, *([_again(each) for each in first] for _ in range(settings.workers - 1))]


def _bind(listen: str, settings: Settings) -> Bound:
    tls = not listen.startswith("http://")
    host, colon, port = listen.removeprefix("http://").removeprefix("https://").rstrip("/").rpartition(":")
    host = host.strip("[]")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"--listen {listen}: write HOST:PORT, or http://HOST:PORT for cleartext")
    try:
        family, _, _, _, address = socket.getaddrinfo(host or "127.0.0.1", int(port), type=socket.SOCK_STREAM)[0]
        if not (settings.anonymous or settings.auth is not None or _is_loopback(str(address[0]))):
            raise ConfigError(
                f"--listen {listen}: not a loopback address, and there is no authentication;"
                " --auth FILE says who may what, --anonymous lets anybody who reaches it read and write"
            )
        if settings.workers > 1:
            _bound(family, address, shared=False).close()  # another gateway's workers would share the port with ours
        return Bound(_bound(family, address, shared=settings.workers > 1), tls)
    except OSError as error:
        raise ConfigError(f"--listen {listen}: {error.strerror or error}") from error


def _again(first: Bound) -> Bound:
    return Bound(_bound(first.sock.family, first.sock.getsockname(), shared=True), first.tls)


def _bound(family: int, address: object, *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind(address)  # type: ignore[arg-type]
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"
