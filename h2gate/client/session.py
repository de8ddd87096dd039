"""Many files over one connection: `async with Client(url) as gate: await gate.put("data", "in/")`.

Every file is hashed on its way and the two ends' digests are compared. One file's failure stops no other; what breaks
off is gone on with (see `retrying`, `sending`, `fetching`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from h2gate.client import names
from h2gate.client.asking import Asker, Entry
from h2gate.client.begun import Begun, paths_below
from h2gate.client.bundling import Bundler
from h2gate.client.claiming import Who, credential
from h2gate.client.comparing import Compare, Comparison
from h2gate.client.compressing import Compress, Compression
from h2gate.client.crowd import Crowd, is_small
from h2gate.client.downloads import downloads
from h2gate.client.failures import LocalFile
from h2gate.client.feed import Feed
from h2gate.client.journal import Journal
from h2gate.client.listener import Item, Listener, Outcome
from h2gate.client.local import PIECE
from h2gate.client.moving import Mover
from h2gate.client.pacing import Pace
from h2gate.client.progress import Progress, Tally, Watched
from h2gate.client.receipts import WANTED, Receipts
from h2gate.client.retrying import RETRIES, Patience
from h2gate.client.selection import ALL, Selection
from h2gate.client.sending import LOOK_FOR_BYTES
from h2gate.client.streams import Reader, Streamed, reader_of
from h2gate.client.transport import STREAM_WINDOW, HttpVersion, Transport, trust
from h2gate.errors import ConfigError

LOOKING_SECONDS = 1.0
"""How often it is told how many files were found, while that goes on."""

T = TypeVar("T")


class Client:
    """`url`: where relative targets start. `ca`: files of authorities trusted beside the system's. `digest`: send each
    large file's SHA-256 behind it as a trailer (what the gateway states is compared in any case). `bundles`: send small
    files many at a time, where the gateway takes that. `retries`: tries in a row that do not get on before a file is
    given up. `journal`: a folder that remembers what was begun, so that another `Client` goes on with it. `compress`:
    send files with a content coding where the gateway takes it and it makes them smaller; "auto" is the best one.
    `limit_rate`: bytes per second, over all requests together; fewer files are then in flight, so that each gets on.
    `receipts`: a folder for what the gateway signs for each file that it stored.
    `token`: who this is, for the origin of `url` alone, over TLS or on this machine: a bearer token, a function that
    gives one (asynchronous or not; called again when the last one is too old), or a `httpx.Auth`. `cert` and `key`:
    files of a client certificate.

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
        limit_rate: int | None = None,
        listener: Listener | None = None,
        headers: Mapping[str, str] | None = None,
        token: Who | None = None,
        cert: str | Path | None = None,
        key: str | Path | None = None,
        receipts: Path | None = None,
    ) -> None:
        if streams < 1 or connections < 1:
            raise ConfigError("streams and connections must be at least 1")
        if limit_rate is not None and limit_rate < 1:
            raise ConfigError("a rate is at least 1 byte per second")
        pace = Pace(limit_rate) if limit_rate is not None else None
        streams, window = pace.shares(streams) if pace is not None else (streams, STREAM_WINDOW)
        self.url = names.parse_url(url)
        who = credential(token, self.url, headers or {})
        verify = trust(ca, cert, key, insecure=insecure)
        limits = httpx.Limits(max_connections=4 * streams, max_keepalive_connections=4 * streams)
        self.transport = Transport(
            verify=verify, http=http, connections=connections, limits=limits, stream_window=window
        )
        heard = listener or Listener()
        self._listener = self._tally = Receipts(heard, receipts) if receipts is not None else Tally(heard)
        headers = {**(headers or {}), **(WANTED if receipts is not None else {})}
        self._asker = Asker(self.transport, headers, pace, who, self.url)
        compression = Compression(compress, self._asker, self._listener)
        self._mover = Mover(
            self._asker,
            self._listener,
            Journal(journal),
            compression,
            digest=digest and http != "1.1",
            piece=PIECE if pace is None else pace.piece_bytes,
        )
        self._patience = Patience(self._asker, self._listener, retries)
        self._bundler = Bundler(self._asker, self._listener, compression) if bundles else None
        self._crowd = Crowd(self._patience, self._listener, self._bundler, streams)

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

    # -- the verbs

    async def put(
        self,
        source: str | Path | Sequence[str | Path] | Streamed,
        target: str | None = None,
        *,
        selection: Selection = ALL,
        compare: Compare = "never",
        dry_run: bool = False,
    ) -> list[Outcome]:
        """Send a file or folder, several of them, or what gives bytes: a file object, an iterable, an asynchronous one.

        `target` is a URL, or a path below the client's; with a slash at its end a folder (see `names`). An outcome for
        each file, in the order they ended. What an iterable raises is raised. With `compare` files that the gateway has
        already are not sent; the listener is told. With `dry_run` none is.
        """
        url = names.resolve(self.url, target) if target is not None else self.url
        if isinstance(source, str | os.PathLike):
            source = [source]
        elif not isinstance(source, list | tuple):
            return [await self._put_stream(reader_of(source), url)]
        return await self._put_paths(source, url, selection, compare, dry_run=dry_run)

    async def _put_stream(self, reader: Reader, url: str) -> Outcome:
        if names.is_folder(url):
            raise ConfigError(f"{url}: what is streamed has no name; give a target that names the file")
        item = Item(names.last_name(url), None, url)
        self._listener.planned([item])
        self._listener.started(item)
        outcome = await self._patience.see_through(self._mover.put_stream(item, reader))
        self._listener.finished(outcome)
        return outcome

    async def _put_paths(
        self, paths: Sequence[str | Path], url: str, selection: Selection, compare: Compare, *, dry_run: bool
    ) -> list[Outcome]:
        items, failed = await self._planned(paths, url, selection)
        for outcome in failed:
            self._listener.finished(outcome)
        large, small = Feed(), Feed()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sift(items, url, compare, large, small))
            if dry_run:
                told = [group.create_task(self._only_tell(feed)) for feed in (large, small)]
                return failed + [outcome for task in told for outcome in await task]
            begun = None
            if self._mover.remembers and sum((item.size or 0) >= LOOK_FOR_BYTES for item in items) > 1:
                begun = Begun(group.create_task(paths_below(self._asker, _root(url))))
            moved = group.create_task(self._crowd.put(large, small, partial(self._mover.put, begun=begun)))
        return failed + moved.result()

    async def _sift(self, items: Sequence[Item], url: str, compare: Compare, large: Feed, small: Feed) -> None:
        """What is to be sent, as it is known."""

        def send(item: Item) -> None:
            (small if is_small(item) else large).add(item)

        await Comparison(self._asker, _root(url), items, compare, send=send, is_there=self._listener.is_there).run()
        large.close()
        small.close()

    async def _only_tell(self, feed: Feed) -> list[Outcome]:
        async for item in feed:
            self._listener.would_move(item)
        return []

    async def get(
        self,
        urls: str | Sequence[str],
        target: str | Path = ".",
        *,
        selection: Selection = ALL,
        dry_run: bool = False,
    ) -> list[Outcome]:
        """Fetch files, and folders (URLs or paths that end in "/") with everything below that `selection` takes, to
        `target`."""
        urls, target = self._resolved(urls), os.fspath(target)
        several = len(urls) > 1 or names.is_folder(urls[0])
        if several and target == names.STANDARD:
            raise ConfigError("standard output takes one file")
        if several and not names.is_local_folder(target):
            raise ConfigError(f"{target}: for several files, or a folder, name a folder that exists or end it with /")
        items = [item for url in urls async for item in downloads(self._asker, url, target, selection)]
        self._listener.planned(items)
        if dry_run:
            return await self._only_tell(Feed(items, closed=True))
        return await self._crowd.run(items, self._mover.get)

    async def ls(self, url: str | None = None) -> list[Entry]:
        """What is in a folder, or the one file that `url` names. Raises `GateError`."""
        return await self._asker.ls(names.resolve(self.url, url) if url else self.url)

    async def uploads(self) -> list[dict[str, Any]]:
        """One's own resumable uploads, as `GET /uploads/` describes them. Raises `GateError`."""
        return await self._asker.uploads(self.url)

    async def ticket(self, **claims: Any) -> dict[str, Any]:
        """A ticket for the folder of this URL, with the claims of `POST /tickets/`. Raises `GateError`."""
        return await self._asker.ticket(self.url, claims)

    async def revoke(self, ticket_id: str) -> None:
        """End a ticket. Raises `GateError`."""
        await self._asker.revoke(self.url, ticket_id)

    async def rm(self, urls: str | Sequence[str], *, recursive: bool = False) -> list[Outcome]:
        """Delete files; with `recursive` also every file below URLs that end in "/"."""
        items = []
        for url in self._resolved(urls):
            if names.is_folder(url) and not recursive:
                raise ConfigError(f"{url} is a folder: say --recursive to delete every file below it")
            found = [entry async for entry in self._asker.walk(url)] if names.is_folder(url) else []
            items += [Item(entry.url, None, entry.url, 0) for entry in found] or [Item(url, None, url, 0)]
        self._listener.planned(items)
        return await self._crowd.run(items, self._mover.delete)

    def _resolved(self, urls: str | Sequence[str]) -> list[str]:
        return [names.resolve(self.url, url) for url in ([urls] if isinstance(urls, str) else urls)]

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


def _root(url: str) -> str:
    """Of the folder that all goes into."""
    return url[: url.rindex("/") + 1]
