"""A stream's window in ngh2, made smaller only by what was consumed.

libnghttp2 withholds the next bytes that are received, which may be bytes that still lie unconsumed here; so the credit
for what is consumed is kept back first, and libnghttp2 is told of the smaller window when enough of it was.
"""

from __future__ import annotations

import ngh2


class LocalWindow:
    """One stream's. Raises what ngh2 raises when the stream is gone."""

    __slots__ = ("_connection", "_granted", "_kept", "_settled", "_stream_id", "_to_keep")

    def __init__(self, connection: ngh2.Connection, stream_id: int, granted: int) -> None:
        self._connection = connection
        self._stream_id = stream_id
        self._granted = granted
        """As ngh2 has it."""
        self._to_keep = 0
        self._kept = 0
        self._settled = 0
        """Bytes kept back that ngh2 knows of; the connection's window gets them when the stream is over."""

    def resize(self, n_bytes: int) -> None:
        """Grow at once, shrink bit by bit."""
        self._to_keep = self._granted - self._kept - n_bytes
        if self._to_keep >= 0:
            self._settle_if_kept()
            return
        more, self._to_keep = -self._to_keep, 0
        self._settle_if_kept()
        self._connection.set_local_window_size(n_bytes, stream_id=self._stream_id)
        self._granted = n_bytes
        back = min(self._settled, more)  # so much of the growth ngh2 takes for the end of the shrinking
        self._settled -= back
        self._acknowledge(back)

    def consumed(self, n_bytes: int) -> None:
        keep = min(n_bytes, self._to_keep)
        if keep:
            self._to_keep -= keep
            self._kept += keep
            self._settle_if_kept()
        self._acknowledge(n_bytes - keep)

    def _settle_if_kept(self) -> None:
        if self._kept and not self._to_keep:
            self._granted -= self._kept
            self._connection.set_local_window_size(self._granted, stream_id=self._stream_id)
            self._settled += self._kept
            self._kept = 0

    def _acknowledge(self, n_bytes: int) -> None:
        if n_bytes:
            self._connection.acknowledge_received_data(n_bytes, self._stream_id)

    def close(self) -> None:
        """The stream is over."""
        self._acknowledge(self._kept + self._settled)
        self._kept = self._settled = 0
