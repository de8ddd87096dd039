"""What an upload undergoes: received, verified, recorded, shown. Here ledger and storage are kept in agreement.

The order is what makes a crash harmless: the bytes are durable under a key, then the record is, then the file is shown
under its path, then the sender is told. Whatever stopped before the end was told to nobody, and `recover` drops it.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from h2gate.codec.digest import ALGORITHMS, Hashes, verify
from h2gate.errors import BadField, NotFound, OffsetConflict
from h2gate.fields import digest_field, digests, opaque
from h2gate.ledger.base import Ledger
from h2gate.storage.base import Entry, Storage
from h2gate.transfer.pipeline import Metered
from h2gate.upload import Body, Identity, Upload

_HASHES_KEPT = 4096
_DIGEST_FIELDS = ("repr-digest", "content-digest")


@dataclass(frozen=True, slots=True)
class File:
    """A visible file and what is known of it."""

    path: str
    identity: Identity
    upload: Upload | None
    """Its record; None if it came into the folder some other way."""

    @property
    def size(self) -> int:
        """Bytes that are acknowledged: those of the record while something is being appended."""
        return self.identity.size

    @property
    def etag(self) -> str:
        """A strong entity tag: of the content where its digest is known, else of inode, size and time."""
        if self.upload is not None and self.upload.sha256 is not None:
            return f'"{opaque(self.upload.sha256[:18])}"'
        identity = self.identity
        return f'"{identity.inode:x}-{identity.size:x}-{identity.modified_ns:x}"'

    @property
    def repr_digest(self) -> str | None:
        """The value of `Repr-Digest`, where the digest is known."""
        if self.upload is None or self.upload.sha256 is None:
            return None
        return digest_field("sha-256", self.upload.sha256)

    @property
    def fields(self) -> Mapping[str, str]:
        """The fields that came with it."""
        return self.upload.fields if self.upload is not None else {}


Precondition = Callable[[File | None], None]
"""Raises `PreconditionFailed` for the file that is there now (None: nothing is)."""


class Uploads:
    """All that the dialects may ask for. Raises what storage and ledger raise, besides what is said below."""

    def __init__(self, storage: Storage, ledger: Ledger, *, digest: bool, max_body: int) -> None:
        self._storage = storage
        self._ledger = ledger
        self._names = {"sha-256"} if digest else set()
        self._max_body = max_body
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
        may_replace: bool = True,
    ) -> tuple[File, bool]:
        """Store a whole file; returns it and whether it replaced another.

        `expected` digests by RFC 9530's names; the body's trailers may bring more. Raises `DigestMismatch`, `TooLarge`,
        `BodyCut`, `PeerGone`, `PreconditionFailed`, `Conflict`; nothing is shown or kept then.
        """
        metered = Metered(body, self._max_body)
        if precondition is not None:
            precondition(await self.find(path))
        key = secrets.token_hex(12)
        hashes = Hashes(self._names | (expected.keys() & ALGORITHMS.keys()))
        identity = await self._storage.stage(key, metered, hashes.taps, modified_ns=modified_ns)
        try:
            await self._verify_staged(key, hashes, expected, metered)
            if precondition is not None:
                precondition(await self.find(path))
            upload = Upload(
                id=key,
                path=path,
                identity=identity,
                sha256=hashes.value("sha-256"),
                fields=fields,
                completed_at=time.time(),
            )
            await self._ledger.add(upload)
        except BaseException:
            await self._storage.discard(key)
            raise
        try:
            replaced = await self._storage.commit(key, path, may_replace=may_replace)
        except BaseException:
            await self._storage.discard(key)
            await self._ledger.remove(key)
            raise
        if replaced:
            await self._ledger.forget(path, but=key)
        self._remember(path, identity, hashes.running)
        return File(path, identity, upload), replaced

    async def _verify_staged(self, key: str, hashes: Hashes, expected: Mapping[str, bytes], body: Body) -> None:
        wanted = {**expected, **trailer_digests(body.trailers)}
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
    ) -> File:
        """Write `body` behind a file, at `offset` if given: all of it or nothing.

        `announced` says that digests may come as trailers. Until it is whole and durable, readers see the file as it
        was, and a crash in the middle leaves it as it was. Raises `OffsetConflict` when the file does not end at
        `offset`, `Locked`, `NotFound`, and whatever `put` raises.
        """
        file = await self.find(path)
        if precondition is not None:
            precondition(file)
        if file is None:
            raise NotFound(f"there is no /{path}")
        if offset is not None and offset != file.size:
            raise OffsetConflict(f"/{path} has {file.size} bytes", offset=file.size)
        metered = Metered(body, self._max_body)
        names = set(ALGORITHMS) if announced else self._names | (expected.keys() & ALGORITHMS.keys())
        hashes = Hashes(names, await self._whole_hash(file))

        def check() -> None:
            wanted = {**expected, **trailer_digests(metered.trailers)}
            for name in wanted.keys() & ALGORITHMS.keys():
                found = hashes.value(name)
                if found is None:
                    raise BadField(f"a {name} digest in the trailers must be announced by the Trailer field")
                verify(wanted, name, found)

        upload = await self._begin_append(file)
        identity = file.identity
        sha256 = upload.sha256
        try:
            identity = await self._storage.extend(path, file.identity, metered, hashes.taps, check)
            sha256 = hashes.whole.digest() if hashes.whole is not None else None
        finally:
            upload = await self._ledger.save(
                replace(upload, state="complete", identity=identity, sha256=sha256, completed_at=time.time())
            )
        self._remember(path, identity, hashes.whole)
        return File(path, identity, upload)

    async def _begin_append(self, file: File) -> Upload:
        """Record the size that holds if this is cut, before a byte is written."""
        upload = file.upload
        if upload is None:
            upload = Upload(id=secrets.token_hex(12), path=file.path, state="appending", identity=file.identity)
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
        try:
            identity = await self._storage.stat(path)
        except NotFound:
            return None
        upload = await self._ledger.at(path, identity)
        if upload is not None and upload.state == "appending":
            identity = upload.identity
        return File(path, identity, upload)

    def read(self, file: File, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Bytes of the file, `stop` exclusive."""
        return self._storage.read(file.path, start, stop)

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
        await self._storage.remove(path)
        await self._ledger.forget(path, but=None)

    async def entries(self, folder: str) -> Sequence[tuple[Entry, File | None]]:
        """The names in a folder, sorted, each file with what is known of it (None for a folder)."""
        entries = await self._storage.entries(folder)
        records = {(each.path, each.identity.inode): each for each in await self._ledger.under(folder)}
        prefix = f"{folder}/" if folder else ""
        return [(each, None if each.is_folder else _file(prefix + each.name, each, records)) for each in entries]

    async def recover(self) -> tuple[int, int]:
        """After a start, before anything else: drop what was coming in (nobody was told that it had arrived) and cut
        back what was being appended. Returns how many of each."""
        dropped = await self._storage.staged()
        for key in dropped:
            await self._storage.discard(key)
            await self._ledger.remove(key)
        cut = await self._ledger.in_state("appending")
        for upload in cut:
            identity = await self._storage.restore(upload.path, upload.identity)
            if identity is None:
                await self._ledger.remove(upload.id)
            else:
                await self._ledger.save(replace(upload, state="complete", identity=identity))
        return len(dropped), len(cut)


def trailer_digests(trailers: Sequence[tuple[bytes, bytes]]) -> dict[str, bytes]:
    """The digests among the trailers. Raises `BadField`."""
    found: dict[str, bytes] = {}
    for name, value in trailers:
        field = name.decode("latin1").lower()
        if field in _DIGEST_FIELDS:
            found |= digests(value.decode("latin1"), field)
    return found


def _file(path: str, entry: Entry, records: Mapping[tuple[str, int], Upload]) -> File:
    upload = records.get((path, entry.identity.inode))
    if upload is not None and upload.state == "appending":
        return File(path, upload.identity, upload)
    return File(path, entry.identity, upload if upload is not None and upload.identity == entry.identity else None)
