"""`Client` for programs without an event loop: `with SyncClient(url) as gate: gate.put("data", "in/")`.

It has a loop of its own, which runs while a method does: between them nothing moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from h2gate.client.asking import Entry
from h2gate.client.listener import Outcome
from h2gate.client.progress import Progress
from h2gate.client.session import Client
from h2gate.client.streams import Streamed

T = TypeVar("T")
OnProgress = Callable[[Progress], object]


def runner() -> asyncio.Runner:
    """On uvloop where there is one: TLS costs a fifth less there."""
    try:
        import uvloop  # noqa: PLC0415 - not installed everywhere
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


class SyncClient:
    """Takes what `Client` takes. Not for use inside a running event loop, nor from two threads at once.

    `on_progress` is called twice a second and at the end.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = runner()
        self._client: Client = self._runner.run(_made(url, options))

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        try:
            self._runner.run(self._client.close())
        finally:
            self._runner.close()

    def put(
        self,
        source: str | Path | Sequence[str | Path] | Streamed,
        target: str | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> list[Outcome]:
        """See `Client.put`."""
        return self._run(self._client.put(source, target), on_progress)

    def get(
        self, urls: str | Sequence[str], target: str = ".", *, on_progress: OnProgress | None = None
    ) -> list[Outcome]:
        """See `Client.get`."""
        return self._run(self._client.get(urls, target), on_progress)

    def ls(self, url: str | None = None) -> list[Entry]:
        """See `Client.ls`."""
        return self._runner.run(self._client.ls(url))

    def rm(self, urls: str | Sequence[str], *, recursive: bool = False) -> list[Outcome]:
        """See `Client.rm`."""
        return self._runner.run(self._client.rm(urls, recursive=recursive))

    def _run(self, transfer: Coroutine[Any, Any, T], on_progress: OnProgress | None) -> T:
        return self._runner.run(self._watched(transfer, on_progress) if on_progress is not None else transfer)

    async def _watched(self, transfer: Coroutine[Any, Any, T], on_progress: OnProgress) -> T:
        watched = self._client.watch(transfer)
        async for now in watched:
            on_progress(now)
        return watched.result


async def _made(url: str, options: dict[str, Any]) -> Client:
    return Client(url, **options)
