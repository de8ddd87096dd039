"""`PUT` or `POST` of a tar archive to a folder: unpacked while it streams, a line of answer for each file that is safe.

Small files are put side by side, so that they share syncs; large ones stream one after the other. What was answered
stays, whatever becomes of the rest; a member that cannot be stored is told so, and the rest goes on.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from h2gate.codec.tar import ArchiveEnd, Data, Event, Member, MemberEnd, TarReader
from h2gate.errors import BadField, BadPath, Conflict, GateError, PeerGone, TooLarge, UnsupportedMediaType
from h2gate.front import problem
from h2gate.front.request import Request, file_path, file_url
from h2gate.transfer.uploads import Uploads
from h2gate.upload import Batch, Body, checked_path

MEDIA_TYPES = ("application/x-tar", "application/tar")
ANSWER_TYPE = "application/x-ndjson"
SMALL_BYTES = 64 << 10
AT_ONCE = 256
"""Small files that are put side by side: as many as the storage syncs together, and no more than 16 MiB."""
MAX_MEMBERS = 1_000_000
DIGEST_RECORD = "H2GATE.sha256"
"""A pax record of a member: the SHA-256 that it must have, in hexadecimal."""


def is_bundle(request: Request) -> bool:
    """Whether a request under /files/ brings an archive for a folder. Put to a name, an archive is a file."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return request.method in ("PUT", "POST") and media_type in MEDIA_TYPES and request.raw_path.endswith(b"/")


async def unpack(request: Request, uploads: Uploads) -> None:
    """Store every file of the archive in the folder named by the path."""
    folder, _ = file_path(request.raw_path)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Content-Encoding: content codings are not decoded yet")
    answer = Answer(request)
    writer = asyncio.create_task(answer.write())
    try:
        error = await Bundle(request.body, uploads, folder, answer).run()
        if error is not None and (isinstance(error, PeerGone) or answer.is_empty):
            raise error
        if error is not None:
            answer.tell_error({}, error)
        answer.end()
        await writer
    finally:
        writer.cancel()
        with suppress(asyncio.CancelledError, PeerGone):
            await writer


class Answer:
    """Lines of JSON, sent as they come, several in one write; the first of them begins the answer."""

    def __init__(self, request: Request) -> None:
        self.is_empty = True
        self._counts = {"stored": 0, "failed": 0, "bytes": 0}
        self._request = request
        self._lines: list[bytes] = []
        self._some = asyncio.Event()
        self._is_over = False

    def tell(self, line: Mapping[str, Any], n_bytes: int = 0) -> None:
        """Of a file that is stored."""
        self._counts["stored"] += 1
        self._counts["bytes"] += n_bytes
        self._add(line)

    def tell_error(self, line: Mapping[str, Any], error: Exception) -> None:
        """Of a file that is not, or (without a name) of the whole."""
        known = problem.of(error, f"bundle: {line.get('name', 'the archive')}")
        self._counts["failed"] += "name" in line
        self._add({**line, "status": known.status, "code": known.code, "detail": known.detail})

    def end(self) -> None:
        """The last line."""
        self._is_over = True
        self._add({"summary": True, **self._counts})

    def _add(self, line: Mapping[str, Any]) -> None:
        self.is_empty = False
        self._lines.append(json.dumps(line).encode() + b"\n")
        self._some.set()

    async def write(self) -> None:
        """Send until the end. Raises `PeerGone`."""
        is_last = False
        while not is_last:
            await self._some.wait()
            self._some.clear()
            lines, self._lines, is_last = self._lines, [], self._is_over
            await self._request.answer_more(200, [("content-type", ANSWER_TYPE)], b"".join(lines), last=is_last)


