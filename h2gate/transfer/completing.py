"""The end of a resumable upload: its bytes are all durable, they are verified, recorded, and shown as a file.

The order makes a crash harmless: the record says "completing", the file is shown, the record says "complete". What is
found "completing" is completed again; where the unfinished file is gone by then, it was shown. One that is coded says
"decoding" before that, and is decoded again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from h2gate.codec import digest
from h2gate.codec.sha256 import Sha256
from h2gate.config import Settings
from h2gate.errors import (
    TROUBLE,
    BadCoding,
    BadPath,
    CompletedUpload,
    Conflict,
    DigestMismatch,
    Forbidden,
    GateError,
    NotFound,
    PreconditionFailed,
    TooLarge,
)
from h2gate.storage.base import Partial, Storage
from h2gate.transfer import grant
from h2gate.transfer.file import File, conditional
from h2gate.transfer.register import Register
from h2gate.transfer.undoing import Undoing, fields_of_file, is_coded, key_of_file
from h2gate.transfer.uploads import Uploads
from h2gate.upload import Resumable, Upload


@dataclass(frozen=True, slots=True)
class Outcome:
    """An upload after a request for it."""

    upload: Resumable
    file: File | None = None
    """The file that it became just now."""
    sha256: bytes | None = None
    """Of the bytes so far, where it is known."""


class Completion:
    def __init__(self, storage: Storage, register: Register, uploads: Uploads, settings: Settings) -> None:
        self._storage = storage
        self._register = register
        self._uploads = uploads
        self._digest = settings.digest
        self._undoing = Undoing(storage, uploads.decoding, uploads.quotas, settings)

    async def complete(
        self,
        partial: Partial,
        record: Resumable,
        hasher: Sha256 | None = None,
        whole: Mapping[str, bytes] = MappingProxyType({}),
    ) -> Outcome:
        """Make the held upload the file it is to be; or, of a part of a concatenation, say that it is whole.

        `hasher` has seen all bytes (if not, they are read), `whole` are digests that came last. One that is found
        "completing" or "decoding" was verified before. Raises `DigestMismatch`, `BadCoding`, `TooLarge`: the upload has
        failed then; `PreconditionFailed`, `Forbidden`, `Conflict`, `BadPath` and what storage and ledger raise: the
        bytes are kept, and it may be tried again (a concatenation has failed, and its parts are kept).
        `CompletedUpload` when it is found to be so.
        """
        if record.state == "decoding":
            return await self._decode_and_show(partial, record)
        if record.state == "completing":
            if is_coded(record):
                return await self._show_decoded(record)
            return await self._shown(partial, record) or await self._show(partial, record, hasher)
        try:
            expected = digest.merged(record.expected, whole)
            sha256 = await self._verified(partial, hasher, expected, is_coded=is_coded(record))
        except DigestMismatch as error:
            await self.fail(record, str(error))
            raise
        size = partial.size
        whole_record = replace(record, offset=size, length=size, verified=None, sha256=sha256)
        if is_coded(record):
            changes: dict[str, Any] = {"expected": expected, "sha256": None, "hash_state": None}
            record = await self._register.change(whole_record, state="decoding", **changes)
            return await self._decode_and_show(partial, record)
        if record.is_part:
            state = hasher.state() if hasher is not None else None
            return Outcome(await self._register.change(whole_record, state="complete", hash_state=state), sha256=sha256)
        return await self._show(partial, whole_record, hasher)

    async def fail(self, record: Resumable, reason: str) -> Resumable:
        """The upload is over, and its bytes go. It must be held."""
        record = await self._register.change(record, state="failed", reason=reason, hash_state=None, verified=None)
        await self.drop(record)
        return record

    async def end(self, record: Resumable, state: str) -> None:
        """Somebody or its time ended it: that is the state. It must be held, or be complete."""
        await self._register.change(record, state=state, hash_state=None)
        await self.drop(record)

    async def drop(self, record: Resumable) -> None:
        """Remove what is left of its bytes."""
        for key in {key_of_file(record), record.id}:
            await self._storage.drop(key)

    async def _verified(
        self, partial: Partial, hasher: Sha256 | None, expected: Mapping[str, bytes], *, is_coded: bool
    ) -> bytes | None:
        """The SHA-256 of the bytes as they came, if it is kept or wanted. Raises `DigestMismatch`."""
        wanted, decoded = digest.parted(expected)
        if not is_coded:
            wanted = digest.merged(wanted, decoded)
        sha256 = None
        if hasher is not None and hasher.n_bytes == partial.size:
            sha256 = hasher.digest()
        elif self._digest and not is_coded:
            sha256 = await _read_digest(partial, "sha-256")
        for name in wanted.keys() & digest.ALGORITHMS.keys():
            found = sha256 if name == "sha-256" and sha256 is not None else await _read_digest(partial, name)
            digest.verify(wanted, name, found)
        return sha256

    async def _shown(self, partial: Partial, record: Resumable) -> Outcome | None:
        """A crash may have come between the two names of the file: it is shown, and looks unfinished still."""
        file = await self._uploads.find(record.path)
        if file is None or file.identity.inode != (await partial.stamp(None)).inode:
            return None
        await self._storage.confirm(record.path)
        await self.drop(record)
        return Outcome(await self._register.completed(record), file, record.sha256)

    async def _decode_and_show(self, coded: Partial, record: Resumable) -> Outcome:
        await self._undoing.begin(record)
        async with self._storage.holding(key_of_file(record)) as partial:
            try:
                hasher, sha256 = await self._undoing.decode(coded, record, partial)
            except (BadCoding, TooLarge, DigestMismatch) as error:
                await self.fail(record, str(error))
                raise
            except TROUBLE:
                with suppress(GateError):
                    await self._storage.drop(key_of_file(record))  # others may need the room meanwhile
                raise
            return await self._show(partial, replace(record, sha256=sha256), hasher)

    async def _show_decoded(self, record: Resumable) -> Outcome:
        """It was decoded before. Where that file is gone by now, it was shown. Raises `CompletedUpload` then."""
        async with AsyncExitStack() as stack:
            try:
                partial = await stack.enter_async_context(self._storage.holding(key_of_file(record)))
            except NotFound:
                await self._storage.confirm(record.path)
                await self.drop(record)
                await self._register.completed(record)
                raise CompletedUpload("the upload is complete", offset=record.offset) from None
            return await self._shown(partial, record) or await self._show(partial, record, None)

    async def _show(self, partial: Partial, record: Resumable, hasher: Sha256 | None) -> Outcome:
        """Where it is not known whether the file is shown, the record stays "completing"."""
        identity = await partial.stamp(record.modified_ns)
        try:
            allowed = grant.may_replace(record)
            condition = conditional(grant.fields(record))
            may_replace = await self._uploads.may_replace(record.path, condition, allowed=allowed)
            upload = Upload(
                id=key_of_file(record),
                path=record.path,
                identity=identity,
                sha256=record.sha256,
                fields=fields_of_file(record),
                completed_at=time.time(),
            )
            record = await self._register.change(record, showing=upload, state="completing")
            with grant.telling_why(record.path, may_replace=allowed):
                replaced = await self._uploads.show(upload, may_replace, hasher, partial=True)
        except (PreconditionFailed, Forbidden, Conflict, BadPath) as error:
            if record.parts:  # nobody can go on with it, and what it was made of is still there
                await self.fail(record, str(error))
                raise
            kept = None if is_coded(record) else record.sha256
            await self._register.change(record, state="receiving", sha256=kept)
            if is_coded(record):  # not before: where it is gone and the record says "completing", it was shown
                await self._storage.drop(key_of_file(record))
                await self._uploads.quotas.leave(key_of_file(record), None)
            raise
        if is_coded(record):
            await self._storage.drop(record.id)
        record = await self._register.completed(record, replaced=replaced)
        return Outcome(record, File(record.path, identity, upload), record.sha256)


async def _read_digest(partial: Partial, name: str) -> bytes:
    hasher = hashlib.new(digest.ALGORITHMS[name])
    await partial.feed(0, partial.size, hasher)
    return hasher.digest()
