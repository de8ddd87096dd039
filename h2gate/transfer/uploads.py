"""What an upload undergoes: received, verified, recorded, shown. Here ledger and storage are kept in agreement.

The order is what makes a crash harmless: the bytes are durable under a key, then the record is, then the file is shown
under its path, then the sender is told. Whatever stopped before the end was told to nobody, and `recover` drops it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from h2gate.codec.digest import ALGORITHMS, Hashes, merged, trailer_digests, verify
from h2gate.errors import BadField, Conflict, GateError, NotFound, OffsetConflict
from h2gate.ledger.base import Ledger
from h2gate.storage.base import Extension, Storage
from h2gate.transfer.decoding import Decoding
from h2gate.transfer.file import File, Precondition
from h2gate.transfer.grant import FREELY, Grant, forbidden, telling_why
from h2gate.transfer.pipeline import Metered, paid_if_wasted
from h2gate.transfer.quotas import Quotas
from h2gate.upload import Body, Identity, Upload, fresh_id

_HASHES_KEPT = 4096
_LOOKS = 3
_SMALL_BYTES = 128 << 10
"""So many are here before it is known whether they may become a file; looking first would cost more."""


class Uploads:
    """All that the dialects may ask for. Raises what storage and ledger raise, besides what is said below."""

    def __init__(
        self, storage: Storage, ledger: Ledger, decoding: Decoding, quotas: Quotas, *, digest: bool, max_body: int
    ) -> None:
        self._storage = storage
        self.quotas = quotas
        self._ledger = ledger
        self._names = {"sha-256"} if digest else set()
        self._max_body = max_body
        self.decoding = decoding
        """For bodies that come coded: `put` and `append` take them decoded."""
        self._hashes: OrderedDict[str, tuple[Identity, Any]] = OrderedDict()
        """Running SHA-256 of files seen lately, so that an append need not read the file again."""

    async def put(
        self,
        path: str,
        body: Body,
        *,
        fields: Mapping[str, str],
        expected: Mapping[str, bytes],
        modified_ns: int | None,
        precondition: Precondition | None = None,
        is_awaited: bool = False,
        grant: Grant = FREELY,
        alone: bool = True,
    ) -> tuple[File, bool]:
        """Store a whole file; returns it and whether it replaced another.

        `is_awaited`: the sender waits to be told that the body is wanted. What cannot become the file is refused before
        that, and before anything large is asked for. Not `alone`: it is one of many that come as one upload.
        `expected` digests by RFC 9530's names; the body's trailers may bring more. Raises `DigestMismatch`, `TooLarge`,
        `BodyCut`, `PeerGone`, `PreconditionFailed`, `Conflict`, and for the `grant` `Forbidden` and `Unauthenticated`,
        and what `Quotas` do; nothing is shown or kept then.
        """
        metered = Metered(body, self._max_body)
        await self.may_replace(path, precondition, allowed=grant.may_replace)
        if is_awaited or body.length is None or body.length > _SMALL_BYTES:
            await self._storage.look_ahead(path, body.length)
        key = fresh_id()
        hashes = Hashes(self._names | (expected.keys() & ALGORITHMS.keys()))
        taking = self.quotas.taking(key, path, metered, grant.principal, is_awaited=is_awaited, alone=alone)
        with paid_if_wasted(metered):
            async with taking as taken:
                identity = await self._storage.stage(key, taken, hashes.taps, modified_ns=modified_ns)
                now, sha256 = time.time(), hashes.value("sha-256")
                upload = Upload(id=key, path=path, identity=identity, sha256=sha256, fields=fields, completed_at=now)
                return await self._put(upload, taken, hashes, expected, precondition, grant)

    async def _put(
        self,
        upload: Upload,
        body: Body,
        hashes: Hashes,
        expected: Mapping[str, bytes],
        precondition: Precondition | None,
        grant: Grant,
    ) -> tuple[File, bool]:
        """What is staged becomes a file, or goes."""
        path = upload.path
        try:
            await self._verify_staged(upload.id, hashes, expected, body)
            await grant.still_holds()
            may_replace: bool | Identity = grant.may_replace
            if precondition is not None:
                may_replace = await self.may_replace(path, precondition, allowed=grant.may_replace)
            await self._add(upload)
            with telling_why(path, may_replace=grant.may_replace):
                replaced = await self.show(upload, may_replace, hashes.running)
        except BaseException:
            await self._storage.discard(upload.id)
            raise
        return File(path, upload.identity, upload), replaced

    async def _add(self, upload: Upload) -> None:
        """Record it. Who is cancelled meanwhile has recorded it all the same, and would leave it counted for ever."""
        try:
            await self._ledger.add(upload)
        except asyncio.CancelledError:
            with suppress(GateError):
                await self._ledger.remove(upload.id)
            raise

    async def show(self, upload: Upload, may_replace: bool | Identity, running: Any, *, partial: bool = False) -> bool:
        """Show under its path what is durable under the id of `upload`, which is recorded; whether it replaced a file.

        `running` is its SHA-256, for later appends; `partial` as for `Storage.commit`, whose errors this raises: the
        record is gone then, unless the file was shown nevertheless.
        """
        try:
            commit = self._storage.commit(upload.id, upload.path, may_replace=may_replace, partial=partial)
            replaced = await commit
        except BaseException:
            await self._forget_unless_shown(upload.path, upload.identity, upload.id)
            raise
        if replaced is not None:
            await self._forget(upload.path, replaced, upload.completed_at)
        self._remember(upload.path, upload.identity, running)
        return replaced is not None

    async def may_replace(
        self, path: str, precondition: Precondition | None, *, allowed: bool = True
    ) -> bool | Identity:
        """Check the condition for the file that is there; if it holds, it holds for that file only. Where it is not
        `allowed` to replace one, raises `Forbidden` if there is."""
        if precondition is None:
            if not allowed:
                await self._check_free(path)
            return allowed
        file = await self.find(path)
        precondition(file)
        if file is not None and not allowed:
            raise forbidden(path)
        return file.identity if file is not None else False

    async def _check_free(self, path: str) -> None:
        with suppress(NotFound):
            await self._storage.stat(path)
            raise forbidden(path)

    async def _forget(self, path: str, gone: Identity, before: float) -> None:
        """Remove the record of a file that is gone. Where that fails it does no harm: it is about no file."""
        with suppress(GateError):
            await self._ledger.forget(path, gone.inode, before=before)

    async def _forget_unless_shown(self, path: str, identity: Identity, key: str) -> None:
        """Remove the record of a file that was not shown, so far as is known."""
        file = await self.find(path)
        if file is None or file.identity.inode != identity.inode:
            await self._ledger.remove(key)

    async def _verify_staged(self, key: str, hashes: Hashes, expected: Mapping[str, bytes], body: Body) -> None:
        wanted = merged(expected, trailer_digests(body.trailers))
        for name in wanted.keys() & ALGORITHMS.keys():
            found = hashes.value(name)
            if found is None:  # named in a trailer only: the one case that reads the file again
                hasher = hashlib.new(ALGORITHMS[name])
                await self._storage.feed_staged(key, hasher)
                found = hasher.digest()
            verify(wanted, name, found)

    async def append(
        self,
        path: str,
        offset: int | None,
        body: Body,
        *,
        expected: Mapping[str, bytes],
        announced: bool = False,
        precondition: Precondition | None = None,
        grant: Grant = FREELY,
    ) -> File:
        """Write `body` behind a file, at `offset` if given: all of it or nothing.

        `announced` says that digests may come as trailers. Until it is whole and durable, readers see the file as it
        was, and a crash in the middle leaves it as it was. Raises `OffsetConflict` when the file does not end at
        `offset`, `Locked`, `NotFound`, and whatever `put` raises.
        """
        metered = Metered(body, self._max_body)
        try:
            async with self._storage.extending(path) as extension:
                file = await self._as_acknowledged(path, extension)
                if precondition is not None:
                    precondition(file)
                if offset is not None and offset != file.size:
                    raise OffsetConflict(f"/{path} has {file.size} bytes", offset=file.size)
                names = set(ALGORITHMS) if announced else self._names | (expected.keys() & ALGORITHMS.keys())
                hashes = Hashes(names, await self._whole_hash(file))
                key = file.upload.id if file.upload is not None else fresh_id()
                with paid_if_wasted(metered):
                    async with self.quotas.extending(key, path, file.size, metered, grant.principal) as taken:
                        return await self._append(key, file, extension, taken, hashes, expected, grant)
        except NotFound:
            if precondition is not None:
                precondition(None)
            raise

    async def _as_acknowledged(self, path: str, extension: Extension) -> File:
        """The file that is held, without what an append left behind that ended badly and could not clean up."""
        file = await self.find(path)
        if file is None or file.identity.inode != extension.identity.inode:
            raise Conflict(f"/{path} has changed")
        if file.upload is not None and file.upload.state == "appending":
            await extension.cut(file.identity)
        elif file.identity != extension.identity:
            raise Conflict(f"/{path} has changed")
        return file

    async def _append(
        self,
        key: str,
        file: File,
        extension: Extension,
        body: Body,
        hashes: Hashes,
        expected: Mapping[str, bytes],
        grant: Grant,
    ) -> File:
        """The record says which size holds, before a byte is written and until all are durable."""

        def check() -> None:
            wanted = merged(expected, trailer_digests(body.trailers))
            for name in wanted.keys() & ALGORITHMS.keys():
                found = hashes.value(name)
                if found is None:
                    raise BadField(f"a {name} digest in the trailers must be announced by the Trailer field")
                verify(wanted, name, found)

        upload = await self._begin_append(key, file)
        try:
            identity = await extension.write(body, hashes.taps, check)
            await grant.still_holds()
        except BaseException:
            await extension.cut(file.identity)
            await self._ledger.save(replace(upload, state="complete"))
            raise
        sha256 = hashes.whole.digest() if hashes.whole is not None else None
        upload = await self._ledger.save(
            replace(upload, state="complete", identity=identity, sha256=sha256, completed_at=time.time())
        )
        self._remember(file.path, identity, hashes.whole)
        return File(file.path, identity, upload)

    async def _begin_append(self, key: str, file: File) -> Upload:
        """Record the size that holds if this is cut, before a byte is written."""
        upload = file.upload
        if upload is None:
            upload = Upload(id=key, path=file.path, state="appending", identity=file.identity)
            await self._ledger.add(upload)
            return upload
        return await self._ledger.save(replace(upload, state="appending"))

    async def _whole_hash(self, file: File) -> Any:
        """A running SHA-256 of the file as it is; reads it unless it was written or appended to lately."""
        if not self._names:
            return None
        kept = self._hashes.get(file.path)
        if kept is not None and kept[0] == file.identity:
            return kept[1].copy()
        hasher = hashlib.sha256()
        await self._storage.feed(file.path, file.size, hasher)
        return hasher

    def _remember(self, path: str, identity: Identity, running: Any) -> None:
        if running is not None:
            self._hashes[path] = (identity, running)
            self._hashes.move_to_end(path)
            if len(self._hashes) > _HASHES_KEPT:
                self._hashes.popitem(last=False)

    async def find(self, path: str) -> File | None:
        """The file that is visible at `path`, with its record; None when there is none (or a folder)."""
        identity = None
        for _ in range(_LOOKS):
            seen = identity
            try:
                identity = await self._storage.stat(path)
            except NotFound:
                return None
            upload = await self._ledger.at(path, identity)
            if upload is not None:
                return File(path, upload.identity, upload)
            if identity == seen:
                break  # it came some other way; else an append may have ended between looking here and there
        return File(path, identity, None) if identity is not None else None

    def read(self, file: File, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Bytes of the file, `stop` exclusive. Raises `Conflict` at the first step if it was replaced meanwhile."""
        return self._storage.read(file.path, file.identity.inode, start, stop)

    async def digest(self, file: File) -> bytes:
        """The file's SHA-256: the record's, or computed by reading it."""
        if file.upload is not None and file.upload.sha256 is not None:
            return file.upload.sha256
        hasher = hashlib.sha256()
        await self._storage.feed(file.path, file.size, hasher)
        return hasher.digest()

    async def remove(self, path: str, precondition: Precondition | None = None) -> None:
        """Remove a file, or a folder that is empty. Raises `NotFound`, `Conflict`."""
        if precondition is not None:
            precondition(await self.find(path))
        now = time.time()
        await self._forget(path, await self._storage.remove(path), now)

    async def recover(self) -> tuple[int, int]:
        """After a start, before anything else: drop what was coming in (nobody was told that it had arrived) and cut
        back what was being appended. Returns how many of each."""
        dropped = await self._storage.staged()
        for key in dropped:
            await self._storage.discard(key)
            upload = await self._ledger.get(key)
            if upload is not None:
                await self._forget_unless_shown(upload.path, upload.identity, key)
        cut = await self._ledger.in_state("appending")
        for upload in cut:
            identity = await self._storage.restore(upload.path, upload.identity)
            if identity is None:
                await self._ledger.remove(upload.id)
            else:
                await self._ledger.save(replace(upload, state="complete", identity=identity))
        return len(dropped), len(cut)
