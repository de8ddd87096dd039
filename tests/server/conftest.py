"""What the tests of the server share: raw clients, storages that stall or fill up, and a look at what is left over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from h2gate.config import Settings
from h2gate.errors import StorageFull
from h2gate.storage.disk import DiskStorage
from h2gate.upload import Batch, Body, Identity, Tap
from tests.conftest import Process, Served, n_descriptors
from tests.server.raw import RawClient, eventually

Connect = Callable[..., RawClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """`connect(gateway)` is a raw connection over TLS, closed at the end; `cleartext=True` without TLS."""
    with ExitStack() as stack:

        def start(gateway: Served | Process, *, cleartext: bool = False, **options: Any) -> RawClient:
            url = gateway.plain_url if cleartext and isinstance(gateway, Served) else gateway.url
            return stack.enter_context(RawClient(url, gateway.ca, **options))

        yield start


class PassedOn:
    """A body that does what another one does."""

    def __init__(self, body: Body) -> None:
        self.length = body.length
        self._body = body

    @property
    def trailers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._body.trailers

    async def pull(self) -> Batch:
        return await self._body.pull()


class GatedBody(PassedOn):
    """Lets `free` pulls through, the others once the gate is open."""

    def __init__(self, body: Body, gate: Gate) -> None:
        super().__init__(body)
        self._gate = gate
        self._left = gate.free_pulls

    async def pull(self) -> Batch:
        if self._left == 0:
            await self._gate.wait()
        self._left -= 1
        return await super().pull()


class Gate:
    """Makes a storage whose sink stalls for every upload that announces `STALLED` bytes or more."""

    STALLED = 5 << 20

    def __init__(self, free_pulls: int) -> None:
        self.free_pulls = free_pulls
        self.waiting = 0
        self._open = threading.Event()
        self._wakers: list[Callable[[], object]] = []

    def __call__(self, settings: Settings) -> DiskStorage:
        return GatedStorage(settings, self)

    async def wait(self) -> None:
        event, loop = asyncio.Event(), asyncio.get_running_loop()
        self._wakers.append(lambda: loop.call_soon_threadsafe(event.set))
        self.waiting += 1
        if not self._open.is_set():
            await event.wait()

    def open(self) -> None:
        self._open.set()
        for wake in self._wakers:
            wake()


class GatedStorage(DiskStorage):
    def __init__(self, settings: Settings, gate: Gate) -> None:
        super().__init__(settings.data)
        self._gate = gate

    async def stage(self, key: str, body: Body, taps: Sequence[Tap], *, modified_ns: int | None) -> Identity:
        if (body.length or 0) >= Gate.STALLED:
            body = GatedBody(body, self._gate)
        return await super().stage(key, body, taps, modified_ns=modified_ns)


@pytest.fixture(params=[0, 1], ids=["nothing-pulled", "one-pull"])
def gate(request: pytest.FixtureRequest) -> Gate:
    return Gate(request.param)


class FullBody(PassedOn):
    def __init__(self, body: Body) -> None:
        super().__init__(body)
        self._n_bytes = 0

    async def pull(self) -> Batch:
        batch = await super().pull()
        self._n_bytes += batch.n_bytes
        if self._n_bytes > FullStorage.ROOM:
            raise StorageFull("no space left, says the test")
        return batch


class FullStorage(DiskStorage):
    """No space for any body that is not small."""

    ROOM = 128 << 10

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.data)

    async def stage(self, key: str, body: Body, taps: Sequence[Tap], *, modified_ns: int | None) -> Identity:
        return await super().stage(key, FullBody(body), taps, modified_ns=modified_ns)


class Leftovers:
    """What a gateway in a thread holds, beside what it held in the beginning. That may be more than in the end: of a
    test before this one, say, the last descriptors may still be on their way out."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._before = self._look()

    def _look(self) -> dict[str, int]:
        worker = self._served.worker

        async def tasks() -> int:
            return len(asyncio.all_tasks())

        return {
            "tasks": self._served.inside(tasks()),
            "descriptors": n_descriptors(),
            "connections": len(worker.connections),
            "streams": sum(len(each.streams) for each in worker.connections),
            "window budget": worker.budget.left,
            "staged": len(self._served.staged()),
        }

    def expect_none(self) -> None:
        found: dict[str, int] = {}
        budget = self._before["window budget"]

        def clean() -> bool:
            found.clear()
            found.update(self._look())
            return all(found[name] <= n for name, n in self._before.items()) and found["window budget"] == budget

        try:
            eventually(clean, "nothing is left over")
        except AssertionError as error:
            raise AssertionError(f"before {self._before}, now {found}") from error


@pytest.fixture
def leftovers() -> Callable[[Served], Leftovers]:
    return Leftovers
