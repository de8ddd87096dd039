"""How long a peer has given no sign of life: no bytes from it, and none of ours taken by its TCP.

On a slow link a PING stands behind megabytes in the kernel's buffer and its answer is late; as long as they drain,
somebody lives. A few last bytes do not count: a machine acknowledges those for a process that hangs.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios

MANY = 1 << 16
"""Bytes on their way that make their draining a sign of life."""


class Pulse:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._written = 0
        self._taken = 0

    def heard(self) -> None:
        """Bytes came, or there is reason to start afresh."""
        self._heard = self._loop.time()

    def wrote(self, n_bytes: int) -> None:
        self._written += n_bytes

    def silence(self, transport: asyncio.Transport) -> float:
        """Seconds since the last sign of life. To be asked from time to time."""
        if not transport.is_closing():
            outstanding = transport.get_write_buffer_size() + _unacknowledged(transport)
            before, self._taken = self._taken, self._written - outstanding
            if self._taken > before and outstanding > MANY:
                self.heard()
        return self._loop.time() - self._heard


def _unacknowledged(transport: asyncio.Transport) -> int:
    """What the kernel holds for the peer, in bytes; 0 where it does not tell."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0 or not sys.platform.startswith("linux"):
        return 0
    return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
