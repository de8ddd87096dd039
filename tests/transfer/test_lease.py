"""Who may write an upload: the newcomer wins, within a process and across them, and every wait is bounded.

Two storages with a mailbox each are two processes as far as leases can tell; one test has a real second one.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from h2gate.errors import Locked, NotFound, Superseded
from h2gate.storage.disk import DiskStorage
from h2gate.transfer.lease import LET_GO, Lease, Leases
from h2gate.transfer.mailbox import Mailbox
from tests.conftest import n_descriptors

WAIT_SECONDS = 20.0
"""Longer than anything takes here; where a wait is to end, it is given less."""


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


@asynccontextmanager
async def worker(data: Path, wait_seconds: float = WAIT_SECONDS) -> AsyncIterator[Leases]:
    """The leases of a process."""
    storage = DiskStorage(data)
    found: list[Leases] = []
    box = Mailbox(data / "words", lambda word, upload_id: found[0].ask(upload_id) if word == LET_GO else None)
    leases = Leases(storage, lambda upload_id: box.tell(LET_GO, upload_id), wait_seconds)
    found.append(leases)
    try:
        yield leases
    finally:
        box.close()
        await storage.close()


async def begin(data: Path, *keys: str) -> None:
    storage = DiskStorage(data)
    for key in keys:
        await storage.begin(key)
    await storage.close()


class Holder:
    """A request that waits for bytes which never come; when it is asked to let go, it writes what it has."""

    def __init__(self, leases: Leases, key: str = "k", *, obeys: bool = True) -> None:
        self.holds = asyncio.Event()
        self.may_end = asyncio.Event()
        self._obeys = obeys
        self.task = asyncio.create_task(self._run(leases, key))

    async def _run(self, leases: Leases, key: str) -> str:
        async with leases.hold(key) as lease:
            self.holds.set()
            if not self._obeys:
                await self.may_end.wait()
                return "ended"
            try:
                await lease.unless_asked(self.may_end.wait)
            except Superseded:
                lease.partial.begin([])
                await lease.partial.write([b"kept"])
                await lease.partial.finish()
                return "superseded"
            return "ended"


@pytest.mark.parametrize("is_other_process", [False, True])
def test_newcomer_gets_the_upload_once_the_holder_has_made_durable_what_it_had(
    tmp_path: Path, is_other_process: bool
) -> None:
    async def test() -> None:
        await begin(tmp_path, "k")
        async with worker(tmp_path) as one, worker(tmp_path) as two:
            holder = Holder(one)
            await holder.holds.wait()
            async with (two if is_other_process else one).hold("k") as lease:
                assert lease.partial.size == 4
                assert await holder.task == "superseded"

    run(test)


@pytest.mark.parametrize("is_other_process", [False, True])
def test_holder_that_does_not_let_go_in_time_locks_the_newcomer_out(tmp_path: Path, is_other_process: bool) -> None:
    async def test() -> None:
        await begin(tmp_path, "k")
        async with worker(tmp_path, 0.1) as one, worker(tmp_path, 0.1) as two:
            holder = Holder(one, obeys=False)
            await holder.holds.wait()
            with pytest.raises(Locked):
                await (two if is_other_process else one).hold("k").__aenter__()
            holder.may_end.set()
            assert await holder.task == "ended"
            async with two.hold("k"):
                pass

    run(test)


@pytest.mark.parametrize("is_other_process", [False, True])
def test_one_that_is_not_patient_is_locked_out_at_once_and_the_holder_is_not_asked(
    tmp_path: Path, is_other_process: bool
) -> None:
    async def test() -> None:
        await begin(tmp_path, "k")
        async with worker(tmp_path) as one, worker(tmp_path) as two:
            holder = Holder(one)
            await holder.holds.wait()
            with pytest.raises(Locked):
                await (two if is_other_process else one).hold("k", patient=False).__aenter__()
            holder.may_end.set()
            assert await holder.task == "ended"

    run(test)


def test_many_newcomers_get_it_one_after_the_other_and_the_last_keeps_it(tmp_path: Path) -> None:
    async def test() -> None:
        await begin(tmp_path, "k")
        async with worker(tmp_path) as one:
            holders = [Holder(one)]
            await holders[0].holds.wait()
            holders += [Holder(one) for _ in range(5)]
            await holders[-1].holds.wait()
            assert [await each.task for each in holders[:-1]] == ["superseded"] * 5
            holders[-1].may_end.set()
            assert await holders[-1].task == "ended"

    run(test)


def test_holder_of_another_upload_is_not_disturbed(tmp_path: Path) -> None:
    async def test() -> None:
        await begin(tmp_path, "k", "l")
        async with worker(tmp_path) as one, worker(tmp_path) as two:
            holders = [Holder(one, "k"), Holder(two, "l")]
            for each in holders:
                await each.holds.wait()
                each.may_end.set()
                assert await each.task == "ended"

    run(test)


@pytest.mark.parametrize("is_other_process", [False, True])
def test_upload_that_ends_while_it_is_waited_for_is_not_found(tmp_path: Path, is_other_process: bool) -> None:
    async def test() -> None:
        await begin(tmp_path, "k")
        async with worker(tmp_path) as one, worker(tmp_path) as two:
            holder = Holder(one, obeys=False)
            await holder.holds.wait()
            waiting = asyncio.create_task((two if is_other_process else one).hold("k").__aenter__())
            await asyncio.sleep(0)
            (tmp_path / "partial" / "k").unlink()
            holder.may_end.set()
            with pytest.raises(NotFound):
                await waiting
            with pytest.raises(NotFound):
                await one.hold("k").__aenter__()

    run(test)


def test_cancelled_at_any_moment_it_holds_nothing(tmp_path: Path) -> None:
    async def hold(leases: Leases) -> None:
        async with leases.hold("k") as lease:
            await lease.unless_asked(asyncio.Event().wait)

    async def test() -> None:
        await begin(tmp_path, "k")
        async with worker(tmp_path) as one, worker(tmp_path) as two:
            before = n_descriptors()
            for turns in range(30):
                tasks = [asyncio.create_task(hold(each)) for each in (one, one, two)]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for each in tasks:
                    each.cancel()
                await asyncio.wait(tasks)
            assert n_descriptors() == before
            for leases in (one, two):
                async with leases.hold("k"):
                    pass

    run(test)


def test_what_a_holder_waits_for_may_time_out_or_fail_by_itself() -> None:
    async def times_out() -> None:
        raise TimeoutError("its own")

    async def test() -> None:
        lease = Lease()
        with pytest.raises(TimeoutError, match="its own"):
            await lease.unless_asked(times_out)
        lease.ask()
        lease.ask()
        with pytest.raises(Superseded):
            await lease.unless_asked(times_out)

    run(test)


def test_holder_that_is_cancelled_while_it_is_asked_is_cancelled(tmp_path: Path) -> None:
    async def test() -> None:
        lease = Lease()
        task = asyncio.create_task(lease.unless_asked(asyncio.Event().wait))
        await asyncio.sleep(0)
        lease.ask()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run(test)


def _hold_in_process(connection: Connection, data: str) -> None:
    async def main() -> None:
        async with worker(Path(data)) as leases:
            holder = Holder(leases)
            await holder.holds.wait()
            connection.send("holds")
            connection.send(await holder.task)
            await asyncio.to_thread(connection.recv)

    asyncio.run(main())


@pytest.mark.parametrize("is_killed", [False, True])
def test_other_process_lets_go_when_it_is_asked_and_when_it_is_killed(tmp_path: Path, is_killed: bool) -> None:
    async def test() -> None:
        await begin(tmp_path, "k")
        context = multiprocessing.get_context("forkserver")
        ours, theirs = context.Pipe()
        process = context.Process(target=_hold_in_process, args=(theirs, str(tmp_path)))
        process.start()
        theirs.close()
        assert await asyncio.to_thread(ours.recv) == "holds"
        if is_killed:
            process.kill()
        async with worker(tmp_path) as leases, leases.hold("k") as lease:
            assert lease.partial.size == (0 if is_killed else 4)
        if not is_killed:
            assert await asyncio.to_thread(ours.recv) == "superseded"
            ours.send("end")
        await asyncio.to_thread(process.join)
        ours.close()

    run(test)
