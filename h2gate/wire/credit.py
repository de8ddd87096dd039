"""How much each stream may have under way: a window that grows while the path needs it, and shrinks when room is short.

The rule for growing is like Cloudflare's and gRPC's: if a stream got more than a quarter of its window through in one
turnaround, the window will soon be what holds it back, so it is doubled. A turnaround is the round trip, but at least
what disk and threads take. It shrinks by credit that is not given, down to its share of what is left.
"""

from __future__ import annotations

from typing import Protocol

TURNAROUND_SECONDS = 0.002
_NEAR, _FAR = 4, 16
"""A window is so many turnarounds' worth of bytes at least. A sender over a distance takes up to three times as much
with each round trip at first, and what he may send next is told half a window at a time, half a round trip late."""
NEAR_BYTES = 16 << 20
"""So much is four turnarounds of 2 GB/s. Credits that happen to come together look like a pace that needs more."""
OPEN_BYTES = 1 << 20
"""What a stream gets at once, if there is room: less would be used up before the first turnaround is over."""


class Account(Protocol):
    """Whom the windows are charged to. Sizes in bytes."""

    @property
    def share(self) -> int:
        """As much as one window should be, as things are."""

    def take(self, n_bytes: int) -> bool:
        """Reserve so much; False when it is not there."""

    def take_more(self, n_bytes: int) -> bool:
        """Reserve so much beyond what is needed; False when that should be kept for those who have nothing yet."""

    def take_little(self, n_bytes: int) -> bool:
        """Reserve so much, for what has to go on when nothing large does any more."""

    def give_back(self, n_bytes: int) -> None:
        """Return some of what was taken."""


class Window:
    """The window of one stream. `account` has been charged for `first`, and gets all back by `close`."""

    __slots__ = ("_account", "_bytes", "_first", "_max", "_since", "charged", "size")

    def __init__(self, first: int, largest: int, account: Account) -> None:
        self.size = first
        """What the peer is to be granted."""
        self.charged = first
        """What it may still make us hold: more than `size` while the window shrinks."""
        self._first = first
        self._max = max(first, largest)
        self._account = account
        self._since = 0.0
        self._bytes = 0

    def open(self) -> bool:
        """Make it worth while for a body that is not small, if there is room; True if `size` has grown."""
        return self._grow(min(OPEN_BYTES, self._max) - self.size)

    def consumed(self, n_bytes: int, now: float, round_trip: float) -> bool:
        """Count `n_bytes` that were consumed at `now`; True if `size` has changed. Times in seconds."""
        if self.charged > self.size:
            withheld = min(n_bytes, self.charged - self.size)
            self.charged -= withheld
            self._account.give_back(withheld)
        turnaround = max(round_trip, TURNAROUND_SECONDS)
        elapsed = now - self._since
        self._bytes += n_bytes
        pace: float = self._bytes
        """Bytes in one turnaround."""
        if elapsed > turnaround:
            pace *= turnaround / elapsed
            self._since, self._bytes = now, 0
        share = self._account.share
        if self.size > 2 * share and self.size > self._first:
            self.size = max(self._first, share)
            return True
        is_far = round_trip > TURNAROUND_SECONDS
        most = self._max if is_far else min(self._max, NEAR_BYTES)
        if pace * (_FAR if is_far else _NEAR) <= self.size or not self._grow(min(self.size, most - self.size)):
            return False
        self._since, self._bytes = now, 0
        return True

    def _grow(self, n_bytes: int) -> bool:
        if n_bytes <= 0 or self.size + n_bytes > self._account.share:
            return False
        more = self.size + n_bytes - self.charged
        if more > 0:
            if not self._account.take_more(more):
                return False
            self.charged += more
        self.size += n_bytes
        return True

    def close(self) -> None:
        """Give back everything. May be called twice."""
        self._account.give_back(self.charged)
        self.charged = 0
        self._max = self.size
