"""Content codings (RFC 9110 section 8.4.1) undone while they stream: gzip (RFC 1952), zstd (RFC 8878 and 9659) and br
(RFC 7932).

No I/O, and no step makes more than `PIECE_BYTES`, whatever it is fed. What every layer of a stack makes is counted, not
just what comes out at its end: gigabytes in the middle may well become nothing.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import brotli

from h2gate.errors import BadCoding, ExpandsTooMuch, TooLarge, UnsupportedMediaType

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CODINGS = ("gzip", "zstd", "br")
ACCEPTED = ", ".join(CODINGS)
MAX_STACK = 4
PIECE_BYTES = 256 << 10
FREE_BYTES = 16 << 20
"""What a layer may make before its expansion counts."""
_WINDOW_BYTES = {"gzip": 1 << 20, "zstd": 9 << 20, "br": 17 << 20}
"""What undoing one holds at most: its window (RFC 9659, RFC 7932 section 9.1), a piece, and its tables."""
_ALIASES = {"x-gzip": "gzip"}
_SLICE_BYTES = 16 << 10
"""Fed to a library at once: each member that ends in it costs a copy of the rest."""
_BROTLI_BYTES = 64 << 10
"""brotli goes beyond what it is told, by half."""
_FREE_MEMBERS = 4096
_BYTES_PER_MEMBER = 512
"""A member costs up to 7 us to begin, so there may be one for so many bytes, coded and decoded together."""
_MAX_WINDOW_LOG = 23
"""8 MiB (RFC 9659 section 3)."""


def parse(value: str) -> tuple[str, ...]:
    """`Content-Encoding`: the codings in the order in which they were applied, without `identity`.

    Raises `UnsupportedMediaType`, which tells what would be understood (RFC 9110 section 15.5.16).
    """
    if not value:
        return ()
    names = [each.strip().lower() for each in value.split(",")]
    codings = tuple(_ALIASES.get(each, each) for each in names if each not in ("", "identity"))
    if unknown := [each for each in codings if each not in CODINGS]:
        raise unsupported(f"Content-Encoding: {unknown[0][:60]!r} is not one of {ACCEPTED}")
    if len(codings) > MAX_STACK:
        raise unsupported(f"Content-Encoding: more than {MAX_STACK} codings")
    return codings


def unsupported(detail: str, accepted: str = ACCEPTED) -> UnsupportedMediaType:
    """The error that refuses a coding and says which are understood."""
    error = UnsupportedMediaType(detail)
    error.headers.append((b"accept-encoding", accepted.encode()))
    return error


def memory_bytes(codings: Sequence[str]) -> int:
    """How much memory a `Decoder` of these may hold."""
    return sum(_WINDOW_BYTES[each] for each in codings)


class Decoder:
    """Undoes a stack of codings, as `parse` tells them. After an error it is of no use.

    `max_expansion`: bytes that a coded byte may become in any layer. `max_bytes`: that the last may make; those before
    it `FREE_BYTES` more. 0 is no limit.
    """

    def __init__(self, codings: Sequence[str], *, max_expansion: int = 0, max_bytes: int = 0) -> None:
        self._layers = [_LAYERS[each]() for each in reversed(codings)]
        self._made = [0 for _ in self._layers]
        self._max_expansion = max_expansion
        self._max_bytes = max_bytes
        self.n_coded = 0
        """Bytes that it was fed."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes become, in pieces; an empty one is a moment to rest. To be taken to the end before more is
        fed. Raises `BadCoding`, `ExpandsTooMuch`, `TooLarge`."""
        self.n_coded += len(data)
        pieces: Iterable[bytes] = [data]
        for index, layer in enumerate(self._layers):
            pieces = self._through(index, layer, pieces)
        return iter(pieces)

    def _through(self, index: int, layer: Layer, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for each in pieces:
            for start in range(0, len(each), _SLICE_BYTES):
                for piece in layer.feed(each[start : start + _SLICE_BYTES]):
                    self._count(index, len(piece))
                    yield piece
                yield b""

    def _count(self, index: int, n_bytes: int) -> None:
        self._made[index] = made = self._made[index] + n_bytes
        is_last = index == len(self._layers) - 1
        if self._max_bytes and made > self._max_bytes + (0 if is_last else FREE_BYTES):
            raise TooLarge(f"decoded it may have {self._max_bytes} bytes at most", max_bytes=self._max_bytes)
        if self._max_expansion and made > FREE_BYTES + self.n_coded * self._max_expansion:
            raise ExpandsTooMuch(f"more than {self._max_expansion} bytes come of each that was sent")

    def finish(self) -> None:
        """Nothing more comes. Raises `BadCoding` where something is missing."""
        for layer in self._layers:
            layer.finish()

    def close(self) -> None:
        """Let go of its memory, whoever still knows of it."""
        self._layers = []


class Layer(Protocol):
    """One coding. `feed` takes a few bytes, not none, and is to be taken to its end."""

    def feed(self, data: bytes) -> Iterator[bytes]: ...

    def finish(self) -> None: ...


class _Member(Protocol):
    """A gzip member or zstd frame, with the face of `ZstdDecompressor`."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _GzipMember:
    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._zlib.decompress(self._zlib.unconsumed_tail or data, max_length)
        self.needs_input = len(piece) < max_length  # else zlib may hold some back, though it took all input
        return piece


def _zstd_frame() -> _Member:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG})


class _Members:
    """A coding of members that follow each other; at least one."""

    def __init__(self, name: str, begin: Callable[[], _Member], error: type[Exception]) -> None:
        self._name = name
        self._new = begin
        self._error = error
        self._member: _Member | None = None
        self._n_members = self._n_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._n_bytes += len(data)
        is_more = bool(data)
        while is_more:
            self._member = member = self._member or self._begin()
            try:
                piece = member.decompress(data, PIECE_BYTES)
            except self._error as error:
                raise BadCoding(f"{self._name}: {error}") from error
            data = member.unused_data if member.eof else b""
            is_more = bool(data) if member.eof else not member.needs_input
            if member.eof:
                self._member = None
            if piece:
                self._n_bytes += len(piece)
                yield piece

    def _begin(self) -> _Member:
        self._n_members += 1
        if self._n_members > _FREE_MEMBERS + self._n_bytes // _BYTES_PER_MEMBER:
            raise BadCoding(f"{self._name}: too many members for what is in them")
        return self._new()

    def finish(self) -> None:
        if self._member is not None or not self._n_members:
            raise BadCoding(f"{self._name}: it ends early")


class _Brotli:
    """One stream; nothing may follow it."""

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._decompressor.is_finished():
            raise BadCoding("br: there is something behind its end")
        while (piece := self._process(data)) or not self._decompressor.can_accept_more_data():
            yield piece
            if self._decompressor.is_finished():
                return
            data = b""

    def _process(self, data: bytes) -> bytes:
        try:
            piece: bytes = self._decompressor.process(data, output_buffer_limit=_BROTLI_BYTES)
        except brotli.error as error:
            raise BadCoding(f"{error}") from error
        return piece

    def finish(self) -> None:
        if not self._decompressor.is_finished():
            raise BadCoding("br: it ends early")


_LAYERS: Mapping[str, Callable[[], Layer]] = {
    "gzip": lambda: _Members("gzip", _GzipMember, zlib.error),
    "zstd": lambda: _Members("zstd", _zstd_frame, zstd.ZstdError),
    "br": _Brotli,
}
