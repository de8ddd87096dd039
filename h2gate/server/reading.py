"""When a socket is looked at: not while its turn is over or its address owes, and less often in a bulk transfer."""

from __future__ import annotations

import asyncio

FULL_READ_BYTES = 128 << 10
_BURST_BYTES = 65536
_BURST_SECONDS = 0.002
_PAUSE_SECONDS = 0.0005


class Reading:
    """Of one connection. A `turns.Reader`."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._is_resting = False
        self._burst = 0
        self._burst_since = 0.0

    def read(self, n_bytes: int) -> None:
        """So many came. In the midst of a bulk transfer, look at the socket less often: many small reads cost more than
        few large. Half a millisecond is what a network card waits for the same reason."""
        self._burst += n_bytes
        if n_bytes < FULL_READ_BYTES and self._burst >= _BURST_BYTES:
            now = self._loop.time()
            if now - self._burst_since < _BURST_SECONDS:
                self.rest_for(_PAUSE_SECONDS)
            self._burst, self._burst_since = 0, now

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
