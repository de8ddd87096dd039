"""One file, one attempt: sent or fetched, hashed on its way, the two ends' digests compared."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from pathlib import Path

import httpx

from h2gate.client.asking import Asker, refusal
from h2gate.client.exchange import TRAILERS
from h2gate.client.failures import LocalFile
from h2gate.client.listener import Item, Listener, Outcome
from h2gate.client.local import PIECE, FileBody, FileSink, StandardInput, StandardOutput, read_small
from h2gate.errors import DigestMismatch
from h2gate.fields import digest_field, digests, http_date, parse_date
from h2gate.lane import Lane

SMALL = 1 << 16
"""A file of so many bytes is read at once and sent with its digest as a field instead of a trailer."""


class Mover:
    """`put`, `get` and `delete` return the outcome of a success and raise what failed."""

    def __init__(self, asker: Asker, listener: Listener, *, digest: bool = True) -> None:
        """Without `digest` none is sent: there are servers that end a connection over trailers."""
        self._digest = digest
        self._asker = asker
        self._listener = listener
        self._reader: Lane[Path, tuple[bytes, bytes, str]] | None = None

    async def close(self) -> None:
        if self._reader is not None:
            await self._reader.close()

    async def put(self, item: Item) -> Outcome:
        if item.local is not None and item.size is not None and item.size <= SMALL:
            return await self._put_small(item, item.local)
        moved = 0

        def progress(n_bytes: int) -> None:
            nonlocal moved
            moved += n_bytes
            self._listener.moved(item, n_bytes)

        headers = _described(item)
        body: FileBody | StandardInput
        if item.local is None or item.size is None:
            body = StandardInput(progress)
            headers["transfer-encoding"] = "chunked"
        else:
            status = await asyncio.to_thread(item.local.stat)
            body = FileBody(item.local, item.size, progress)
            headers |= {"content-length": str(item.size), "last-modified": http_date(status.st_mtime_ns)}
        trailers = {}
        if self._digest:
            headers["trailer"] = "repr-digest"
            trailers = {TRAILERS: lambda: [("repr-digest", digest_field("sha-256", body.digest))]}
        response = await self._asker.ask("PUT", item.url, headers, stream=body, extensions=trailers)
        return _stored(item, response, moved, body.digest)

    async def _put_small(self, item: Item, path: Path) -> Outcome:
        if self._reader is None:
            self._reader = Lane("h2gate-reader", _read_batch)
        data, digest, modified = await self._reader.submit(path)
        headers = {
            "content-length": str(len(data)),
            "last-modified": modified,
            "repr-digest": digest_field("sha-256", digest),
            **_described(item),
        }
        response = await self._asker.ask("PUT", item.url, headers, stream=httpx.ByteStream(data))
        self._listener.moved(item, len(data))
        return _stored(item, response, len(data), digest)

    async def get(self, item: Item) -> Outcome:
        request = self._asker.request("GET", item.url, {"accept-encoding": "identity"})
        response = await self._asker.stream(request)
        try:
            if response.status_code != 200:
                await response.aread()
                raise refusal(response)
            with FileSink(item.local) if item.local is not None else StandardOutput() as sink:
                moved = await self._save(item, response, sink)
                expected = digests(response.headers.get("repr-digest", ""), "Repr-Digest").get("sha-256")
                if expected is not None and expected != sink.digest:
                    raise DigestMismatch(f"{item.url}: what came does not have the digest the gateway stated")
                modified = response.headers.get("last-modified")
                await sink.commit(parse_date(modified, "Last-Modified") if modified else None)
                return Outcome(item, moved, sha256=sink.digest.hex(), status=200)
        finally:
            await response.aclose()

    async def _save(self, item: Item, response: httpx.Response, sink: FileSink | StandardOutput) -> int:
        moved, pieces, waiting = 0, [], 0
        async for data in response.aiter_raw():
            pieces.append(data)
            waiting += len(data)
            moved += len(data)
            self._listener.moved(item, len(data))
            if waiting >= PIECE:
                await sink.write(b"".join(pieces))
                pieces, waiting = [], 0
        await sink.write(b"".join(pieces))
        return moved

    async def delete(self, item: Item) -> Outcome:
        response = await self._asker.ask("DELETE", item.url, {})
        return Outcome(item, status=response.status_code)


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
    return Outcome(item, n_bytes, sha256=digest.hex(), status=response.status_code)
