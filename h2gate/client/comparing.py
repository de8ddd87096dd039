"""Which files the gateway has already: asked folder by folder, several at once, beside the sending.

A folder is asked for its listing, once; where a few files are all that may be there, each is asked for (HEAD). What is
below a folder that is not there is not asked for. Nothing here fails: what is not known to be there is sent, and so is
everything to a server whose answers are not those of this gateway.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum, auto
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import unquote_to_bytes

from h2gate.client.asking import Asker, Entry
from h2gate.client.failures import LocalFile
from h2gate.client.listener import Item
from h2gate.client.local import PIECE, in_thread, read_small
from h2gate.client.retrying import RETRIES, pause_seconds
from h2gate.client.source import FileSource
from h2gate.errors import BadField, BadPath, GateError, NotFound
from h2gate.fields import digests, moment, parse_date

T = TypeVar("T")

Compare = Literal["time", "checksum", "never"]
"""What tells that a file of the same size is the same: its time, or else its digest; its digest alone; nothing."""

FEW = 4
"""So many files of a folder are asked for one by one."""
FOLDERS_AT_ONCE, HASHED_AT_ONCE = 8, 4

There = Mapping[str, Entry]
"""What is in a folder, by name."""


class _Verdict(Enum):
    SEND = auto()
    IS_THERE = auto()
    HASH = auto()
    """Only the digest can tell."""


class _Folder:
    """A remote folder and what is to go below it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.items: list[Item] = []
        self.below: dict[str, _Folder] = {}

    def everything(self) -> Iterator[Item]:
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield from folder.items
            waiting += folder.below.values()


