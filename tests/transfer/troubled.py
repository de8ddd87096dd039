"""A gateway in a process of its own, and trouble for it: killed, cancelled or failed at the n-th call that matters.

The calls are those that change a folder or the ledger, so every moment between two of them can be had, and had again.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from h2gate.codec.checksum import Checksum
from h2gate.config import Settings
from h2gate.errors import LedgerFailed, PeerGone
from h2gate.gateway import Gateway, recover
from h2gate.ledger.sqlite import SqliteLedger
from h2gate.transfer.appending import Append
from h2gate.transfer.resumables import Plan
from h2gate.upload import Batch, Resumable
from tests.conftest import n_descriptors

_CALLS = ("pwrite", "write", "fsync", "fdatasync", "ftruncate", "utime", "rename", "link", "unlink")
_CONTENT_BYTES = 1 << 20
_WAIT_SECONDS = 30.0


def content(seed: int) -> bytes:
    """The bytes that an upload with this seed consists of, as far as it goes."""
    return random.Random(seed).randbytes(_CONTENT_BYTES)  # noqa: S311 - not a secret


@dataclass(frozen=True)
class Trouble:
    """What happens at the `at`-th call: "kill" the process, "cancel" the request, or "EIO", "ENOSPC"."""

    what: str
    at: int


@dataclass(frozen=True, kw_only=True)
class Piecewise:
    """An append of `sizes` bytes each, from `start` on. `ending`: "whole", "cut", or "hangs" until somebody else ends
    it. `checksum`: "", "right", "wrong", and both of them in a "right-trailer", "wrong-trailer", or "no-trailer".
    `content_digest`: "", "right", "wrong", "wrong-trailer", or "wrong-surprise", a trailer that was not announced."""

    upload_id: str
    seed: int
    start: int
    offset: int | None
    sizes: Sequence[int]
    ending: str = "whole"
    checksum: str = ""
    content_digest: str = ""
    complete: bool | None = None
    length: int | None = None
    knows_length: bool = True
    data: bytes = b""
    """These bytes instead of those of the seed."""


class _Pieces:
    """The body of it."""

    def __init__(self, given: Piecewise, hangs: asyncio.Event) -> None:
        data = (given.data or content(given.seed))[given.start : given.start + sum(given.sizes)]
        self.data = data
        self.length = len(data) if given.knows_length and given.ending == "whole" else None
        self.trailers: list[tuple[bytes, bytes]] = []
        self._ending = given.ending
        self._hangs = hangs
        self._pieces: list[bytes] = []
        for size in given.sizes:
            self._pieces.append(data[:size])
            data = data[size:]

    async def pull(self) -> Batch:
        if self._pieces:
            piece = self._pieces.pop(0)
            chunks = [piece[at : at + 16384] for at in range(0, len(piece), 16384)]
            return Batch(chunks, len(piece), not self._pieces and self._ending == "whole")
        if self._ending == "whole":
            return Batch([], 0, True)
        if self._ending == "hangs":
            self._hangs.set()
            await asyncio.Event().wait()
        raise PeerGone


class Face:
    """What may be asked of it, by name."""

    def __init__(self, gateway: Gateway, tell: Callable[[object], None]) -> None:
        self._gateway = gateway
        self._resumables = gateway.resumables
        self._tell = tell
        self._hanging: asyncio.Task[Any] | None = None

    async def create(self, plan: Plan) -> Resumable:
        return await self._resumables.create(plan)

    async def join(self, plan: Plan) -> Resumable:
        return await self._resumables.join(plan)

    async def append(self, given: Piecewise, hangs: asyncio.Event | None = None) -> Resumable:
        body = _Pieces(given, hangs or asyncio.Event())
        digest = hashlib.sha1(body.data, usedforsecurity=False).digest()
        if given.checksum.startswith("wrong"):
            digest = bytes(20)
        checksum = Checksum("sha1", digest)
        if given.checksum in ("right-trailer", "wrong-trailer"):
            body.trailers.append((b"upload-checksum", b"sha1 " + base64.b64encode(digest)))
        if given.content_digest in ("wrong-trailer", "wrong-surprise"):
            body.trailers.append((b"content-digest", b"sha-256=:" + base64.b64encode(bytes(32)) + b":"))
        wanted = {"right": hashlib.sha256(body.data).digest(), "wrong": bytes(32)}
        outcome = await self._resumables.append(
            given.upload_id,
            Append(
                body=body,
                offset=given.offset,
                complete=given.complete,
                length=given.length,
                checksum=checksum if given.checksum in ("right", "wrong") else None,
                checksum_follows=given.checksum.endswith("-trailer"),
                content={"sha-256": wanted[given.content_digest]} if given.content_digest in wanted else {},
                content_follows=given.content_digest == "wrong-trailer",
                progress=self._progress,
            ),
        )
        return outcome.upload

    async def _progress(self, offset: int) -> None:
        self._tell(("acknowledged", offset))

    async def hang(self, given: Piecewise) -> None:
        """Begin an append and return when its body has stopped coming."""
        hangs = asyncio.Event()
        self._hanging = asyncio.create_task(self.append(given, hangs))
        waiting = asyncio.create_task(hangs.wait())
        await asyncio.wait([self._hanging, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def hung(self, *, cancel: bool = False) -> Resumable:
        """The end of what was begun by `hang`."""
        assert self._hanging is not None
        if cancel:
            self._hanging.cancel()
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                found: Resumable = await self._hanging
                return found
        except asyncio.CancelledError:
            raise PeerGone from None

    async def offset(self, upload_id: str, *, length_ends: bool = False) -> Resumable:
        return await self._resumables.offset(upload_id, length_ends=length_ends)

    async def settled(self, upload_id: str) -> Resumable:
        found = await self._resumables.settled(upload_id, _WAIT_SECONDS)
        await self._joined()
        return found

    async def _joined(self) -> None:
        """What makes concatenations has ended, after it has said how."""
        joining = self._resumables._joining
        while tasks := [*joining._looks, *joining._tasks.values()]:
            await asyncio.gather(*tasks, return_exceptions=True)

    async def cancel(self, upload_id: str) -> None:
        await self._resumables.cancel(upload_id)

    async def outdate(self, upload_id: str) -> None:
        record = await self._resumables.look(upload_id)
        await self._gateway._ledger.keep(replace(record, expires_at=1.0))

    async def expire(self) -> int:
        return await self._resumables.expire()

    async def tidy(self) -> None:
        """As upkeep does it."""
        await self._resumables.tidy()
        await self._resumables.rejoin()
        await self._joined()

    async def put(self, path: str, seed: int, size: int) -> None:
        given = Piecewise(upload_id="", seed=seed, start=0, offset=0, sizes=[size])
        body = _Pieces(given, asyncio.Event())
        await self._gateway.uploads.put(path, body, fields={}, expected={}, modified_ns=None)

    async def remove(self, path: str) -> None:
        await self._gateway.uploads.remove(path)

    async def records(self) -> dict[str, Resumable]:
        """All that the ledger has."""
        found = await self._gateway._ledger.outdated(float("inf"), limit=100_000)
        return {each.id: each for each in found}

    async def sha256(self, path: str) -> bytes | None:
        """What the ledger says of a visible file."""
        file = await self._gateway.uploads.find(path)
        return file.upload.sha256 if file is not None and file.upload is not None else None

    async def left_behind(self) -> tuple[int, int]:
        """How many descriptors are open, and how many tasks run besides this one."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        return n_descriptors(), sum(not each.done() for each in tasks) - 1


