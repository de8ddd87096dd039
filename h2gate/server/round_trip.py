"""How long a path is, as the kernel has measured it: what a window must be large for."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

_AGE_SECONDS = 0.05


class RoundTrip:
    """Of one connection. It is asked for with every credit, and looked up now and then."""

    def __init__(self, sock: socket.socket | None, clock: Callable[[], float]) -> None:
        self._socket = sock
        self._clock = clock
        self._seconds = 0.0
        self._at = float("-inf")

    def seconds(self) -> float:
        """0.0 where the kernel does not say."""
        now = self._clock()
        if now - self._at > _AGE_SECONDS:
            self._at = now
            self._seconds = _tcp_round_trip(self._socket)
        return self._seconds


def _tcp_round_trip(sock: socket.socket | None) -> float:
    """Seconds, as the kernel measured it (tcpi_rtt of TCP_INFO, microseconds at offset 68); 0 where it does not say."""
    if sock is None or not hasattr(socket, "TCP_INFO") or sock.fileno() < 0:
        return 0.0  # or closed, while an application still takes what came before
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 72)
    except OSError:
        return 0.0
    return float(struct.unpack_from("=I", info, 68)[0]) / 1e6 if len(info) >= 72 else 0.0
