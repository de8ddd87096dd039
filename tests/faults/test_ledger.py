"""A ledger that another process holds, or that is damaged: 503, and no harm to what does not need the part that is."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.conftest import Start
from tests.faults.load import Load
from tests.faults.test_disk import ALL, KINDS, LEDGER, WELL, warm
from tests.transfer.test_ledger_locked import held


@pytest.mark.timeout(180)
def test_ledger_that_is_locked_for_longer_than_anybody_waits_is_503_and_reading_goes_on(start: Start) -> None:
    gateway = start()

    async def main() -> None:
        before = await warm(gateway)
        async with Load(gateway) as load:
            await load.begin()
            with held(gateway.data / "ledger.sqlite"):
                await load.round(5, 5, 1)
            assert {each for kind in ALL for each in load.told(kind)} <= WELL | {LEDGER}
            assert LEDGER in load.told("small")
            assert load.told("get") <= WELL
            load.answers.clear()
            await load.round(5, 5, 2)
            await load.finish()
            assert {each for kind in KINDS for each in load.told(kind)} <= WELL
            await load.check()
        await asyncio.to_thread(gateway.expect, before)

    asyncio.run(main())


def change(ledger: Path, statement: str, *values: object) -> None:
    """Behind the gateway's back."""
    with closing(sqlite3.connect(ledger, timeout=20)) as database, database:
        assert database.execute(statement, values).rowcount > 0


async def begun(load: Load, path: str) -> str:
    fields = {"upload-draft-interop-version": "8", "upload-complete": "?0"}
    answer = await load.http.put(path, content=b"a" * 1000, headers=fields)
    url: str = answer.headers["location"]
    return url


def test_record_that_cannot_be_read_is_its_own_uploads_trouble_and_its_bytes_are_kept(start: Start) -> None:
    first = start()

    async def before() -> tuple[str, str]:
        async with Load(first) as load:
            await load.begin()
            return await begun(load, "/files/damaged"), await begun(load, "/files/whole")

    async def after() -> None:
        async with Load(second) as load:
            assert (await load.http.head(damaged)).status_code == 503
            assert (await load.http.get(damaged)).json()["code"] == "ledger_failed"
            assert (await load.http.head(whole)).headers["upload-offset"] == "1000"
            listed = (await load.http.get("/uploads/")).json()["uploads"]
            assert [each["url"] for each in listed] == [whole]
            assert (await load.http.get("/files/log")).content
            await load.begin()
            await load.round(3, 3, 2)
            assert {each for kind in KINDS for each in load.told(kind)} <= WELL
            change(second.data / "ledger.sqlite", "UPDATE resumables SET fields = '{}' WHERE fields = '{'")
            assert (await load.http.head(damaged)).headers["upload-offset"] == "1000"

    damaged, whole = asyncio.run(before())
    key = damaged.rpartition("/")[2]
    change(first.data / "ledger.sqlite", "UPDATE resumables SET fields = '{' WHERE id = ?", key)
    change(first.data / "ledger.sqlite", "UPDATE uploads SET fields = '[' WHERE path = 'log'")
    first.process.popen.kill()
    first.process.wait()
    second = start()
    assert (second.data / "partial" / key).stat().st_size == 1000
    asyncio.run(after())
