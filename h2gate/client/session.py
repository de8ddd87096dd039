"""Many files over one connection: `async with Client(url) as gate: await gate.put("data", "in/")`.

Every file is hashed on its way and the two ends' digests are compared. One file's failure stops no other; what breaks
off is gone on with (see `retrying`, `sending`, `fetching`). Files are in flight up to `streams` (small ones, whose cost
is the round trip, three times as many beside them), so neither memory nor the gateway's patience depends on how many
files there are.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from h2gate.client import names
from h2gate.client.asking import Asker, Entry
from h2gate.client.bundling import FEW, Bundler, split
from h2gate.client.compressing import Compress, Compression
from h2gate.client.failures import LocalFile
from h2gate.client.journal import Journal
from h2gate.client.listener import Item, Listener, Outcome
from h2gate.client.moving import SMALL, Mover
from h2gate.client.progress import Progress, Tally, Watched
from h2gate.client.retrying import RETRIES, Move, Patience
from h2gate.client.streams import Reader, Streamed, reader_of
from h2gate.client.transport import HttpVersion, Transport, tls_context
from h2gate.errors import ConfigError, UnsupportedMediaType

BUNDLES_AT_ONCE = 4
T = TypeVar("T")


class Client:
    """`url`: where relative targets start. `ca`: files of authorities trusted beside the system's. `digest`: send each
    large file's SHA-256 behind it as a trailer (what the gateway states is compared in any case). `bundles`: send small
    files many at a time, where the gateway takes that. `retries`: tries in a row that do not get on before a file is
    given up. `journal`: a folder that remembers what was begun, so that another `Client` goes on with it. `compress`:
    send files with a content coding where the gateway takes it and it makes them smaller; "auto" is the best one.

    Raises `ConfigError` for what cannot be meant; the failures of single files come as `Outcome.error`.
    """

    def __init__(
        self,
        url: str,
        *,
        ca: Sequence[str | Path] = (),
        insecure: bool = False,
        http: HttpVersion = "auto",
        streams: int = 32,
        connections: int = 1,
        digest: bool = True,
        bundles: bool = True,
        retries: int = RETRIES,
        journal: Path | None = None,
        compress: Compress = "none",
        listener: Listener | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if streams < 1 or connections < 1:
            raise ConfigError("streams and connections must be at least 1")
        self.url = names.parse_url(url)
        try:
            verify = tls_context(ca_files=tuple(str(file) for file in ca), insecure=insecure)
        except OSError as error:
            raise ConfigError(f"{', '.join(map(str, ca))}: not a file of certificates ({error})") from error
        limits = httpx.Limits(max_connections=4 * streams, max_keepalive_connections=4 * streams)
        self.transport = Transport(verify=verify, http=http, connections=connections, limits=limits)
        self._streams = streams
        self._listener = self._tally = Tally(listener or Listener())
        self._asker = Asker(self.transport, headers or {})
        self._patience = Patience(self._asker, self._listener, retries)
        compression = Compression(compress, self._asker, self._listener)
        sends_digest = digest and http != "1.1"
        self._mover = Mover(self._asker, self._listener, Journal(journal), compression, digest=sends_digest)
        self._bundler = Bundler(self._asker, self._listener, compression) if bundles else None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections, and what is still on its way."""
        await self._asker.close()
        await self._mover.close()
        if self._bundler is not None:
            await self._bundler.close()

    @property
    def most_in_flight(self) -> int:
        """Files that moved at the same time, at most."""
        return self._patience.most_in_flight

    def at_work(self) -> str:
        """What is going on now, in a few words."""
        made, n = self.transport.connections_made, self._patience.in_flight
        on = f", {made} connection{'s' * (made > 1)}" if made else ""
        return f"{n} stream{'s' * (n != 1)}{on}"

    def watch(self, transfer: Coroutine[Any, Any, T], *, every: float = 0.5) -> Watched[T]:
        """Run `transfer` and tell every so many seconds how all that moves is getting on:
        `async for progress in gate.watch(gate.put("data/")): …`."""
        return Watched(transfer, self._now, every)

    def _now(self) -> Progress:
        tally = self._tally
        return Progress(
            n_files=tally.n_files,
            n_done=tally.n_done,
            n_failed=tally.n_failed,
            n_bytes=tally.n_bytes,
            total_bytes=tally.total_bytes,
            seconds=tally.seconds,
            streams=self._patience.in_flight,
            connections=self.transport.connections_made,
        )

    # -- the four verbs

    async def put(
        self, source: str | Path | Sequence[str | Path] | Streamed, target: str | None = None
    ) -> list[Outcome]:
        """Send a file or folder, several of them, or what gives bytes: a file object, an iterable, an asynchronous one.

        `target` is a URL, or a path below the client's; with a slash at its end a folder (see `names`). An outcome for
        each file, in the order they ended. What an iterable raises is raised.
        """
        url = names.resolve(self.url, target) if target is not None else self.url
        if isinstance(source, str | os.PathLike):
            return await self._put_paths([source], url)
        if isinstance(source, list | tuple):
            return await self._put_paths(source, url)
        return [await self._put_stream(reader_of(source), url)]

    async def _put_stream(self, reader: Reader, url: str) -> Outcome:
        if names.is_folder(url):
            raise ConfigError(f"{url}: what is streamed has no name; give a target that names the file")
        item = Item(names.last_name(url), None, url)
        self._listener.planned([item])
        self._listener.started(item)
        outcome = await self._patience.see_through(self._mover.put_stream(item, reader))
        self._listener.finished(outcome)
        return outcome

    async def _put_paths(self, paths: Sequence[str | Path], url: str) -> list[Outcome]:
        items, failed = await asyncio.to_thread(self._plan, paths, url)
        self._listener.planned(items)
        for outcome in failed:
            self._listener.finished(outcome)
        small = [item for item in items if item.size is not None and item.size <= SMALL]
        if self._bundler is None or len(small) < FEW:
            return failed + await self._run(items, self._mover.put)
        large = [item for item in items if item.size is None or item.size > SMALL]
        async with asyncio.TaskGroup() as group:
            alone = group.create_task(self._run(large, self._mover.put))
            together = group.create_task(self._run_bundled(small, self._bundler))
        return failed + alone.result() + together.result()

    async def get(self, urls: str | Sequence[str], target: str | Path = ".") -> list[Outcome]:
        """Fetch files, and folders (URLs or paths that end in "/") with everything below, to `target`."""
        urls = self._resolved(urls)
        target = os.fspath(target)
        several = len(urls) > 1 or names.is_folder(urls[0])
        if several and target == names.STANDARD:
            raise ConfigError("standard output takes one file")
        if several and not names.is_local_folder(target):
            raise ConfigError(f"{target}: for several files, or a folder, name a folder that exists or end it with /")
        items = [item for url in urls async for item in self._downloads(url, target)]
        self._listener.planned(items)
        return await self._run(items, self._mover.get)

    async def ls(self, url: str | None = None) -> list[Entry]:
        """What is in a folder, or the one file that `url` names. Raises `GateError`."""
        return await self._asker.ls(names.resolve(self.url, url) if url else self.url)

    def _resolved(self, urls: str | Sequence[str]) -> list[str]:
        return [names.resolve(self.url, url) for url in ([urls] if isinstance(urls, str) else urls)]

    async def rm(self, urls: str | Sequence[str], *, recursive: bool = False) -> list[Outcome]:
        """Delete files; with `recursive` also every file below URLs that end in "/"."""
        items = []
        for url in self._resolved(urls):
            if names.is_folder(url) and not recursive:
                raise ConfigError(f"{url} is a folder: say --recursive to delete every file below it")
            found = [entry async for entry in self._asker.walk(url)] if names.is_folder(url) else []
            items += [Item(entry.url, None, entry.url, 0) for entry in found] or [Item(url, None, url, 0)]
        self._listener.planned(items)
        return await self._run(items, self._mover.delete)

    # -- what is to move

    def _plan(self, paths: Sequence[str | Path], url: str) -> tuple[list[Item], list[Outcome]]:
        items: list[Item] = []
        failed: list[Outcome] = []
        target = names.parse_url(url)
        if len(paths) > 1 and not names.is_folder(target):
            raise ConfigError(f"{target}: to put several files, or a folder, end the URL with /")
        for path in paths:
            try:
                items += names.uploads([path], target, self._listener.skipped)
            except LocalFile as error:
                failed.append(Outcome(Item(str(path), Path(path), target), error=error))
        return items, failed

    async def _downloads(self, url: str, target: str) -> AsyncIterator[Item]:
        if not names.is_folder(url):
            local = names.download_target(url, target)
            yield Item(url, local, url)
            return
        root = Path(target)
        above = len(url) if url.removesuffix("/").endswith("/files") else len(url.rstrip("/").rpartition("/")[0]) + 1
        async for entry in self._asker.walk(url):
            parts = [names.last_name(part) for part in entry.url[above:].split("/")]
            yield Item(entry.url, root.joinpath(*parts), entry.url, entry.size)

    # -- many at once

    async def _run(self, items: Iterable[Item], begin: Callable[[Item], Move]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        small = [item for item in items if item.size is not None and item.size <= SMALL]
        large = [item for item in items if item.size is None or item.size > SMALL]

        async def one(item: Item, places: asyncio.Semaphore) -> None:
            try:
                self._listener.started(item)
                outcome = await self._patience.see_through(begin(item))
                outcomes.append(outcome)
                self._listener.finished(outcome)
            finally:
                places.release()

        async def all_of(group: asyncio.TaskGroup, some: list[Item], places: asyncio.Semaphore) -> None:
            for item in some:
                await places.acquire()
                group.create_task(one(item, places))

        async with asyncio.TaskGroup() as group:
            group.create_task(all_of(group, large, asyncio.Semaphore(self._streams)))
            group.create_task(all_of(group, small, asyncio.Semaphore(3 * self._streams)))
        return outcomes

    async def _run_bundled(self, items: Sequence[Item], bundler: Bundler) -> list[Outcome]:
        """Small files, some hundreds a request; those that were not answered are sent again, one by one."""
        outcomes: list[Outcome] = []
        again: list[Item] = []
        places = asyncio.Semaphore(BUNDLES_AT_ONCE)

        async def one(bundle: Sequence[Item]) -> None:
            async with places:
                self._begin(bundle)
                try:
                    async for outcome in bundler.put(bundle):
                        if outcome.error is not None and outcome.error.retry:
                            again.append(outcome.item)
                        else:
                            outcomes.append(outcome)
                            self._listener.finished(outcome)
                except UnsupportedMediaType:
                    again.extend(bundle)
                finally:
                    self._patience.in_flight -= 1

        async with asyncio.TaskGroup() as group:
            for bundle in split(items):
                group.create_task(one(bundle))
        return outcomes + await self._run(again, self._mover.put)

    def _begin(self, bundle: Sequence[Item]) -> None:
        self._patience.begin()
        for item in bundle:
            self._listener.started(item)
