"""What every ledger promises (`ledger.base.Ledger`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from h2gate.errors import Conflict, LedgerFailed
from h2gate.ledger.base import Ledger
from h2gate.ledger.sqlite import SqliteLedger
from h2gate.upload import Identity, Upload

Open = Callable[[], AbstractAsyncContextManager[Ledger]]
IMPLEMENTATIONS: dict[str, Callable[[Path], Ledger]] = {"sqlite": lambda folder: SqliteLedger(folder / "ledger.sqlite")}


@pytest.fixture(params=list(IMPLEMENTATIONS.values()), ids=list(IMPLEMENTATIONS))
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """`async with opened() as ledger`; opened again, it is the same one."""

    @asynccontextmanager
    async def open_() -> Any:
        ledger = request.param(tmp_path)
        yield ledger
        await ledger.close()

    return open_


ID = Identity(inode=2**64 - 5, size=3, modified_ns=-7)


def upload(id_: str, path: str = "a/b", **options: Any) -> Upload:
    options.setdefault("identity", ID)
    return Upload(id=id_, path=path, **options)


async def test_record_comes_back_as_it_was_given_and_after_reopening(opened: Open) -> None:
    given = upload("1", sha256=bytes(32), fields={"meta-x": "\u00fc\x80"}, completed_at=1.5, version=7)
    async with opened() as ledger:
        await ledger.add(given)
        assert await ledger.get("1") == given
    async with opened() as ledger:
        assert await ledger.at("a/b", ID) == given
        assert await ledger.get("2") is None


async def test_record_is_found_by_the_whole_identity_only(opened: Open) -> None:
    async with opened() as ledger:
        await ledger.add(upload("1"))
        others = [replace(ID, inode=5), replace(ID, size=4), replace(ID, modified_ns=0), replace(ID, modified_ns=2**66)]
        assert [await ledger.at("a/b", other) for other in others] == [None] * 4
        assert await ledger.at("a", ID) is None


async def test_appending_record_is_found_by_its_inode_alone(opened: Open) -> None:
    async with opened() as ledger:
        await ledger.add(upload("1", state="appending"))
        found = await ledger.at("a/b", replace(ID, size=99, modified_ns=99))
        assert found is not None and found.identity == ID
        assert await ledger.at("a/b", replace(ID, inode=6)) is None


async def test_of_two_records_with_one_identity_the_one_that_was_added_later_is_found_whatever_the_clock_said(
    opened: Open,
) -> None:
    async with opened() as ledger:
        await ledger.add(upload("early", completed_at=2.0))
        await ledger.add(upload("late", completed_at=1.0))
        found = await ledger.at("a/b", ID)
        assert found is not None and found.id == "late"


async def test_save_needs_the_version_that_is_there_and_counts_it_up(opened: Open) -> None:
    async with opened() as ledger:
        await ledger.add(upload("1"))
        saved = await ledger.save(upload("1", state="appending"))
        assert (saved.version, await ledger.get("1")) == (1, saved)
        with pytest.raises(Conflict):
            await ledger.save(upload("1", path="other"))
        with pytest.raises(Conflict):
            await ledger.save(upload("missing"))
        assert await ledger.get("1") == saved


async def test_conflict_in_a_batch_leaves_the_others_standing(opened: Open) -> None:
    async with opened() as ledger:
        await ledger.add(upload("1"))
        jobs = [ledger.add(upload("2")), ledger.save(upload("none")), ledger.save(upload("1", sha256=b"x"))]
        found = await asyncio.gather(*jobs, return_exceptions=True)
        assert isinstance(found[1], Conflict)
        one, two = await ledger.get("1"), await ledger.get("2")
        assert one is not None and one.sha256 == b"x"
        assert two is not None


async def test_many_at_once_are_all_kept(opened: Open) -> None:
    async with opened() as ledger:
        await asyncio.gather(*[ledger.add(upload(str(number), f"d/{number}")) for number in range(1000)])
    async with opened() as ledger:
        assert {each.id for each in await ledger.under("d")} == {str(number) for number in range(1000)}


async def test_under_is_the_folder_itself_and_not_what_is_deeper(opened: Open) -> None:
    async with opened() as ledger:
        for path in ("a", "d/b", "d/e/c", "d2/x"):
            await ledger.add(upload(path, path))
        assert [each.path for each in await ledger.under("")] == ["a"]
        assert [each.path for each in await ledger.under("d")] == ["d/b"]
        assert await ledger.under("none") == []


async def test_in_state_is_what_is_unfinished(opened: Open) -> None:
    async with opened() as ledger:
        await ledger.add(upload("1"))
        await ledger.add(upload("2", state="appending"))
        assert [each.id for each in await ledger.in_state("appending")] == ["2"]
        await ledger.save(upload("2"))
        assert await ledger.in_state("appending") == []


async def test_forget_takes_the_earlier_records_of_one_file_only(opened: Open) -> None:
    async with opened() as ledger:
        await ledger.add(upload("gone", completed_at=1.0, identity=replace(ID, size=99)))
        await ledger.add(upload("later", completed_at=2.0))
        await ledger.add(upload("other-inode", completed_at=1.0, identity=replace(ID, inode=6)))
        await ledger.add(upload("other-path", "a/c", completed_at=1.0))
        await ledger.forget("a/b", ID.inode, before=2.0)
        left = [await ledger.get(each) is not None for each in ("gone", "later", "other-inode", "other-path")]
        assert left == [False, True, True, True]


async def test_remove_takes_one_and_is_content_when_it_is_gone(opened: Open) -> None:
    async with opened() as ledger:
        await ledger.add(upload("1"))
        await ledger.add(upload("2"))
        await ledger.remove("1")
        await ledger.remove("1")
        assert await ledger.get("1") is None
        assert await ledger.get("2") is not None


async def test_record_that_cannot_be_kept_fails_and_the_ledger_goes_on(opened: Open) -> None:
    async with opened() as ledger:
        await ledger.add(upload("1"))
        with pytest.raises(LedgerFailed):
            await ledger.add(upload("1"))
        with pytest.raises(OverflowError):
            await ledger.add(upload("2", identity=replace(ID, size=2**70)))
        await ledger.add(upload("3"))
        assert await ledger.get("2") is None
        assert await ledger.get("3") is not None


async def test_close_finishes_what_was_begun(opened: Open) -> None:
    async with opened() as ledger:
        begun = asyncio.ensure_future(ledger.add(upload("1")))
        await asyncio.sleep(0)
    await begun
    async with opened() as ledger:
        assert await ledger.get("1") is not None


def test_folder_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        with pytest.raises(LedgerFailed):
            SqliteLedger(tmp_path / "missing" / "ledger.sqlite")

    asyncio.run(test())
