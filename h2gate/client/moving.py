"""How each file is moved: small ones at once, larger ones so that they can be gone on with."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from h2gate.client.asking import Asker
from h2gate.client.begun import Begun
from h2gate.client.compressing import Compression
from h2gate.client.failures import LocalFile
from h2gate.client.fetching import RESUMABLE_BYTES, Fetching
from h2gate.client.journal import Claim, Journal
from h2gate.client.listener import Item, Listener, Outcome
from h2gate.client.local import PIECE, read_small
from h2gate.client.retrying import Move, Once
from h2gate.client.sending import Sending
from h2gate.client.source import FileSource, Source
from h2gate.client.streams import Reader, StandardInput, StreamSource
from h2gate.errors import DigestMismatch, Forbidden, UnsupportedMediaType
from h2gate.fields import digest_field, digests, http_date
from h2gate.lane import Lane

SMALL = 1 << 16
"""A file of so many bytes is read at once and sent with its digest as a field instead of a trailer."""


class Mover:
    """`put`, `get` and `delete` begin a move."""

    def __init__(
        self,
        asker: Asker,
        listener: Listener,
        journal: Journal,
        compression: Compression,
        *,
        digest: bool = True,
        piece: int = PIECE,
    ) -> None:
        """Without `digest` none is sent: there are servers that end a connection over trailers. `piece`: bytes that are
        read at once of a large file."""
        self._piece = piece
        self._digest = digest
        self._compression = compression
        self._asker = asker
        self._listener = listener
        self._journal = journal
        self._reader: Lane[Path, tuple[bytes, bytes, str]] | None = None

    async def close(self) -> None:
        if self._reader is not None:
            await self._reader.close()

    @property
    def remembers(self) -> bool:
        """Whether another run is to go on with what this one begins."""
        return self._journal.is_kept

    def put(self, item: Item, begun: Begun | None = None) -> Move:
        """Begin to send a file, or standard input. `begun`: what is known of uploads that an earlier run began."""
        if item.local is None or item.size is None:
            return self.put_stream(item, StandardInput())
        if item.size <= SMALL:
            return Once(item, self._put_small)
        resumable = item.size >= RESUMABLE_BYTES
        claim = self._claim("put", item, item.local) if resumable else None
        source = FileSource(item.local, item.size, self._progress(item), self._piece)
        sending = self._sending(item, source, claim, self._compression, begun)
        return sending if resumable else sending.whole()

    def put_stream(self, item: Item, reader: Reader) -> Move:
        """Begin to send what cannot be read again."""
        return self._sending(item, StreamSource(reader, self._progress(item)))

    def _progress(self, item: Item) -> Callable[[int], None]:
        return lambda n_bytes: self._listener.moved(item, n_bytes)

    def _sending(
        self,
        item: Item,
        source: Source,
        claim: Claim | None = None,
        compression: Compression | None = None,
        begun: Begun | None = None,
    ) -> Sending:
        return Sending(
            item,
            source,
            _described(item),
            self._asker,
            self._listener,
            digest=self._digest,
            claim=claim,
            compression=compression,
            begun=begun,
        )

    def get(self, item: Item) -> Move:
        is_large = item.local is not None and (item.size is None or item.size >= RESUMABLE_BYTES)
        claim = self._claim("get", item, item.local) if item.local is not None and is_large else None
        return Fetching(item, self._asker, self._listener, claim)

    def delete(self, item: Item) -> Move:
        return Once(item, self._delete)

    def _claim(self, verb: str, item: Item, path: Path) -> Claim | None:
        """That nothing can be remembered is no reason not to move it."""
        try:
            return self._journal.claim(verb, item.url, path)
        except OSError as error:
            self._listener.noted(f"{item.name}: another run could not go on with it: {error}")
            return None

    async def _put_small(self, item: Item) -> Outcome:
        assert item.local is not None
        if self._reader is None:
            self._reader = Lane("h2gate-reader", _read_batch)
        data, digest, modified = await self._reader.submit(item.local)
        headers = {"last-modified": modified, **_described(item)}
        coding, body = await self._compression.encoded(item.url, data)
        headers |= {"content-encoding": coding} if coding else {}
        headers |= {"content-length": str(len(body))}
        headers |= {"unencoded-digest" if coding else "repr-digest": digest_field("sha-256", digest)}
        try:
            response = await self._asker.ask("PUT", item.url, headers, stream=httpx.ByteStream(body))
        except UnsupportedMediaType:
            if not coding:
                raise
            self._compression.not_taken()
            return await self._put_small(item)
        except Forbidden:
            if not await self._asker.holds(item.url, len(data), _in_hand(digest)):
                raise
            return Outcome(item, len(data), sha256=digest.hex(), status=200)
        self._listener.moved(item, len(data))
        return _stored(item, response, len(data), digest)

    async def _delete(self, item: Item) -> Outcome:
        response = await self._asker.ask("DELETE", item.url, {})
        return Outcome(item, status=response.status_code)


def _in_hand(digest: bytes) -> Callable[[], Awaitable[bytes]]:
    """One that need not be computed any more."""

    async def found() -> bytes:
        return digest

    return found


def _read_batch(paths: list[Path]) -> list[tuple[bytes, bytes, str] | BaseException]:
    results: list[tuple[bytes, bytes, str] | BaseException] = []
    for path in paths:
        try:
            data, status = read_small(path)
            results.append((data, hashlib.sha256(data).digest(), http_date(status.st_mtime_ns)))
        except LocalFile as error:
            results.append(error)
    return results


def _described(item: Item) -> dict[str, str]:
    kind, coding = mimetypes.guess_type(item.local.name if item.local is not None else item.url)
    return {"content-type": kind if kind and not coding else "application/octet-stream"}


def _stored(item: Item, response: httpx.Response, n_bytes: int, digest: bytes) -> Outcome:
    stated = digests(response.headers.get("repr-digest", ""), "Repr-Digest").get("sha-256")
    if stated is not None and stated != digest:
        raise DigestMismatch(f"{item.url}: what the gateway stored does not have the digest of what was sent")
    receipt = response.headers.get("upload-receipt", "")
    return Outcome(item, n_bytes, sha256=digest.hex(), status=response.status_code, receipt=receipt)