class Comparison:
    """`run` calls `send` or `is_there` for each of `items`, which go below `root`."""

    def __init__(
        self,
        asker: Asker,
        root: str,
        items: Sequence[Item],
        compare: Compare,
        *,
        send: Callable[[Item], None],
        is_there: Callable[[Item], None],
    ) -> None:
        self._asker = asker
        self._root = root
        self._items = items
        self._compare = compare
        self._send = send
        self._is_there = is_there
        self._is_over = False
        """It makes no sense to ask for more."""
        self._folders: asyncio.Queue[_Folder] = asyncio.Queue()
        self._doubtful: asyncio.Queue[tuple[Item, Entry]] = asyncio.Queue()

    async def run(self) -> None:
        if self._compare == "never":
            for item in self._items:
                self._send(item)
            return
        self._folders.put_nowait(self._tree())
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(_work(self._folders, self._visit)) for _ in range(FOLDERS_AT_ONCE)]
            workers += [group.create_task(_work(self._doubtful, self._hash)) for _ in range(HASHED_AT_ONCE)]
            await self._folders.join()
            await self._doubtful.join()
            for worker in workers:
                worker.cancel()

    def _tree(self) -> _Folder:
        """What is not a file of this end is sent at once."""
        top = _Folder(self._root)
        for item in self._items:
            if item.local is None or item.size is None:
                self._send(item)
                continue
            folder = top
            for part in item.url[len(self._root) :].split("/")[:-1]:
                folder = folder.below.setdefault(part, _Folder(f"{folder.url}{part}/"))
            folder.items.append(item)
        return top

    # -- what is there

    async def _visit(self, folder: _Folder) -> None:
        try:
            there, whole = await self._ask(folder)
        except NotFound:
            self._send_all(folder)
            return
        except GateError as error:
            self._is_over = self._is_over or not isinstance(error, BadPath)
            self._send_all(folder)
            return
        for part, each in folder.below.items():
            if whole and _name(part) not in there:
                self._send_all(each)
            else:
                self._folders.put_nowait(each)
        pairs = [(item, there.get(_name(item.url.rpartition("/")[2]))) for item in folder.items]
        for start in range(0, len(pairs), 256):
            some = pairs[start : start + 256]
            verdicts = await in_thread(_judged, some, self._compare)
            for (item, entry), verdict in zip(some, verdicts, strict=True):
                self._decide(item, entry, verdict)

    def _decide(self, item: Item, entry: Entry | None, verdict: _Verdict) -> None:
        if entry is not None and verdict is _Verdict.HASH:
            self._doubtful.put_nowait((item, entry))
        elif verdict is _Verdict.IS_THERE:
            self._is_there(item)
        else:
            self._send(item)

    def _send_all(self, folder: _Folder) -> None:
        for item in folder.everything():
            self._send(item)

    async def _ask(self, folder: _Folder) -> tuple[There, bool]:
        """What is there of what matters, and whether that is all of the folder. Raises `GateError`."""
        is_top = folder.url == self._root
        if (is_top or not folder.below) and len(folder.items) + len(folder.below) <= FEW:
            there = await self._ask_each(folder.items)
            if all(entry.repr_digest for entry in there.values()):
                return there, False
        entries = await self._retried(self._asker.ls, folder.url)
        wanted = {_name(item.url.rpartition("/")[2]) for item in folder.items} | set(map(_name, folder.below))
        return {entry.name: entry for entry in entries if entry.name in wanted}, True

    async def _ask_each(self, items: Sequence[Item]) -> There:
        asking = [self._retried(self._head, item.url) for item in items]
        answers = await asyncio.gather(*asking, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return {answer.name: answer for answer in answers if isinstance(answer, Entry)}

    async def _head(self, url: str) -> Entry | None:
        """None where there is no such file. One without digest may be of any server."""
        try:
            return await self._asker.head(url)
        except GateError as error:
            if "seen" in error.members and not error.retry:
                return None
            raise

    async def _retried(self, ask: Callable[[str], Coroutine[Any, Any, T]], url: str) -> T:
        attempt = 1
        while not self._is_over:
            try:
                return await ask(url)
            except GateError as error:
                if not error.retry or attempt > RETRIES or not self._asker.was_answered:
                    raise
                await asyncio.sleep(pause_seconds(attempt, error))
                attempt += 1
        raise GateError("it makes no sense to ask for more")

    async def _hash(self, pair: tuple[Item, Entry]) -> None:
        item, entry = pair
        assert item.local is not None
        assert item.size is not None
        try:
            if item.size <= PIECE:
                here = await in_thread(_small_digest, item.local)
            else:
                here = await FileSource(item.local, item.size, lambda n_bytes: None).digest_at(item.size)
        except LocalFile:
            here = b""
        self._decide(item, entry, _Verdict.IS_THERE if here == _digest(entry) else _Verdict.SEND)


async def _work(queue: asyncio.Queue[Any], what: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    while True:
        each = await queue.get()
        await what(each)
        queue.task_done()


def _judged(pairs: Sequence[tuple[Item, Entry | None]], compare: Compare) -> list[_Verdict]:
    return [_judge(item, entry, compare) for item, entry in pairs]


def _judge(item: Item, entry: Entry | None, compare: Compare) -> _Verdict:
    """As the file is now, whatever it was when it was found."""
    if entry is None or entry.size != item.size or item.local is None:
        return _Verdict.SEND
    try:
        status = item.local.stat()
    except OSError:
        return _Verdict.SEND
    if status.st_size != item.size:
        return _Verdict.SEND
    if compare == "time" and int(moment(status.st_mtime_ns).timestamp()) == _seconds(entry.modified):
        return _Verdict.IS_THERE
    return _Verdict.HASH if _digest(entry) is not None else _Verdict.SEND


def _small_digest(path: Path) -> bytes:
    return hashlib.sha256(read_small(path)[0]).digest()


def _digest(entry: Entry) -> bytes | None:
    try:
        return digests(entry.repr_digest, "Repr-Digest").get("sha-256")
    except BadField:
        return None


def _seconds(modified: str) -> int | None:
    """RFC 3339 or an HTTP-date, in seconds since the epoch."""
    try:
        return int(datetime.fromisoformat(modified).timestamp())
    except ValueError:
        pass
    try:
        return parse_date(modified, "Last-Modified") // 10**9
    except BadField:
        return None


def _name(segment: str) -> str:
    return os.fsdecode(unquote_to_bytes(segment))
