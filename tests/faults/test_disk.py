"""Disks that fail in every way there is, under load: the status and code of `docs/http.md`, nothing acknowledged lost,
nobody else harmed, nothing left over, and all well again without a restart when the cause is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import pytest

from tests.faults.conftest import Start
from tests.faults.faults import Gateway
from tests.faults.load import Load

FAILED, FULL, EXHAUSTED = (500, "storage_failed"), (507, "storage_full"), (503, "exhausted")
LEDGER = (503, "ledger_failed")
KINDS = ("large", "small", "bundle", "resumable", "append", "get")
WELL = {(200, ""), (201, ""), (204, "")}
ALL = ("large", "small", "bundle", "resumable", "append")
WHOLE = ("large", "small", "bundle")
RESUMABLE = ("resumable",)

Told = tuple[int, str]
Rule = tuple[str, str, str]
CHANGING = ("create", "write", "truncate", "rename", "unlink", "mkdir", "times")

CASES: Mapping[str, tuple[Sequence[Rule], Sequence[str], set[Told]]] = {
    "staging-write-EIO": ([("write", "/staging/", "EIO")], WHOLE, {FAILED}),
    "staging-write-ENOSPC": ([("write", "/staging/", "ENOSPC")], WHOLE, {FULL}),
    "staging-write-EDQUOT": ([("write", "/staging/", "EDQUOT")], WHOLE, {FULL}),
    "staging-create-ENOSPC": ([("create", "/staging/", "ENOSPC")], WHOLE, {FULL}),
    "staging-create-EMFILE": ([("create", "/staging/", "EMFILE")], WHOLE, {EXHAUSTED}),
    "staging-create-ENFILE": ([("create", "/staging/", "ENFILE")], WHOLE, {EXHAUSTED}),
    "staging-sync-EIO": ([("sync", "/staging/", "EIO")], WHOLE, {FAILED}),
    "staging-sync-ENOSPC": ([("sync", "/staging/", "ENOSPC")], WHOLE, {FULL}),
    "staging-write-and-unlink-EIO": (
        [("write", "/staging/", "EIO"), ("unlink", "/staging/", "EIO")],
        WHOLE,
        {FAILED},
    ),
    "partial-write-EIO": ([("write", "/partial/", "EIO")], RESUMABLE, {FAILED}),
    "partial-write-ENOSPC": ([("write", "/partial/", "ENOSPC")], RESUMABLE, {FULL}),
    "partial-write-EDQUOT": ([("write", "/partial/", "EDQUOT")], RESUMABLE, {FULL}),
    "partial-sync-EIO": ([("sync", "/partial/", "EIO")], RESUMABLE, {FAILED}),
    "partial-sync-and-truncate-EIO": (
        [("sync", "/partial/", "EIO"), ("truncate", "/partial/", "EIO")],
        RESUMABLE,
        {FAILED},
    ),
    "partial-sync-and-unlink-EIO": (
        [("sync", "/partial", "EIO"), ("unlink", "/partial/", "EIO")],
        RESUMABLE,
        {FAILED},
    ),
    "partial-create-EMFILE": ([("create", "/partial/", "EMFILE")], RESUMABLE, {EXHAUSTED}),
    "partial-open-EMFILE": ([("open", "/partial/", "EMFILE")], RESUMABLE, {EXHAUSTED}),
    "partial-folder-sync-EIO": ([("sync", "/data/partial$", "EIO")], RESUMABLE, {FAILED}),
    "append-write-EIO": ([("write", "/files/", "EIO")], ("append",), {FAILED}),
    "append-write-ENOSPC": ([("write", "/files/", "ENOSPC")], ("append",), {FULL}),
    "append-sync-EIO": ([("sync", "/files/log", "EIO")], ("append",), {FAILED}),
    "append-sync-and-truncate-EIO": (
        [("sync", "/files/log", "EIO"), ("truncate", "/files/log", "EIO")],
        ("append",),
        {FAILED},
    ),
    "rename-EIO": ([("rename", "/files/", "EIO")], (*WHOLE, "resumable"), {FAILED}),
    "rename-ENOSPC": ([("rename", "/files/", "ENOSPC")], (*WHOLE, "resumable"), {FULL}),
    "folder-sync-EIO": ([("sync", "/data/files$", "EIO")], (*WHOLE, "resumable"), {FAILED}),
    "read-EIO": ([("read", "/files/log", "EIO")], ("get", "append"), {FAILED}),
    "no-descriptors": (
        [("open", "/data/", "EMFILE"), ("create", "/data/", "EMFILE"), ("open", ".", "EMFILE")],
        (*ALL, "get"),
        {EXHAUSTED},
    ),
    "read-only": ([(call, "/data/", "EROFS") for call in CHANGING], ALL, {FAILED, LEDGER}),
    "ledger-write-EIO": ([("write", "/ledger.sqlite", "EIO")], ALL, {LEDGER}),
    "ledger-write-ENOSPC": ([("write", "/ledger.sqlite", "ENOSPC")], ALL, {FULL}),
    "ledger-write-EDQUOT": ([("write", "/ledger.sqlite", "EDQUOT")], ALL, {LEDGER}),
    "ledger-sync-EIO": ([("sync", "/ledger.sqlite", "EIO")], ALL, {LEDGER}),
    "everything-EIO": (
        [(call, "/data/", "EIO") for call in (*CHANGING, "sync", "read")],
        (*ALL, "get"),
        {FAILED, LEDGER},
    ),
}


async def warm(gateway: Gateway) -> dict[str, object]:
    """What the gateway holds when it has been at work and nobody is connected."""
    async with Load(gateway) as load:
        await load.begin()
        await load.round(2, 2, 1)
        await load.finish()
    return await asyncio.to_thread(gateway.leftovers)


async def ended(gateway: Gateway, load: Load, round_: asyncio.Task[None]) -> None:
    """Every request has an answer before long."""
    await asyncio.wait([round_], timeout=25)
    assert round_.done(), (len(load.answers), await asyncio.to_thread(gateway.tasks), gateway.process.lines[-20:])
    await round_


@pytest.mark.parametrize("case", CASES)
def test_trouble_is_told_and_costs_no_more_than_what_it_hits(start: Start, case: str) -> None:
    rules, hit, expected = CASES[case]
    gateway = start("--progress-seconds", "0.02")

    async def main() -> None:
        before = await warm(gateway)
        async with Load(gateway) as load:
            await load.begin()
            with ExitStack() as trouble:
                load.is_moving.clear()
                under_way = asyncio.create_task(load.round())
                async with asyncio.timeout(20):
                    await load.is_moving.wait()
                faults = [trouble.enter_context(gateway.faults.of(*rule)) for rule in rules]
                await ended(gateway, load, under_way)
                await load.round(5, 5, 2)
                assert any(fault.hits for fault in faults)
            told = {kind: load.told(kind) for kind in KINDS}
            assert any(told[kind] & expected for kind in hit), told
            for kind in KINDS:
                assert told[kind] <= WELL | (expected if kind in hit else set()), (kind, told)
            assert load.told("head") <= WELL | {(status, "") for status, _ in expected}
            for answer in load.answers:
                if answer.kind != "bundle":  # whose lines have no fields
                    assert bool(answer.retry_after) == (answer.status == 503), answer
            load.answers.clear()
            await load.round(3, 3, 2)
            await load.finish()
            assert {each for kind in KINDS for each in load.told(kind)} <= WELL
            await load.check()
        await asyncio.to_thread(gateway.expect, before)

    asyncio.run(main())
