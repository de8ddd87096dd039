"""How many frames of a kind a peer may send: what costs more here than there, or moves nothing, is counted.

Each count is a bucket that holds ten seconds' worth and fills at a tenth of it a second. A bucket that runs empty ends
the connection with ENHANCE_YOUR_CALM (RFC 9113 section 10.5).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields

SECONDS = 10.0
FLOOD, CONNECTION_ERROR = "flood", "connection_errors"
"""What else can end a connection: what the engine itself takes for a flood, and what is no HTTP/2."""
TINY_BYTES = 64
UPDATE_BYTES = 2048
"""One WINDOW_UPDATE is fair for so many bytes of ours."""
REQUEST_BYTES = 8192
"""What the header and the control frames of an ordinary request have at most."""
REQUEST_FIELDS = 64
FIELD_BYTES = 32
"""What each field beyond that costs as overhead, however few bytes it came in (RFC 9113 section 6.5.2 counts so)."""


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """In ten seconds, on one connection. 0 is no limit."""

    resets: int = 200
    """RST_STREAM from the peer (rapid reset)."""
    stream_errors: int = 100
    """Streams that we reset for the peer's errors."""
    excess_streams: int = 1000
    """Streams beyond those it may have."""
    pings: int = 1000
    settings: int = 100
    empty_data: int = 1000
    """DATA frames with nothing in them that do not end a stream."""
    tiny_data: int = 20_000
    """DATA frames with less than `TINY_BYTES`."""
    window_updates: int = 2000
    """WINDOW_UPDATE, beyond one for every 2 KiB that we sent."""
    overhead: int = 4 << 20
    """Bytes that are no body, beyond as many as bodies have and 8 KiB for each request: padding, PRIORITY, unknown
    frames, and all the others."""


NO_LIMITS = FrameLimits(*[0] * len(fields(FrameLimits)))


def setting_of(exceeded: str) -> str:
    """The name of the setting behind a limit that was run into; what else ends a connection keeps its own."""
    return exceeded if exceeded in (FLOOD, CONNECTION_ERROR) else f"max_{exceeded}"


class FrameCounts:
    """What one connection may still send."""

    def __init__(self, limits: FrameLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.exceeded: str | None = None
        """The limit that was run into first."""
        self._clock = clock
        self._limits = {each.name: getattr(limits, each.name) for each in fields(limits)}
        self._left = {name: float(limit) for name, limit in self._limits.items()}
        self._at = dict.fromkeys(self._limits, clock())
        self._ended = 0

    def count(self, name: str, n: int = 1) -> None:
        """The peer has sent `n`."""
        left = self._left[name] = self._left[name] - n
        if left < 0 and self._limits[name] and self.exceeded is None:
            left = self._fill(name)
            if left < 0:
                self.exceeded = name

    def stream_ended(self) -> None:
        """Both ends had said all: one RST_STREAM on it may still come."""
        self._ended += 1

    def late_reset(self) -> None:
        """RST_STREAM on a stream that is over. curl 7 sends one behind every upload whose answer comes before it has
        noticed that it sent all, as it does over a distance; it cancels nothing, so it is fair, once for each stream.
        """
        if self._ended:
            self._ended -= 1
        else:
            self.count("resets")

    def _fill(self, name: str) -> float:
        now, limit = self._clock(), self._limits[name]
        left: float = min(limit, self._left[name] + (now - self._at[name]) * limit / SECONDS)
        self._left[name], self._at[name] = left, now
        return left

    def earn(self, name: str, n: float) -> None:
        """Something happened that makes `n` more of them fair."""
        self._left[name] = min(self._limits[name], self._left[name] + n)
