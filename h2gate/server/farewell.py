"""The end of a transport: once all is written and, with TLS, the peer has said goodbye as well; but only while that
moves on."""

from __future__ import annotations

import asyncio

_SECONDS = 5.0


class Farewell:
    """Of one connection."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Close; what does not move on for five seconds is cut."""
        self._transport.close()
        self._wait()

    def _wait(self) -> None:
        unsent = self._transport.get_write_buffer_size()
        self._timer = self._loop.call_later(_SECONDS, self._look, unsent)

    def _look(self, unsent_before: int) -> None:
        if self._transport.get_write_buffer_size() == unsent_before:
            self._transport.abort()
        else:
            self._wait()

    def end(self) -> None:
        """The transport is lost."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
