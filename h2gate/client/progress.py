"""How a transfer is getting on, for programs: `async for now in gate.watch(gate.put("data/")): …`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from h2gate.client.listener import Item, Listener, Outcome
from h2gate.errors import GateError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """What a client has moved since it was first asked to move anything."""

    n_files: int
    """That are known to move; more may be found yet, and of some it may turn out that they need not."""
    n_done: int
    n_failed: int
    n_bytes: int
    """That were sent or received and count: what has to be sent again does not."""
    total_bytes: int | None
    """None while a file's size is not known."""
    seconds: float
    streams: int
    """Files being moved now."""
    connections: int

    @property
    def bytes_per_second(self) -> float:
        """On the whole."""
        return self.n_bytes / max(self.seconds, 1e-6)

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None where that cannot be told."""
        if self.total_bytes is None or not self.n_bytes:
            return None
        return max(0, self.total_bytes - self.n_bytes) / self.bytes_per_second


class Tally(Listener):
    """Counts what it hears, and passes it on."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._moving: dict[Item, int] = {}
        self._began: float | None = None
        self.n_files = self.n_done = self.n_failed = self.n_bytes = self._sizes = self._n_unsized = 0

    @property
    def total_bytes(self) -> int | None:
        return None if self._n_unsized else self._sizes

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began if self._began is not None else 0.0

    def looking(self, n: int) -> None:
        self._listener.looking(n)

    def planned(self, items: Sequence[Item]) -> None:
        self._began = time.monotonic() if self._began is None else self._began
        self.n_files += len(items)
        self._sizes += sum(item.size for item in items if item.size is not None)
        self._n_unsized += sum(item.size is None for item in items)
        self._listener.planned(items)

    def skipped(self, name: str, why: str) -> None:
        self._listener.skipped(name, why)

    def is_there(self, item: Item) -> None:
        self._drop(item)
        self._listener.is_there(item)

    def would_move(self, item: Item) -> None:
        self._drop(item)
        self._listener.would_move(item)

    def _drop(self, item: Item) -> None:
        self.n_files -= 1
        self._sizes -= item.size or 0
        self._n_unsized -= item.size is None

    def started(self, item: Item) -> None:
        self._moving[item] = 0
        self._listener.started(item)

    def moved(self, item: Item, n_bytes: int) -> None:
        self._moving[item] = self._moving.get(item, 0) + n_bytes
        self.n_bytes += n_bytes
        self._listener.moved(item, n_bytes)

    def retried(self, item: Item, error: GateError, seconds: float) -> None:
        self._listener.retried(item, error, seconds)

    def resumed(self, item: Item, at: int) -> None:
        self.n_bytes += at - self._moving.get(item, 0)
        self._moving[item] = at
        self._listener.resumed(item, at)

    def left(self, item: Item) -> None:
        self._listener.left(item)

    def noted(self, text: str) -> None:
        self._listener.noted(text)

    def finished(self, outcome: Outcome) -> None:
        self._moving.pop(outcome.item, None)
        failed = outcome.error is not None
        self.n_failed += failed
        self.n_done += not failed
        if outcome.item.size is None:
            self._n_unsized -= 1
            self._sizes += outcome.n_bytes
        self._listener.finished(outcome)


class Watched(Generic[T]):
    """A transfer that runs while it is iterated over; made by `Client.watch`. Leaving the loop early cancels it."""

    def __init__(self, transfer: Coroutine[Any, Any, T], now: Any, every: float) -> None:
        self._transfer = transfer
        self._now = now
        self._every = every
        self._task: asyncio.Task[T] | None = None

    @property
    def result(self) -> T:
        """What the transfer returned. Raises what it raised; `asyncio.InvalidStateError` before its end."""
        if self._task is None:
            raise asyncio.InvalidStateError("it has not been iterated over")
        return self._task.result()

    async def __aiter__(self) -> AsyncIterator[Progress]:
        """A `Progress` every so many seconds, and one at the end. Raises what the transfer raises."""
        task = self._task = asyncio.ensure_future(self._transfer)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=self._every)
                yield self._now()
            task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
