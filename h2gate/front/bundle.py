"""`PUT` or `POST` of a tar archive to a folder: unpacked while it streams, a line of answer for each file that is safe.

Small files are put side by side, so that they share syncs; large ones stream one after the other. What was answered
stays, whatever becomes of the rest; a member that cannot be stored is told so, and the rest goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from h2gate import effort
from h2gate.budget import Budget
from h2gate.codec.tar import Member
from h2gate.errors import BadField, BadPath, Conflict, GateError, PeerGone, TooLarge
from h2gate.front.archive import DIGEST_RECORD, Archive, MemberBody
from h2gate.front.deeds import of_file
from h2gate.front.lines import Lines
from h2gate.front.request import Request, file_url
from h2gate.gateway import Gateway
from h2gate.transfer.digested import Digested
from h2gate.upload import Body, checked_path

MEDIA_TYPES = ("application/x-tar", "application/tar")
SMALL_BYTES = 128 << 10
"""What the storage takes for small, too."""
FILES_AT_ONCE = 256
"""As many as the storage syncs together."""
BYTES_AT_ONCE = 16 << 20


def is_bundle(request: Request) -> bool:
    """Whether a request under /files/ brings an archive for a folder. Put to a name, an archive is a file."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return request.method in ("PUT", "POST") and media_type in MEDIA_TYPES and request.raw_path.endswith(b"/")


async def unpack(request: Request, gateway: Gateway) -> None:
    """Store every file of the archive in the folder named by the path."""
    folder, _ = request.place
    threads = gateway.uploads.decoding.threads
    sent = Digested(request.body, request.headers, ("content-digest", "repr-digest"), threads)
    async with gateway.uploads.decoding.undone(sent, request.headers, is_file=False) as (undone, headers):
        body = Digested(undone, headers, ("repr-digest", "unencoded-digest"), threads)
        async with gateway.quotas.at_once(folder):
            await _unpack(request, gateway, folder, sent, body)


async def _unpack(request: Request, gateway: Gateway, folder: str, sent: Digested, body: Digested) -> None:
    async with Lines(request, gateway.budget) as lines:
        bundle = Bundle(body, gateway, folder, lines, request)
        summary: dict[str, str] = {}
        try:
            await bundle.run()
            summary = _verdict(sent, body)
        except GateError as error:
            if isinstance(error, PeerGone) or lines.is_empty:
                raise
            lines.tell_error({}, error)
        await lines.end({"summary": True, **bundle.counts, **summary})


