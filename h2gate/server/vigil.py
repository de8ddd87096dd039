"""Every wait for the peer has a bound: those of its streams, and those of the connection (`header_seconds`,
`answer_seconds`, `idle_seconds`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from h2gate.config import Settings
from h2gate.server.stream import Stream
from h2gate.wire.engine import Engine

_PULSE_SECONDS = 1.0


class Watched(Protocol):
    """A connection."""

    engine: Engine
    settings: Settings
    idle_since: float

    @property
    def streams(self) -> Mapping[int, Stream]:
        """Those that are open."""

    @property
    def is_paused(self) -> bool:
        """The peer reads too little for more to be written."""

    def limited(self, limit: str, what: str) -> None:
        """The peer ran into a limit."""

    def leave_idle(self) -> None:
        """It has had no streams for long enough."""

    def plan_flush(self) -> None:
        """Write what there is to be written."""


class Vigil:
    """Over one connection, from now on."""

    def __init__(
        self, host: Watched, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, shortest_seconds: float
    ) -> None:
        """`shortest_seconds`: of all bounds."""
        self._host = host
        self._transport = transport
        self._loop = loop
        self._seconds = min(_PULSE_SECONDS, shortest_seconds / 4)
        self.unfinished_since = loop.time()
        """When bytes came that told nothing: a header or frame may have begun with them. 0 when none has."""
        self._unwritten = 0
        self._unwritten_seconds = 0.0
        self._plan()

    def told(self, *, something: bool) -> None:
        """Bytes came, and were `something` or only a beginning."""
        if something:
            self.unfinished_since = 0.0
        elif not self.unfinished_since:
            self.unfinished_since = self._loop.time()

    def _plan(self) -> None:
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(self._seconds, self._look, self._loop.time())

    def _look(self, before: float) -> None:
        host, now = self._host, self._loop.time()
        for stream in list(host.streams.values()):
            stream.check_progress(now - before)
        if self._is_stuck(now, now - before):
            self._transport.abort()
        elif not host.streams and now - host.idle_since >= host.settings.idle_seconds:
            host.leave_idle()
        host.plan_flush()
        if self._timer is not None:
            self._plan()

    def _is_stuck(self, now: float, elapsed: float) -> bool:
        host, settings = self._host, self._host.settings
        if not (host.engine.header_open or (host.engine.unfinished and not host.streams)):
            self.unfinished_since = 0.0
        elif not self.unfinished_since:
            self.unfinished_since = now
        elif now - self.unfinished_since >= settings.header_seconds:
            host.limited("header_seconds", "a header or frame was begun and does not end")
            return True
        unwritten = self._transport.get_write_buffer_size()
        stuck = unwritten and unwritten >= self._unwritten and host.is_paused
        self._unwritten, self._unwritten_seconds = unwritten, self._unwritten_seconds + elapsed if stuck else 0.0
        if settings.answer_seconds and self._unwritten_seconds >= settings.answer_seconds:
            host.limited("answer_seconds", "nothing of what was sent is read")
            return True
        return False

    def end(self) -> None:
        """The connection is lost."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
