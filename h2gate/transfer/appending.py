"""One body on its way into an unfinished upload: it lands on the disk while it streams, and what came before it broke
off is kept, durable and counted.

A body that brings a checksum of its own counts only once that is right (tus 1.0.0, checksum). One with a
`Content-Digest` that breaks off is kept: half of a body has no digest, and the whole upload may have one.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from h2gate.codec import checksum, digest
from h2gate.codec.checksum import Checksum
from h2gate.codec.sha256 import Sha256
from h2gate.config import Settings
from h2gate.errors import (
    ChecksumMismatch,
    DigestMismatch,
    GateError,
    InconsistentLength,
    LedgerFailed,
    OffsetConflict,
    StorageFailed,
    StorageFull,
    TooLarge,
    TooSmall,
)
from h2gate.transfer.lease import Lease
from h2gate.transfer.pipeline import Metered
from h2gate.transfer.register import Register
from h2gate.upload import Body, Resumable

log = logging.getLogger("h2gate.transfer")

_CHECKSUM_TRAILER = b"upload-checksum"


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
    whole: Mapping[str, bytes] = field(default_factory=dict)
    """Digests of the whole upload (`Repr-Digest`), and of what it decodes to (see `digest.unencoded`)."""
    codings: Sequence[str] = ()
    """What the request says that the upload is coded with, if it says so."""
    progress: Callable[[int], Awaitable[None]] | None = None
    """Called with the durable offset now and then."""

    @property
    def is_all_or_nothing(self) -> bool:
        return self.checksum is not None or self.checksum_follows


class _Exceeded(InconsistentLength):
    """More bytes came than the upload was to have: it is over."""


class Appending:
    """One run of it. The upload is held; `record` agrees with the storage; `hasher` has seen all that is there."""

    def __init__(
        self,
        lease: Lease,
        record: Resumable,
        request: Append,
        hasher: Sha256 | None,
        register: Register,
        fail: Callable[[Resumable, str], Awaitable[None]],
        pace: float,
    ) -> None:
        """`fail` ends an upload."""
        self._lease = lease
        self._partial = lease.partial
        self._record = self._begun = record
        self._request = request
        self._hasher = hasher
        self._register = register
        self._fail = fail
        self._pace = pace
        self._start = lease.partial.size
        self._n_bytes = 0
        self._began = time.monotonic()
        self._content = {
            name: hashlib.new(digest.ALGORITHMS[name]) for name in request.content.keys() & digest.ALGORITHMS
        }
        self._checksum = checksum.hasher(request.checksum.name) if request.checksum is not None else None

    async def run(self, settings: Settings) -> tuple[Resumable, Mapping[str, bytes]]:
        """Pull the body to its end; the record then, and what is known of the whole's digests.

        Raises what pulling, storage and ledger raise, and `OffsetConflict`, `InconsistentLength`, `TooLarge`,
        `TooSmall`, `ChecksumMismatch`, `DigestMismatch`, `Superseded`.
        """
        length = agreed_length(self._request, self._start, self._record.length)
        check_limits(settings, self._request, self._start, length)
        self._max_size = settings.max_size
        verified = self._start if self._request.is_all_or_nothing else None
        if (length, verified) != (self._record.length, self._record.verified):
            self._record = await self._register.change(self._record, length=length, verified=verified)
        try:
            body = await self._receive(Metered(self._request.body, settings.max_append))
            whole = await self._verify(body)
            await self._partial.finish()
            self._check_end()
            if not self.ends_upload:
                await self._change(verified=None)
        except BaseException as error:
            await self._settle(error)
            raise
        return self._record, whole

    @property
    def ends_upload(self) -> bool:
        """Once all has run: whether the upload is whole now."""
        complete = self._request.complete
        return self._partial.size == self._record.length if complete is None else complete

    def _check_end(self) -> None:
        length = self._record.length
        if self._request.complete and length is not None and length != self._partial.size:
            raise InconsistentLength(f"the upload was to have {length} bytes, not {self._partial.size}")

    async def _receive(self, body: Metered) -> Metered:
        taps = [*self._content.values(), *(each for each in (self._hasher, self._checksum) if each is not None)]
        self._partial.begin(taps, body.length)
        saved_at = self._began
        while True:
            batch = await self._lease.unless_asked(body.pull)
            self._count(batch.n_bytes)
            if batch.n_bytes:
                await self._partial.write(batch.chunks)
            if batch.last:
                return body
            now = time.monotonic()
            if now - saved_at >= self._pace and not (self._request.is_all_or_nothing or self._content):
                saved_at = now
                await self._save()

    def _count(self, n_bytes: int) -> None:
        self._n_bytes += n_bytes
        end = self._start + self._n_bytes
        if self._record.length is not None and end > self._record.length:
            raise _Exceeded(f"the upload was to have {self._record.length} bytes, and has more")
        if self._max_size and end > self._max_size:
            raise TooLarge(f"an upload may have {self._max_size} bytes at most", max_bytes=self._max_size)

    async def _save(self) -> None:
        """A checkpoint: what came so far is durable, and the sender is told."""
        await self._partial.sync()
        await self._change()
        if self._request.progress is not None:
            progress, size = self._request.progress, self._partial.size
            await self._lease.unless_asked(lambda: progress(size))

    async def _change(self, **changes: Any) -> None:
        """Record the size that is durable, and the hash of just these bytes."""
        size = self._partial.size
        if self._hasher is not None and self._hasher.n_bytes == size:
            changes["hash_state"] = self._hasher.state()
        rate = (size - self._start) / max(time.monotonic() - self._began, 1e-3)
        self._record = await self._register.change(self._record, offset=size, bytes_per_second=rate, **changes)

    async def _verify(self, body: Metered) -> Mapping[str, bytes]:
        """What the body brought to check itself by, trailers included. Raises `ChecksumMismatch`, `DigestMismatch`."""
        trailing = {name.lower(): value for name, value in body.trailers}
        content = digest.merged(self._request.content, digest.trailer_digests(body.trailers, "content-digest"))
        follows = trailing.get(_CHECKSUM_TRAILER)
        if follows is not None or content.keys() & digest.ALGORITHMS or self._checksum is not None:
            await self._partial.finish()
        for name in content.keys() & digest.ALGORITHMS.keys():
            digest.verify(content, name, await self._hashed(self._content.get(name), digest.ALGORITHMS[name]))
        if self._request.checksum is not None and self._checksum is not None:
            checksum.verify(self._request.checksum, self._checksum.digest())
        if follows is not None:
            expected = checksum.parse(follows.decode("latin1"))
            checksum.verify(expected, await self._hashed(None, expected.name))
        elif self._request.checksum_follows and self._request.checksum is None:
            raise ChecksumMismatch("a checksum was announced as a trailer and did not come")
        decoded = digest.unencoded(digest.trailer_digests(body.trailers, "unencoded-digest"))
        return digest.merged(self._request.whole, digest.trailer_digests(body.trailers, "repr-digest"), decoded)

    async def _hashed(self, running: Any, name: str) -> bytes:
        """The digest of this body; one that only a trailer names is computed by reading it back."""
        hasher = running
        if hasher is None:
            hasher = checksum.hasher(name)
            await self._partial.feed(self._start, self._partial.size, hasher)
        found: bytes = hasher.digest()
        return found

    async def _settle(self, error: BaseException) -> None:
        """Storage and ledger agree on what is kept; where not even that can be done, the next request does it."""
        try:
            self._record = await self._register.known(self._record.id)  # a change that was cancelled has happened
            counts = self._record.verified is None
            if isinstance(error, StorageFailed | StorageFull | LedgerFailed):
                await self._keep_what_is_safe()
            elif isinstance(error, _Exceeded):
                await self._fail(self._record, str(error))
            elif isinstance(error, ChecksumMismatch | DigestMismatch) or not counts:
                await self._take_back()
            elif not self._request.is_all_or_nothing:
                await self._partial.finish()
                await self._change()
        except GateError as second:
            log.warning("upload %s: after %r: %s", self._record.id, error, second)
            with suppress(GateError):
                await self._register.change(self._record, verified=self._record.offset)

    async def _take_back(self) -> None:
        """Drop what this body brought. The record goes first: it must not say more than the storage has."""
        before: dict[str, Any] = {"offset": self._start, "hash_state": self._begun.hash_state}
        if self._record.offset > self._start:
            self._record = await self._register.change(self._record, verified=self._start, **before)
        await self._partial.cut(self._start)
        self._record = await self._register.change(self._record, verified=None, **before)

    async def _keep_what_is_safe(self) -> None:
        """The storage or ledger has failed: the taps may have seen more than was written."""
        self._hasher = None
        if not self._request.is_all_or_nothing:
            await self._partial.sync()
            await self._change()


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
    if n_bytes and n_bytes < settings.min_append and not is_last:
        raise TooSmall(f"bodies must have {settings.min_append} bytes at least, but for the last")


def check_size(settings: Settings, *sizes: int | None) -> None:
    """Raises `TooLarge` if any of these is more than an upload may have."""
    if settings.max_size and any(size is not None and size > settings.max_size for size in sizes):
        raise TooLarge(f"an upload may have {settings.max_size} bytes at most", max_bytes=settings.max_size)