class _Hooks:
    """Counts the calls while it is armed."""

    def __init__(self) -> None:
        self._left = -1
        self._strike: Callable[[bool], None] = lambda _: None
        self._lock = threading.Lock()
        for name in _CALLS:
            setattr(os, name, self._counting(getattr(os, name)))
        self._count_transactions()

    def _counting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self._count(is_ledger=False)
            return real(*args, **named)

        return call

    def _count_transactions(self) -> None:
        real = SqliteLedger._work

        def work(ledger: SqliteLedger, jobs: list[Any]) -> list[Any]:
            self._count(is_ledger=True)
            return real(ledger, jobs)

        SqliteLedger._work = work  # type: ignore[assignment,method-assign]

    def _count(self, *, is_ledger: bool) -> None:
        with self._lock:
            self._left -= 1
            struck = self._left == 0
        if struck:
            self._strike(is_ledger)

    def arm(self, trouble: Trouble, task: asyncio.Task[Any]) -> None:
        loop = asyncio.get_running_loop()

        def strike(is_ledger: bool) -> None:
            if trouble.what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif trouble.what == "cancel":
                loop.call_soon_threadsafe(task.cancel)
            elif is_ledger:
                raise LedgerFailed
            else:
                number = getattr(errno, trouble.what)
                raise OSError(number, os.strerror(number))

        self._strike, self._left = strike, trouble.at

    def disarm(self) -> bool:
        """Whether the trouble has come."""
        has_come = self._left < 1
        self._left = -1
        return has_come


