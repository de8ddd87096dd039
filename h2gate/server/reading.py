"""When a socket is looked at: not while its turn is over or its address owes, and less often in a bulk transfer.

Each read costs a wake-up, a TCP acknowledgement and the same lines of Python, whether it brings 20 KiB or 500: a
sender who is as fast as we are was read 16,000 times a GiB. So in a bulk transfer the kernel is asked to tell of the
socket when a millisecond's worth has come (SO_RCVLOWAT, socket(7)), for as long as so much is surely on its way; what
waits there all the same waits for two to four milliseconds. Only on Linux (4.18 and up): there a lower mark wakes
whoever waits already.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

BURST_BYTES = 256 << 10
"""So many in `BURST_SECONDS` begin a bulk transfer."""
BURST_SECONDS = 0.004
WAIT_SECONDS = 0.001
"""The kernel is to tell of the bytes of so long a time."""
MOST_BYTES = 512 << 10
"""And of so many at most: the next caches hold no more."""
_TICK_SECONDS = 2 * WAIT_SECONDS


class Reading:
    """Of one connection. A `turns.Reader`."""

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, are_coming: Callable[[int], bool]
    ) -> None:
        """`are_coming`: whether the peer has so many bytes to send, and may."""
        self._transport = transport
        self._socket: socket.socket | None = transport.get_extra_info("socket") if sys.platform == "linux" else None
        self._loop = loop
        self._are_coming = are_coming
        self._is_resting = False
        self._burst_bytes = 0
        self._since = 0.0
        self._waited_bytes = 1
        """What the kernel waits for."""
        self._tick: asyncio.TimerHandle | None = None
        """While it waits for more than one."""

    def read(self, n_bytes: int) -> None:
        """So many came."""
        self._burst_bytes += n_bytes
        if self._tick is not None:
            if not self._are_coming(2 * self._waited_bytes):
                self._wait_for(1)
        elif self._burst_bytes >= BURST_BYTES:
            burst_bytes, seconds = self._taken()
            if seconds < BURST_SECONDS:
                self._wait_if_worth(burst_bytes, seconds)

    def _taken(self) -> tuple[int, float]:
        """What came since the last call, and in how many seconds."""
        now = self._loop.time()
        taken = self._burst_bytes, now - self._since
        self._burst_bytes, self._since = 0, now
        return taken

    def _wait_if_worth(self, n_bytes: int, seconds: float) -> None:
        wanted = min(int(n_bytes * WAIT_SECONDS / max(seconds, WAIT_SECONDS)), MOST_BYTES)
        self._wait_for(wanted if self._are_coming(2 * wanted) else 1)

    def _on_tick(self) -> None:
        self._tick = None
        n_bytes, seconds = self._taken()
        if n_bytes * BURST_SECONDS >= BURST_BYTES * seconds:
            self._wait_if_worth(n_bytes, seconds)
        else:
            self._wait_for(1)

    def _wait_for(self, n_bytes: int) -> None:
        """Have the kernel tell of the socket when there are so many; if they are there, it does so now."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        if self._socket is None:
            return
        if self._transport.is_closing():
            n_bytes = 1  # TLS waits for a few last ones
        if n_bytes != self._waited_bytes:
            self._waited_bytes = n_bytes
            with suppress(OSError, ValueError):  # it is closed by now
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, n_bytes)
        if n_bytes > 1:
            self._tick = self._loop.call_later(_TICK_SECONDS, self._on_tick)

    def rest_for(self, seconds: float) -> None:
        """Unless it rests already."""
        if self.rest():
            self._loop.call_later(seconds, self.go_on)

    def rest(self) -> bool:
        """See `turns.Reader`."""
        if self._is_resting or self._transport.is_closing():
            return False
        self._is_resting = True
        self._transport.pause_reading()
        return True

    def go_on(self) -> None:
        """See `turns.Reader`."""
        self._is_resting = False
        if not self._transport.is_closing():
            self._transport.resume_reading()
