"""The end of an upload that came coded: what is in its unfinished file is decoded into another one beside it.

Its coded bytes stay until the file is shown, so a crash, a full disk or a refusal in the middle costs the decoding
only: it is done again. Offsets and lengths are of the coded bytes, for good.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from h2gate.codec.coding import parse
from h2gate.codec.digest import ALGORITHMS, parted, verify
from h2gate.codec.sha256 import Sha256
from h2gate.config import Settings
from h2gate.errors import BadField, StorageFailed
from h2gate.storage.base import Partial, Storage
from h2gate.transfer.decoding import Decoded, Decoding
from h2gate.transfer.quotas import Quotas
from h2gate.upload import Batch, Body, Resumable, Tap

FIELD = "content-encoding"
"""Under which the codings are kept with the fields of the upload; they are no field of the file."""
_SUFFIX = ".decoded"
_READ_BYTES = 1 << 20


def is_coded(record: Resumable) -> bool:
    """Whether the bytes of the upload are a coded form of the file."""
    return record.is_coded


def key_of_file(record: Resumable) -> str:
    """The storage's key of what becomes the file: its own, beside that of the coded bytes."""
    return record.id + _SUFFIX if is_coded(record) else record.id


def upload_of(key: str) -> str:
    """The id of the upload that an unfinished file belongs to."""
    return key.removesuffix(_SUFFIX)


def fields_of_file(record: Resumable) -> Mapping[str, str]:
    """Without the codings: the file has none."""
    return {name: value for name, value in record.fields.items() if name != FIELD}


def check_codings(record: Resumable, codings: Sequence[str]) -> None:
    """Raises `BadField` if a later request names others than the creation did; naming none says nothing."""
    known = record.fields.get(FIELD, "")
    if codings and ", ".join(codings) != known:
        raise BadField(f"Content-Encoding: that of this upload is {known or 'identity'}, since its creation")


class Undoing:
    def __init__(self, storage: Storage, decoding: Decoding, quotas: Quotas, settings: Settings) -> None:
        self._storage = storage
        self._decoding = decoding
        self._quotas = quotas
        self._settings = settings

    async def begin(self, record: Resumable) -> None:
        """An empty file for the decoded bytes, whatever there was of one."""
        key = key_of_file(record)
        await self._storage.drop(key)
        await self._storage.begin(key)

    async def decode(self, coded: Partial, record: Resumable, target: Partial) -> tuple[Sha256 | None, bytes | None]:
        """Decode all of `coded` into `target`, durably; its SHA-256, running and done, if it is kept or wanted.

        Raises `BadCoding`, `ExpandsTooMuch`, `TooLarge`, `Busy`, `OverQuota`, and `DigestMismatch` for what
        `Unencoded-Digest` said.
        """
        settings = self._settings
        _, wanted = parted(record.expected)
        names = wanted.keys() & ALGORITHMS.keys()
        sha256 = Sha256() if settings.digest or "sha-256" in names else None
        others = {name: hashlib.new(ALGORITHMS[name]) for name in names - {"sha-256"}}
        async with self._decoding.decoder(parse(record.fields[FIELD]), settings.max_size) as decoder:
            body = Decoded(_Stored(coded), decoder, self._decoding.threads)
            async with self._quotas.decoding(key_of_file(record), record, body) as taken:
                await _copy(taken, target, [*others.values(), *([sha256] if sha256 is not None else [])])
        found = {name: hasher.digest() for name, hasher in others.items()}
        if sha256 is not None:
            found["sha-256"] = sha256.digest()
        for name in names:
            verify(wanted, name, found[name])
        return sha256, found.get("sha-256")


async def _copy(body: Body, target: Partial, taps: Sequence[Tap]) -> None:
    target.begin(taps)
    is_over = False
    while not is_over:
        batch = await body.pull()
        is_over = batch.last
        if batch.n_bytes:
            await target.write(batch.chunks)
    await target.finish()


class _Stored:
    """The bytes of an unfinished file, as a `Body`."""

    trailers: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self, partial: Partial) -> None:
        self.length: int | None = partial.size
        self._partial = partial
        self._size = partial.size
        self._offset = 0

    async def pull(self) -> Batch:
        start, stop = self._offset, min(self._size, self._offset + _READ_BYTES)
        chunks = _Chunks()
        await self._partial.feed(start, stop, chunks)
        if chunks.n_bytes != stop - start:
            raise StorageFailed("the storage has lost bytes of the upload")
        self._offset = stop
        return Batch(chunks.found, chunks.n_bytes, stop == self._size)


class _Chunks:
    """A `Tap` that keeps what it sees."""

    def __init__(self) -> None:
        self.found: list[bytes] = []
        self.n_bytes = 0

    def update(self, data: memoryview | bytes, /) -> None:
        self.found.append(bytes(data))
        self.n_bytes += len(data)
