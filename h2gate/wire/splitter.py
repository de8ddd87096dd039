"""Cuts what a transport read into whole frames (RFC 9113 section 4.1), so that each can be judged by itself.

The reference engine hands h2 one frame at a time: what came before a broken one is then not lost with it.
"""

from __future__ import annotations

from hyperframe.frame import ContinuationFrame, HeadersFrame, PushPromiseFrame

PREFACE_BYTES = 24
HEADER_BYTES = 9
_END_HEADERS = 0x4
_FIELD_BLOCKS = (HeadersFrame.type, PushPromiseFrame.type, ContinuationFrame.type)


class FrameTooLong(Exception):
    """A frame announced more bytes than we allow; none of them were waited for."""


class Splitter:
    def __init__(self, *, preface: bool, max_frame_bytes: int) -> None:
        self._preface_left = PREFACE_BYTES if preface else 0
        self._max_frame_bytes = max_frame_bytes
        self._received = bytearray()
        self.kind = -1
        """The type of the frame given out last; -1 for a piece of the preface."""
        self.block_open = False
        """Only CONTINUATION may follow the frame given out last."""

    @property
    def unfinished(self) -> bool:
        """In the midst of the preface, a header or a frame."""
        return bool(self._preface_left or self._received or self.block_open)

    def add(self, data: memoryview) -> None:
        self._received += data

    def next(self) -> bytes:
        """What is there of the preface, else one whole frame; empty when more must come. Raises `FrameTooLong`."""
        size = min(self._preface_left, len(self._received)) if self._preface_left else self._frame_bytes()
        if self._preface_left:
            self._preface_left -= size
        elif size:
            self.kind = self._received[3]
            if self.kind in _FIELD_BLOCKS:
                self.block_open = not self._received[4] & _END_HEADERS
        unit = bytes(self._received[:size])
        del self._received[:size]
        return unit

    def _frame_bytes(self) -> int:
        if len(self._received) < HEADER_BYTES:
            return 0
        length = int.from_bytes(self._received[:3], "big")
        if length > self._max_frame_bytes:
            raise FrameTooLong
        size = HEADER_BYTES + length
        return size if len(self._received) >= size else 0
