"""One body on its way into an unfinished upload: it lands on the disk while it streams, and what came before it broke
off is kept, durable and counted.

What a checkpoint recorded, somebody may have been told: it is never taken back. So a body has none where its end is to
say whether it counts, and one that turns out bad unannounced goes back to the last of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from h2gate.codec import checksum, digest
from h2gate.codec.sha256 import Sha256
from h2gate.config import Settings
from h2gate.errors import (
    TROUBLE,
    BadField,
    ChecksumMismatch,
    DigestMismatch,
    GateError,
    InconsistentLength,
    TooLarge,
    TooSmall,
)
from h2gate.transfer.appending import Append, agreed_length, check_least, check_limits
from h2gate.transfer.lease import Lease
from h2gate.transfer.pipeline import Metered
from h2gate.transfer.register import Register
from h2gate.upload import Batch, Resumable, Tap

log = logging.getLogger("h2gate.transfer")

_CHECKSUM_TRAILER = b"upload-checksum"
_DOES_NOT_COUNT = (BadField, ChecksumMismatch, DigestMismatch, TooSmall)
"""What is found at the end of a body that came whole, and makes it count for nothing."""


class _Exceeded(InconsistentLength):
    """More bytes came than the upload was to have: it is over."""


class Receiving:
    """One run of it. The upload is held; `record` agrees with the storage; `hasher` has seen all that is there."""

    def __init__(
        self,
        lease: Lease,
        record: Resumable,
        request: Append,
        hasher: Sha256 | None,
        register: Register,
        fail: Callable[[Resumable, str], Awaitable[Resumable]],
        settings: Settings,
        length_before: int | None,
    ) -> None:
        """`fail` ends an upload; `length_before` is the length that was known without this body."""
        self._lease = lease
        self._partial = lease.partial
        self._record = record
        self._request = request
        self._hasher = hasher
        self._register = register
        self._fail = fail
        self._settings = settings
        self._length_before = length_before
        self._start = lease.partial.size
        self._n_bytes = 0
        self._began = self._saved_at = time.monotonic()
        self._content = {
            name: hashlib.new(digest.ALGORITHMS[name]) for name in request.content.keys() & digest.ALGORITHMS
        }
        self._checksum = checksum.hasher(request.checksum.name) if request.checksum is not None else None

    async def run(self) -> tuple[Resumable, Mapping[str, bytes]]:
        """Pull the body to its end; the record then, and what is known of the whole's digests.

        Raises what pulling, storage and ledger raise, and `OffsetConflict`, `InconsistentLength`, `TooLarge`,
        `TooSmall`, `ChecksumMismatch`, `DigestMismatch`, `BadField`, `Superseded`.
        """
        length = agreed_length(self._request, self._start, self._record.length)
        check_limits(self._settings, self._request, self._start, length)
        verified = self._start if self._request.is_all_or_nothing else None
        if (length, verified) != (self._record.length, self._record.verified):
            self._record = await self._register.change(self._record, length=length, verified=verified)
        try:
            body = await self._receive(Metered(self._request.body, self._settings.max_append))
            whole = await self._verify(body)
            await self._partial.finish()
            self._check_end()
            if self.ends_upload:
                self._record = self._paced()
            else:
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
        if not self.ends_upload:
            check_least(self._settings, self._n_bytes)

    @property
    def _taps(self) -> list[Tap]:
        return [*self._content.values(), *(each for each in (self._hasher, self._checksum) if each is not None)]

    async def _receive(self, body: Metered) -> Metered:
        self._partial.begin(self._taps, body.length)
        while True:
            seconds = self._seconds_to_checkpoint()
            batch = await self._pulled(body, seconds)
            self._count(batch.n_bytes)
            if batch.n_bytes:
                await self._partial.write(batch.chunks)
            if batch.last:
                return body
            if self._seconds_to_checkpoint() == 0:
                await self._save()

    def _seconds_to_checkpoint(self) -> float | None:
        """None where none is needed: no bytes have come since the last, or they may not be told yet."""
        has_news = self._start + self._n_bytes > self._partial.size and self._n_bytes >= self._settings.min_append
        if not has_news or self._request.may_be_taken_back:
            return None
        return max(0.0, self._saved_at + self._settings.progress_seconds - time.monotonic())

    async def _pulled(self, body: Metered, seconds: float | None) -> Batch:
        """What comes next; nothing, if that does not come in so many seconds."""
        try:
            async with asyncio.timeout(seconds) as pause:
                return await self._lease.unless_asked(body.pull)
        except TimeoutError:
            if not pause.expired():
                raise
            return Batch([], 0, False)

    def _count(self, n_bytes: int) -> None:
        self._n_bytes += n_bytes
        end = self._start + self._n_bytes
        if self._record.length is not None and end > self._record.length:
            raise _Exceeded(f"the upload was to have {self._record.length} bytes, and has more")
        if self._settings.max_size and end > self._settings.max_size:
            max_size = self._settings.max_size
            raise TooLarge(f"an upload may have {max_size} bytes at most", max_bytes=max_size)

    async def _save(self) -> None:
        """A checkpoint: all that came so far is durable, and the sender is told."""
        self._saved_at = time.monotonic()
        await self._partial.finish()
        self._partial.begin(self._taps)
        await self._change()
        if self._request.progress is not None:
            progress, size = self._request.progress, self._partial.size
            await self._lease.unless_asked(lambda: progress(size))

    def _paced(self) -> Resumable:
        """The record with the pace of this body."""
        rate = (self._partial.size - self._start) / max(time.monotonic() - self._began, 1e-3)
        return replace(self._record, bytes_per_second=rate)

    async def _change(self, **changes: Any) -> None:
        """Record the size that is durable, and the hash of just these bytes."""
        size = self._partial.size
        if self._hasher is not None and self._hasher.n_bytes == size:
            changes["hash_state"] = self._hasher.state()
        self._record = await self._register.change(self._paced(), offset=size, **changes)

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
            if isinstance(error, TROUBLE):
                await self._keep_what_is_safe()
            elif isinstance(error, _Exceeded):
                await self._fail(self._record, str(error))
            elif isinstance(error, _DOES_NOT_COUNT) or not counts:
                await self._take_back()
            elif not self._request.is_all_or_nothing:
                await self._partial.finish()
                await self._change()
        except GateError as second:
            log.warning("upload %s: after %r: %s", self._record.id, error, second)
            with suppress(GateError):
                await self._register.change(self._record, verified=self._record.offset)

    async def _take_back(self) -> None:
        """Drop what this body brought since the last checkpoint; if nothing stays of it, what it said of the length
        neither. The storage goes first: the record has never said more than is to stay."""
        kept = self._record.offset
        length = self._length_before if kept == self._start else self._record.length
        await self._partial.cut(kept)
        self._record = await self._register.change(self._record, verified=None, length=length)

    async def _keep_what_is_safe(self) -> None:
        """The storage or ledger has failed: the taps may have seen more than was written. Where a sync has failed, what
        was recorded before is all that is known to be on the disk."""
        self._hasher = None
        if self._partial.is_doubtful:
            await self._partial.cut(self._record.offset)
        if not self._request.is_all_or_nothing:
            await self._partial.sync()
            await self._change()
