"""Many files over one connection: `async with Client(url) as gate: await gate.put(["data"])`.

Every file is hashed on its way and the two ends' digests are compared. One file's failure stops no other; what breaks
off is gone on with (see `retrying`, `sending`, `fetching`). Files are in flight up to `streams` (small ones, whose cost
is the round trip, three times as many beside them), so neither memory nor the gateway's patience depends on how many
files there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from h2gate.client import names
from h2gate.client.asking import Asker, Entry
from h2gate.client.bundling import FEW, MAX_FILES, Bundler
from h2gate.client.comparing import Compare, Comparison
from h2gate.client.downloads import downloads
from h2gate.client.failures import LocalFile
from h2gate.client.feed import Feed
from h2gate.client.journal import Journal
from h2gate.client.listener import Item, Listener, Outcome
from h2gate.client.local import PIECE
from h2gate.client.moving import SMALL, Mover
from h2gate.client.pacing import Pace
from h2gate.client.retrying import RETRIES, Move, Patience
from h2gate.client.selection import ALL, Selection
from h2gate.client.transport import STREAM_WINDOW, HttpVersion, Transport, tls_context
from h2gate.errors import ConfigError, UnsupportedMediaType

BUNDLES_AT_ONCE = 4
LOOKING_SECONDS = 1.0
"""How often it is told how many files were found, while that goes on."""


class Client:
    """`url`: where relative names start. `ca`: files of authorities trusted beside the system's. `digest`: send each
    large file's SHA-256 behind it as a trailer (what the gateway states is compared in any case). `bundles`: send small
    files many at a time, where the gateway takes that. `retries`: tries in a row that do not get on before a file is
    given up. `journal`: a folder that remembers what was begun, so that another `Client` goes on with it. `limit_rate`:
    bytes per second, over all requests together; fewer files are then in flight, so that each gets on.

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
        limit_rate: int | None = None,
        listener: Listener | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if streams < 1 or connections < 1:
            raise ConfigError("streams and connections must be at least 1")
        if limit_rate is not None and limit_rate < 1:
            raise ConfigError("a rate is at least 1 byte per second")
        pace = Pace(limit_rate) if limit_rate is not None else None
        streams, window = pace.shares(streams) if pace is not None else (streams, STREAM_WINDOW)
        self.url = names.parse_url(url)
        try:
            verify = tls_context(ca_files=tuple(str(file) for file in ca), insecure=insecure)
        except OSError as error:
            raise ConfigError(f"{', '.join(map(str, ca))}: not a file of certificates ({error})") from error
        limits = httpx.Limits(max_connections=4 * streams, max_keepalive_connections=4 * streams)
        self.transport = Transport(
            verify=verify, http=http, connections=connections, limits=limits, stream_window=window
        )
        self._streams = streams
        self._listener = listener or Listener()
        self._asker = Asker(self.transport, headers or {}, pace)
        self._patience = Patience(self._asker, self._listener, retries)
        self._mover = Mover(
            self._asker,
            self._listener,
            Journal(journal),
            digest=digest and http != "1.1",
            piece=PIECE if pace is None else pace.piece_bytes,
        )
        self._bundler = Bundler(self._asker, self._listener) if bundles else None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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

    # -- the verbs

    async def put(
        self,
        paths: Sequence[str | Path],
        url: str | None = None,
        *,
        selection: Selection = ALL,
        compare: Compare = "never",
        dry_run: bool = False,
    ) -> list[Outcome]:
        """Send files and folders to `url` (see `names`). An outcome for each file, in the order they ended.

        With `compare` files that the gateway has already are not sent; the listener is told. With `dry_run` none is.
        """
        items, failed = await self._planned(paths, url or self.url, selection)
        for outcome in failed:
            self._listener.finished(outcome)
        large, small = Feed(), Feed()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sift(items, names.parse_url(url or self.url), compare, large, small))
            if dry_run:
                dry = [group.create_task(self._only_tell(feed)) for feed in (large, small)]
                return failed + [outcome for task in dry for outcome in await task]
            alone = group.create_task(self._each(large, self._mover.put, self._streams))
            together = group.create_task(self._small(small))
        return failed + alone.result() + together.result()

    async def _sift(self, items: Sequence[Item], url: str, compare: Compare, large: Feed, small: Feed) -> None:
        """What is to be sent, as it is known."""

        def send(item: Item) -> None:
            (small if _is_small(item) else large).add(item)

        root = url[: url.rindex("/") + 1]
        await Comparison(self._asker, root, items, compare, send=send, is_there=self._listener.is_there).run()
        large.close()
        small.close()

    async def _only_tell(self, feed: Feed) -> list[Outcome]:
        async for item in feed:
            self._listener.would_move(item)
        return []

    async def get(
        self, urls: Sequence[str], target: str = ".", *, selection: Selection = ALL, dry_run: bool = False
    ) -> list[Outcome]:
        """Fetch files, and folders (URLs that end in "/") with everything below that `selection` takes, to `target`."""
        urls = [names.parse_url(url) for url in urls]
        several = len(urls) > 1 or names.is_folder(urls[0])
        if several and target == names.STANDARD:
            raise ConfigError("standard output takes one file")
        if several and not names.is_local_folder(target):
            raise ConfigError(f"{target}: for several files, or a folder, name a folder that exists or end it with /")
        items = [item for url in urls async for item in downloads(self._asker, url, target, selection)]
        self._listener.planned(items)
        if dry_run:
            return await self._only_tell(Feed(items, closed=True))
        return await self._run(items, self._mover.get)

    async def ls(self, url: str | None = None) -> list[Entry]:
        """What is in a folder, or the one file that `url` names. Raises `GateError`."""
        return await self._asker.ls(names.parse_url(url) if url else self.url)

    async def uploads(self) -> list[dict[str, Any]]:
        """One's own resumable uploads, as `GET /uploads/` describes them. Raises `GateError`."""
        return await self._asker.uploads(self.url)

    async def rm(self, urls: Sequence[str], *, recursive: bool = False) -> list[Outcome]:
        """Delete files; with `recursive` also every file below URLs that end in "/"."""
        items = []
        for url in map(names.parse_url, urls):
            if names.is_folder(url) and not recursive:
                raise ConfigError(f"{url} is a folder: say --recursive to delete every file below it")
            found = [entry async for entry in self._asker.walk(url)] if names.is_folder(url) else []
            items += [Item(entry.url, None, entry.url, 0) for entry in found] or [Item(url, None, url, 0)]
        self._listener.planned(items)
        return await self._run(items, self._mover.delete)

    # -- what is to move

    async def _planned(
        self, paths: Sequence[str | Path], url: str, selection: Selection
    ) -> tuple[list[Item], list[Outcome]]:
        found: list[Item] = []
        planning = asyncio.ensure_future(asyncio.to_thread(self._plan, paths, url, selection, found))
        try:
            while not (await asyncio.wait({planning}, timeout=LOOKING_SECONDS))[0]:
                self._listener.looking(len(found))
            items, failed = await planning
        finally:
            planning.cancel()
        self._listener.planned(items)
        return items, failed

    def _plan(
        self, paths: Sequence[str | Path], url: str, selection: Selection = ALL, items: list[Item] | None = None
    ) -> tuple[list[Item], list[Outcome]]:
        """`items`: where what is found is put while it is found."""
        items = [] if items is None else items
        failed: list[Outcome] = []
        target = names.parse_url(url)
        if len(paths) > 1 and not names.is_folder(target):
            raise ConfigError(f"{target}: to put several files, or a folder, end the URL with /")
        for path in paths:
            try:
                items.extend(names.uploads([path], target, self._listener.skipped, selection))
            except LocalFile as error:
                failed.append(Outcome(Item(str(path), Path(path), target), error=error))
        return items, failed

    # -- many at once

    async def _run(self, items: Sequence[Item], begin: Callable[[Item], Move]) -> list[Outcome]:
        small = Feed((item for item in items if _is_small(item)), closed=True)
        large = Feed((item for item in items if not _is_small(item)), closed=True)
        async with asyncio.TaskGroup() as group:
            one = group.create_task(self._each(large, begin, self._streams))
            other = group.create_task(self._each(small, begin, 3 * self._streams))
        return one.result() + other.result()

    async def _each(self, feed: Feed, begin: Callable[[Item], Move], at_once: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        places = asyncio.Semaphore(at_once)

        async def one(item: Item) -> None:
            try:
                self._listener.started(item)
                outcome = await self._patience.see_through(begin(item))
                outcomes.append(outcome)
                self._listener.finished(outcome)
            finally:
                places.release()

        async with asyncio.TaskGroup() as group:
            async for item in feed:
                await places.acquire()
                group.create_task(one(item))
        return outcomes

    async def _small(self, feed: Feed) -> list[Outcome]:
        """Small files, some hundreds a request; those that were not answered, or are too few, go one by one."""
        if self._bundler is None:
            return await self._each(feed, self._mover.put, 3 * self._streams)
        outcomes: list[Outcome] = []
        again = Feed()
        places = asyncio.Semaphore(BUNDLES_AT_ONCE)

        async def one(bundle: Sequence[Item], bundler: Bundler) -> None:
            self._begin(bundle)
            try:
                async for outcome in bundler.put(bundle):
                    if outcome.error is not None and outcome.error.retry:
                        again.add(outcome.item)
                    else:
                        outcomes.append(outcome)
                        self._listener.finished(outcome)
            except UnsupportedMediaType:
                again.add(*bundle)
            finally:
                self._patience.in_flight -= 1
                places.release()

        async with asyncio.TaskGroup() as group:
            alone = group.create_task(self._each(again, self._mover.put, 3 * self._streams))
            async with asyncio.TaskGroup() as bundles:
                while bundle := await feed.several(MAX_FILES):
                    if len(bundle) < FEW:
                        again.add(*bundle)
                    else:
                        await places.acquire()
                        bundles.create_task(one(bundle, self._bundler))
            again.close()
        return outcomes + alone.result()

    def _begin(self, bundle: Sequence[Item]) -> None:
        self._patience.begin()
        for item in bundle:
            self._listener.started(item)


def _is_small(item: Item) -> bool:
    return item.size is not None and item.size <= SMALL