class Room:
    """How much of small files is held at once, of one bundle and of all. One task enters, many leave."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._n_files = self._n_bytes = 0
        self._less = asyncio.Event()

    async def enter(self, n_bytes: int) -> None:
        """Returns when there is room."""
        while self._n_files >= FILES_AT_ONCE or self._n_bytes + n_bytes > BYTES_AT_ONCE:
            self._less.clear()
            await self._less.wait()
        while n_bytes > self._budget.share or not self._budget.take(n_bytes):
            await self._budget.given_back()
        self._n_files += 1
        self._n_bytes += n_bytes

    def leave(self, n_bytes: int) -> None:
        """What has entered is done."""
        self._n_files -= 1
        self._n_bytes -= n_bytes
        self._budget.give_back(n_bytes)
        self._less.set()


class Bundle:
    """One archive on its way into a folder."""

    def __init__(self, body: Body, gateway: Gateway, folder: str, lines: Lines, request: Request) -> None:
        self.counts = {"stored": 0, "failed": 0, "bytes": 0}
        self._archive = Archive(body)
        self._uploads = gateway.uploads
        self._max_members = gateway.settings.max_bundle_members
        self._folder = folder
        self._lines = lines
        self._request = request
        self._seen: set[int] = set()
        """Of paths, their hashes: a million of them are to fit."""
        self._room = Room(gateway.budget)

    async def run(self) -> None:
        """To the end of the archive. Raises what is wrong with the whole of it, when all that was begun is done."""
        failed: GateError | None = None
        async with asyncio.TaskGroup() as puts:
            try:
                await self._walk(puts)
            except GateError as error:  # the group would cancel the others
                failed = error
        if failed is not None:
            raise failed

    async def _walk(self, puts: asyncio.TaskGroup) -> None:
        while (member := await self._archive.next_member()) is not None:
            await self._lines.room()
            await effort.worth(effort.SMALL_SECONDS)
            if member.kind != "folder":  # it is made with the first file in it
                await self._take(member, puts)
        await self._archive.drop_padding()

    async def _take(self, member: Member, puts: asyncio.TaskGroup) -> None:
        try:
            path, expected = self._path(member), _expected(member)
        except GateError as error:
            await self._request.refused(error, f"{self._folder}/{member.name}" if self._folder else member.name)
            self._failed(member, error)
            return
        body = MemberBody(self._archive, member.size)
        if member.size > SMALL_BYTES:
            await self._put(member, path, expected, body)
            return
        await self._room.enter(member.size)
        try:
            await body.gather()
        except BaseException:
            self._room.leave(member.size)
            raise
        puts.create_task(self._put_small(member, path, expected, body))

    def _path(self, member: Member) -> str:
        """Where it goes. Raises `BadPath`, `Conflict`, `TooLarge`."""
        if member.kind != "file":
            raise BadPath(f"{member.what} is not stored")
        name = member.name.removeprefix("./")
        if not name:
            raise BadPath("a member has no name")
        path = checked_path(f"{self._folder}/{name}" if self._folder else name)
        if len(self._seen) >= self._max_members:
            raise TooLarge(f"a bundle may have {self._max_members} members at most")
        if hash(path) in self._seen:
            raise Conflict("another member of the bundle has this name")
        self._seen.add(hash(path))
        return path

    async def _put_small(self, member: Member, path: str, expected: Mapping[str, bytes], body: Body) -> None:
        try:
            await self._put(member, path, expected, body)
        finally:
            self._room.leave(member.size)

    async def _put(self, member: Member, path: str, expected: Mapping[str, bytes], body: Body) -> None:
        """An error of the member is told; one of the whole is met again when the archive is read on."""
        try:
            grant, modified_ns = self._request.access.grant(path), member.modified_ns
            file, replaced = await self._uploads.put(
                path, body, fields={}, expected=expected, modified_ns=modified_ns, grant=grant, alone=False
            )
            status = 204 if replaced else 201
            more = await self._request.stored(of_file("replace" if replaced else "create", file), status)
        except Exception as error:  # noqa: BLE001 - told, and logged where it was not foreseen
            if isinstance(error, GateError):
                await self._request.refused(error, path)
            self._failed(member, error)
            return
        self.counts["stored"] += 1
        self.counts["bytes"] += file.size
        line = {"name": member.name, "path": file_url(path), "status": status, "size": file.size}
        self._lines.tell({**line, "etag": file.etag, "repr_digest": file.repr_digest, **more})

    def _failed(self, member: Member, error: Exception) -> None:
        self.counts["failed"] += 1
        self._lines.tell_error({"name": member.name}, error)


def _verdict(*digested: Digested) -> dict[str, str]:
    """What the summary says of the digests of the whole, coded and not. Raises `BadField`."""
    verdicts = {each.verdict() for each in digested} - {None}
    return {"digest": "mismatch" if "mismatch" in verdicts else "ok"} if verdicts else {}


def _expected(member: Member) -> Mapping[str, bytes]:
    """The digest that the archive says. Raises `BadField`."""
    text = member.records.get(DIGEST_RECORD)
    if not text:
        return {}
    try:
        return {"sha-256": bytes.fromhex(text)}
    except ValueError:
        raise BadField(f"{DIGEST_RECORD}: not hexadecimal") from None