class Bundle:
    """One archive on its way into a folder."""

    def __init__(self, body: Body, uploads: Uploads, folder: str, answer: Answer) -> None:
        self._body = body
        self._uploads = uploads
        self._folder = folder
        self._answer = answer
        self._reader = TarReader()
        self._events: deque[Event] = deque()
        self._is_over = False
        self._error: GateError | None = None
        self._seen: set[int] = set()
        self._places = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> GateError | None:
        """To the end of the archive, or to what is wrong with the whole of it; whatever was begun is done then."""
        async with asyncio.TaskGroup() as puts:
            try:
                while not isinstance(event := await self._next(), ArchiveEnd):
                    if isinstance(event, Member):
                        await self._take(event, puts)
                while not self._is_over:  # padding
                    self._is_over = (await self._body.pull()).last
            except GateError as error:
                return error
        return None

    async def _next(self) -> Event:
        """Raises what is wrong with the whole, once all before it was seen, and then always."""
        while not self._events:
            if self._error is not None:
                raise self._error
            try:
                await self._read()
            except GateError as error:
                self._error = error
        return self._events.popleft()

    async def _read(self) -> None:
        batch = await self._body.pull()
        self._is_over = batch.last
        for chunk in batch.chunks:
            self._events.extend(self._reader.feed(chunk))
        if batch.last:
            self._reader.close()

    async def more(self) -> Sequence[bytes] | None:
        """More bytes of the member that was begun; None at its end."""
        chunks: list[bytes] = []
        while not chunks or self._events:
            event = await self._next()
            if isinstance(event, MemberEnd):
                if not chunks:
                    return None
                self._events.appendleft(event)
                break
            assert isinstance(event, Data)
            chunks.append(bytes(event.chunk))
        return chunks

    async def _take(self, member: Member, puts: asyncio.TaskGroup) -> None:
        if member.kind == "folder":
            return  # it is made with the first file in it
        try:
            path, expected = self._path(member), _expected(member)
        except GateError as error:
            self._answer.tell_error({"name": member.name}, error)
            return
        body = MemberBody(self, member.size)
        if member.size > SMALL_BYTES:
            await self._put(member, path, expected, body)
            return
        await body.gather()
        await self._places.acquire()
        puts.create_task(self._put_small(member, path, expected, body))

    def _path(self, member: Member) -> str:
        """Where it goes. Raises `BadPath`, `Conflict`, `TooLarge`."""
        if member.kind != "file":
            raise BadPath(f"{member.what} is not stored")
        name = member.name.removeprefix("./")
        if not name:
            raise BadPath("a member has no name")
        path = checked_path(f"{self._folder}/{name}" if self._folder else name)
        if len(self._seen) >= MAX_MEMBERS:
            raise TooLarge(f"a bundle may have {MAX_MEMBERS} members at most")
        if hash(path) in self._seen:
            raise Conflict("another member of the bundle has this name")
        self._seen.add(hash(path))
        return path

    async def _put_small(self, member: Member, path: str, expected: Mapping[str, bytes], body: Body) -> None:
        try:
            await self._put(member, path, expected, body)
        finally:
            self._places.release()

    async def _put(self, member: Member, path: str, expected: Mapping[str, bytes], body: Body) -> None:
        """An error of the member is told; one of the whole is met again when the archive is read on."""
        try:
            stored = await self._uploads.put(path, body, fields={}, expected=expected, modified_ns=member.modified_ns)
        except Exception as error:  # noqa: BLE001 - told, and logged where it was not foreseen
            self._answer.tell_error({"name": member.name}, error)
            return
        file, replaced = stored
        line = {"name": member.name, "path": file_url(path), "status": 204 if replaced else 201, "size": file.size}
        self._answer.tell({**line, "etag": file.etag, "repr_digest": file.repr_digest}, file.size)


class MemberBody:
    """A member as a `Body`."""

    trailers: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self, bundle: Bundle, size: int) -> None:
        self.length: int | None = size
        self._bundle = bundle
        self._left = size
        self._gathered: list[bytes] = []

    async def gather(self) -> None:
        """Take all of it now."""
        while (chunks := await self._bundle.more()) is not None:
            self._gathered += chunks

    async def pull(self) -> Batch:
        if self._gathered or not self._left:
            return Batch(self._gathered, self._left, last=True)
        chunks = await self._bundle.more() or ()
        n_bytes = sum(map(len, chunks))
        self._left -= n_bytes
        return Batch(chunks, n_bytes, last=not self._left)


def _expected(member: Member) -> Mapping[str, bytes]:
    """The digest that the archive says. Raises `BadField`."""
    text = member.records.get(DIGEST_RECORD)
    if text is None:
        return {}
    try:
        return {"sha-256": bytes.fromhex(text)}
    except ValueError:
        raise BadField(f"{DIGEST_RECORD}: not hexadecimal") from None
