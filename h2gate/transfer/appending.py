"""What a request wants to append to an upload, and whether it may: looked at before anything is begun.

A body that brings a checksum of its own counts only once that is right (tus 1.0.0, checksum). One with a
`Content-Digest` that breaks off is kept: half of a body has no digest, and the whole upload may have one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from h2gate.codec import digest
from h2gate.codec.checksum import Checksum
from h2gate.config import Settings
from h2gate.errors import InconsistentLength, OffsetConflict, TooLarge, TooSmall
from h2gate.transfer.grant import FREELY, Grant
from h2gate.transfer.pipeline import Metered
from h2gate.upload import Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """What a request wants to append."""

    body: Body
    offset: int | None = None
    """Where it thinks that the upload ends; None is wherever that is."""
    complete: bool | None = None
    """Whether the upload ends with this body; None: it does when its length is reached."""
    length: int | None = None
    """Bytes of the whole upload, if the request says so."""
    checksum: Checksum | None = None
    checksum_follows: bool = False
    """`Upload-Checksum` was announced as a trailer."""
    content: Mapping[str, bytes] = field(default_factory=dict)
    """Digests of this body (`Content-Digest`)."""
    content_follows: bool = False
    """`Content-Digest` was announced as a trailer."""
    whole: Mapping[str, bytes] = field(default_factory=dict)
    """Digests of the whole upload (`Repr-Digest`), and of what it decodes to (see `digest.unencoded`)."""
    codings: Sequence[str] = ()
    """What the request says that the upload is coded with, if it says so."""
    progress: Callable[[int], Awaitable[None]] | None = None
    """Called with the durable offset now and then."""
    grant: Grant = FREELY

    @property
    def is_all_or_nothing(self) -> bool:
        return self.checksum is not None or self.checksum_follows

    @property
    def may_be_taken_back(self) -> bool:
        """Whether it is known only at the end if the body counts: until then nobody is told that it does."""
        has_digest = not digest.ALGORITHMS.keys().isdisjoint(self.content)
        return self.is_all_or_nothing or self.content_follows or has_digest


def agreed_length(request: Append, start: int, known: int | None) -> int | None:
    """What the request and who asked before say of the whole's length, for a body at `start`.

    Raises `OffsetConflict`, `InconsistentLength`.
    """
    if request.offset is not None and request.offset != start:
        members = {"offset": start, "expected-offset": start, "provided-offset": request.offset}
        raise OffsetConflict(f"the upload has {start} bytes", **members)
    told = {known, request.length}
    if request.complete and request.body.length is not None:
        told.add(start + request.body.length)
    told.discard(None)
    if len(told) > 1:
        raise InconsistentLength(f"the upload cannot have {' and '.join(map(str, sorted(told, key=str)))} bytes")
    length = told.pop() if told else None
    if length is not None and start + (request.body.length or 0) > length:
        raise InconsistentLength(f"the upload is to have {length} bytes; this body goes beyond")
    return length


def check_limits(settings: Settings, request: Append, start: int, length: int | None) -> None:
    """Raises `TooLarge`, `TooSmall`, before anything is written."""
    n_bytes = request.body.length
    check_size(settings, length, start + (n_bytes or 0))
    Metered(request.body, settings.max_append)
    is_last = request.complete or (n_bytes is not None and start + n_bytes == length)
    if n_bytes is not None and not is_last:
        check_least(settings, n_bytes)


def check_least(settings: Settings, n_bytes: int) -> None:
    """Raises `TooSmall` for a body of so many bytes that is not the last one."""
    if 0 < n_bytes < settings.min_append:
        raise TooSmall(f"bodies must have {settings.min_append} bytes at least, but for the last")


def check_size(settings: Settings, *sizes: int | None) -> None:
    """Raises `TooLarge` if any of these is more than an upload may have."""
    if settings.max_size and any(size is not None and size > settings.max_size for size in sizes):
        raise TooLarge(f"an upload may have {settings.max_size} bytes at most", max_bytes=settings.max_size)
