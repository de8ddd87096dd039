"""Many small files in one request: a tar archive made while it is sent; each file is done when its line comes back.

So a file costs neither a round trip nor a stream of its own, and what breaks costs only the files not answered yet.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import unquote

import httpx

from h2gate.client.asking import Asker, refusal
from h2gate.client.compressing import SAMPLE, Compression
from h2gate.client.failures import LocalFile, from_httpx
from h2gate.client.listener import Item, Listener, Outcome
from h2gate.client.local import in_thread, read_small
from h2gate.codec import tar
from h2gate.codec.encoding import ENCODERS, Encoder, shrinks
from h2gate.errors import (
    BodyCut,
    DigestMismatch,
    Forbidden,
    GateError,
    Unauthenticated,
    UnsupportedMediaType,
    from_code,
)
from h2gate.fields import digests
from h2gate.lane import Lane

FEW = 16
"""Fewer files are sent one by one."""
MAX_FILES = 500
PIECE = 256 << 10
_READ_AT_ONCE = 64
ANSWER_TYPE = "application/x-ndjson"


class Bundler:
    """`put` sends the files of one bundle."""

    def __init__(self, asker: Asker, listener: Listener, compression: Compression) -> None:
        self._asker = asker
        self._listener = listener
        self._compression = compression
        self._reader: Lane[Item, _Read] = Lane("h2gate-bundler", lambda items: [_read(item) for item in items])

    async def close(self) -> None:
        await self._reader.close()

    async def put(self, items: Sequence[Item]) -> AsyncIterator[Outcome]:
        """An outcome for each file, as soon as it is known; those that were not answered have an error that may be
        retried. One that is refused because the credential was too old is sent once more. Raises
        `UnsupportedMediaType` when the other end takes no bundles: nothing was sent then."""
        for may_repeat in (True, False):
            bundle = _Bundle(items, self._reader, self._listener)
            error: GateError = BodyCut("the gateway did not answer for this file")
            try:
                async with aclosing(self._sent(bundle)) as outcomes:
                    async for outcome in outcomes:
                        yield outcome
            except httpx.HTTPError as broken:
                error = from_httpx(broken)
            except UnsupportedMediaType:
                raise
            except GateError as refused:
                error = refused
            renewed = isinstance(error, Unauthenticated) and error.retry and not bundle.is_answered
            if not (may_repeat and renewed):
                break
            for item in items:
                self._listener.resumed(item, 0)
        for outcome in bundle.left(error):
            yield outcome

    async def _sent(self, bundle: _Bundle) -> AsyncGenerator[Outcome, None]:
        headers = {"content-type": "application/x-tar", "transfer-encoding": "chunked"}
        if coding := await bundle.begin(await self._compression.coding(bundle.folder)):
            headers["content-encoding"] = coding
        request = self._asker.request("POST", bundle.folder, headers, stream=bundle)
        response = await self._asker.stream(request)
        unrecognised: list[Outcome] = []
        try:
            _check(response, await _if_not_lines(response))
            async for line in _lines(response):
                for outcome in bundle.answered(line):
                    if isinstance(outcome.error, Unauthenticated):
                        unrecognised.append(outcome)
                    else:
                        yield outcome
        finally:
            await response.aclose()
        if unrecognised and await self._asker.renew(request):
            for outcome in unrecognised:
                assert outcome.error is not None
                outcome.error.retry = True
        for outcome in unrecognised:
            yield outcome


class _Bundle(httpx.AsyncByteStream):
    """The archive as a body, and what is known of its files."""

    replayable = False

    def __init__(self, items: Sequence[Item], reader: Lane[Item, _Read], listener: Listener) -> None:
        self.folder = _common_folder([item.url for item in items])
        self._waiting = {unquote(item.url[len(self.folder) :], errors="surrogateescape"): item for item in items}
        self._digests: dict[str, bytes] = {}
        self._failed: list[Outcome] = []
        self.is_answered = False
        """For some of its files, at least."""
        self._reader = reader
        self._listener = listener
        self._began = time.monotonic()
        self._pieces: AsyncGenerator[bytes, None]
        self._first = b""
        self._encoder: Encoder | None = None

    async def begin(self, coding: str) -> str:
        """To be called first. The coding, if the first of it shrinks with one."""
        self._pieces = self._archive()
        self._first = await anext(self._pieces)
        if not coding or not await in_thread(shrinks, [self._first[:SAMPLE]]):
            return ""
        self._encoder = ENCODERS[coding]()
        return coding

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with aclosing(self._pieces) as pieces:
            yield await self._encoded(self._first)
            async for piece in pieces:
                yield await self._encoded(piece)
        if self._encoder is not None:
            yield self._encoder.end()

    async def _encoded(self, piece: bytes) -> bytes:
        encoder = self._encoder
        return piece if encoder is None else await in_thread(lambda: encoder.encode(piece) + encoder.flush())

    async def _archive(self) -> AsyncGenerator[bytes, None]:
        pieces: list[bytes] = []
        names = list(self._waiting)
        for start in range(0, len(names), _READ_AT_ONCE):
            some = names[start : start + _READ_AT_ONCE]
            for name, job in [(name, self._reader.submit(self._waiting[name])) for name in some]:
                try:
                    pieces += self._member(name, await job)
                except LocalFile as error:
                    self._failed.append(Outcome(self._waiting.pop(name), error=error))
            yield b"".join(pieces)
            pieces = []
        yield tar.END

    def _member(self, name: str, read: _Read) -> list[bytes]:
        data, digest, modified_ns = read
        self._digests[name] = digest
        self._listener.moved(self._waiting[name], len(data))
        return [tar.header(name, len(data), modified_ns), data, tar.padding(len(data))]

    def answered(self, line: dict[str, Any]) -> list[Outcome]:
        """What a line of the answer tells."""
        self.is_answered = True
        item = self._waiting.pop(str(line.get("name", "")), None)
        if item is None:
            return []
        seconds = time.monotonic() - self._began
        if "code" in line:
            error = from_code(str(line["code"]), int(line["status"]), str(line.get("detail", "")))
            error.members["seen"] = line["status"]
            error.retry = error.retry or isinstance(error, Forbidden)  # by itself: it may be there already
            return [Outcome(item, seconds=seconds, status=int(line["status"]), error=error)]
        digest = self._digests[str(line["name"])]
        if digests(line.get("repr_digest") or "", "repr_digest").get("sha-256", digest) != digest:
            wrong = DigestMismatch(f"{item.url}: what the gateway stored does not have the digest of what was sent")
            return [Outcome(item, seconds=seconds, error=wrong)]
        size = int(line.get("size", 0))
        receipt = str(line.get("receipt", ""))
        return [Outcome(item, size, seconds, digest.hex(), int(line["status"]), receipt=receipt)]

    def left(self, error: GateError) -> list[Outcome]:
        """Those that could not be read here, and those that no line came for."""
        return [*self._failed, *(Outcome(item, error=error) for item in self._waiting.values())]


_Read = tuple[bytes, bytes, int]
"""Content, SHA-256, time of the last change in nanoseconds."""


def _read(item: Item) -> _Read | BaseException:
    assert item.local is not None
    try:
        data, status = read_small(item.local)
    except LocalFile as error:
        return error
    return data, hashlib.sha256(data).digest(), status.st_mtime_ns


def _common_folder(urls: Sequence[str]) -> str:
    """The deepest folder that all are below."""
    folder = urls[0][: urls[0].rindex("/") + 1]
    while not all(url.startswith(folder) for url in urls):
        folder = folder[: folder.rindex("/", 0, -1) + 1]
    return folder


async def _if_not_lines(response: httpx.Response) -> bool:
    """Whether it is another answer than that to a bundle; its body is read then."""
    if response.status_code == 200 and response.headers.get("content-type", "").startswith(ANSWER_TYPE):
        return False
    await response.aread()
    return True


def _check(response: httpx.Response, is_other: bool) -> None:
    if not is_other:
        return
    if response.status_code < 400 or "problem+json" not in response.headers.get("content-type", ""):
        raise UnsupportedMediaType("the other end takes no bundles")
    raise refusal(response)


async def _lines(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    rest = b""
    async for chunk in response.aiter_raw():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield json.loads(line)