async def _serve(connection: Connection, settings: Settings, hooks: _Hooks) -> None:
    async with Gateway(settings, upkeep=False) as gateway:
        face = Face(gateway, connection.send)
        await face.records()
        connection.send(("ready", None))
        while (job := await asyncio.to_thread(connection.recv)) is not None:
            name, args, named, trouble = job
            task = asyncio.create_task(getattr(face, name)(*args, **named))
            if trouble is not None:
                hooks.arm(trouble, task)
            await asyncio.wait([task])
            connection.send(("struck", hooks.disarm()))
            error = PeerGone() if task.cancelled() else task.exception()
            connection.send(("done", task.result()) if error is None else ("raised", error))
    connection.send(("closed", None))


def _main(connection: Connection, settings: Settings) -> None:
    hooks = _Hooks()
    asyncio.run(recover(settings))
    asyncio.run(_serve(connection, settings, hooks))


class Killed(Exception):
    """The process was killed, as asked."""


class Process:
    """To be closed or killed."""

    def __init__(self, settings: Settings) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.transfer.troubled"])
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(theirs, settings), daemon=True)
        self._process.start()
        theirs.close()
        self.acknowledged = 0
        """The last offset that somebody was told of while it was asked."""
        self.was_struck = False
        """Whether the trouble came that the last question was asked with. It need not be told: some is made good."""
        assert self._answer() == ("ready", None)

    def ask(self, name: str, *args: Any, trouble: Trouble | None = None, **named: Any) -> Any:
        """Ask for one of `Face`'s methods. Raises what that raises, `PeerGone` when cancelled, and `Killed`."""
        self.acknowledged = 0
        self._connection.send((name, args, named, trouble))
        word, value = self._answer()
        if word == "raised":
            raise value
        return value

    def _answer(self) -> tuple[str, Any]:
        try:
            while self._connection.poll(_WAIT_SECONDS):
                word, value = self._connection.recv()
                if word == "acknowledged":
                    self.acknowledged = value
                elif word == "struck":
                    self.was_struck = value
                else:
                    return word, value
        except (EOFError, ConnectionResetError):
            self._end()
            raise Killed from None
        self.kill()
        raise AssertionError("the gateway does not answer")

    def kill(self) -> None:
        self._process.kill()
        self._end()

    def close(self) -> None:
        self._connection.send(None)
        word, _ = self._answer()
        self._end()
        assert (word, self._process.exitcode) == ("closed", 0)

    def _end(self) -> None:
        self._process.join(_WAIT_SECONDS)
        self._connection.close()
