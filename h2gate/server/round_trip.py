"""How long a path is, as the kernel has measured it: what a window must be large for."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from h2gate.wire.credit import TURNAROUND_SECONDS

_AGE_SECONDS = 0.05
_RTT, _MIN_RTT = 68, 148
"""Where Linux' `struct tcp_info` has tcpi_rtt and tcpi_min_rtt."""


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
    """Seconds; 0 where the kernel does not say. Of a path that was short once it is the shortest: a peer that is busy
    makes no distance of it."""
    if sock is None or not hasattr(socket, "TCP_INFO") or sock.fileno() < 0:
        return 0.0  # or closed, while an application still takes what came before
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _MIN_RTT + 4)
    except OSError:
        return 0.0
    smoothed, shortest = _seconds(info, _RTT), _seconds(info, _MIN_RTT)
    return shortest if 0 < shortest <= TURNAROUND_SECONDS else smoothed


def _seconds(info: bytes, offset: int) -> float:
    """A member of `struct tcp_info` that has microseconds; 0 where the kernel is too old to have it."""
    return float(struct.unpack_from("=I", info, offset)[0]) / 1e6 if len(info) >= offset + 4 else 0.0
