"""What every ledger promises of accounts: what is used is what the records say, what is held was claimed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from h2gate.errors import Conflict, Forbidden, OverQuota, TooManyUploads
from h2gate.ledger.base import Account, Claim, Ledger, Usage
from h2gate.ledger.sqlite import SqliteLedger
from h2gate.upload import Identity, Resumable, Upload

ROOM = Account(name="/t", max_bytes=100, max_files=3, max_uploads=2)
TICKET = Account(name="ticket:1", max_bytes=50, max_files=1, expires_at=10.0)


def account_of(path: str) -> Account | None:
    return ROOM if path.startswith("t/") else None


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Ledger]:
    ledger = SqliteLedger(folder / "ledger.sqlite", account_of=account_of)
    yield ledger
    await ledger.close()


def upload(id_: str, size: int, path: str = "t/a", **options: Any) -> Upload:
    return Upload(id=id_, path=path, identity=Identity(inode=hash(id_) & 0xFFFF, size=size, modified_ns=0), **options)


def claim(id_: str, n_bytes: int, *accounts: Account, **options: Any) -> Claim:
    return Claim(id=id_, accounts=accounts or (ROOM,), n_bytes=n_bytes, holder=options.pop("holder", "me"), **options)


async def test_what_is_claimed_is_held_and_becomes_use_with_the_record(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        assert await ledger.claim(claim("1", 40)) == 40
        assert await ledger.usage("/t") == Usage(held_bytes=40, held_files=1)
        await ledger.add(upload("1", 30))
        assert await ledger.usage("/t") == Usage(n_bytes=30, n_files=1)
        assert await ledger.holders() == []


async def test_the_last_byte_can_be_had_and_not_one_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await ledger.claim(claim("1", 60))
        with pytest.raises(OverQuota) as refused:
            await ledger.claim(claim("2", 41))
        assert refused.value.members["left"] == {"bytes": 40, "files": 2}
        await ledger.claim(claim("2", 40))
        await ledger.claim(claim("1", 60))  # no more than before
        with pytest.raises(OverQuota):
            await ledger.claim(claim("1", 61))
        assert await ledger.usage("/t") == Usage(held_bytes=100, held_files=2)


async def test_claims_at_the_same_time_share_what_there_is(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger, opened(tmp_path) as other:
        jobs = [(ledger, other)[n % 2].claim(claim(str(n), 7, n_files=0)) for n in range(40)]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        assert sorted(each for each in results if isinstance(each, int)) == [7] * 14
        assert all(isinstance(each, int | OverQuota) for each in results)


async def test_steps_are_small_where_little_is_left(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        wide = replace(ROOM, max_bytes=1_000_000)
        assert await ledger.claim(claim("1", 10, wide, more_bytes=5000)) == 5010
        assert await ledger.claim(claim("2", 900_000, wide, more_bytes=5000)) == 900_000 + (1_000_000 - 905_010) // 64
        assert await ledger.claim(claim("3", 93_500, wide, more_bytes=5000)) == 93_500


async def test_small_file_without_a_claim_is_looked_at_with_its_record(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await ledger.add(upload("1", 100))
        with pytest.raises(OverQuota):
            await ledger.add(upload("2", 1))
        await ledger.add(upload("3", 1, "elsewhere"))
        assert await ledger.get("2") is None
        assert await ledger.usage("/t") == Usage(n_bytes=100, n_files=1)


async def test_files_are_counted_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        for each in "123":
            await ledger.add(upload(each, 0))
        with pytest.raises(OverQuota):
            await ledger.add(upload("4", 0))
        with pytest.raises(OverQuota):
            await ledger.claim(claim("4", 0))


async def test_what_is_removed_is_given_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        first = upload("1", 30)
        await ledger.add(first)
        await ledger.add(upload("2", 20))
        await ledger.forget("t/a", first.identity.inode, before=1.0)
        assert await ledger.usage("/t") == Usage(n_bytes=20, n_files=1)
        await ledger.remove("2")
        await ledger.remove("2")
        assert await ledger.usage("/t") == Usage()


async def test_append_counts_what_came_and_a_bad_one_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await ledger.add(upload("1", 30))
        appending = await ledger.save(replace(upload("1", 30), state="appending"))
        await ledger.claim(claim("1", 25, n_files=0))
        grown = replace(appending, state="complete", identity=replace(appending.identity, size=50))
        with pytest.raises(Conflict):
            await ledger.save(replace(grown, version=0))
        assert await ledger.usage("/t") == Usage(n_bytes=30, n_files=1, held_bytes=25)
        await ledger.save(grown)
        assert await ledger.usage("/t") == Usage(n_bytes=50, n_files=1)


async def test_uploads_at_once_are_limited_and_who_has_one_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await ledger.claim(claim("1", 1, counts=True))
        await ledger.claim(claim("2", 1, counts=True))
        await ledger.claim(claim("2", 2, counts=True))
        with pytest.raises(TooManyUploads):
            await ledger.claim(claim("3", 1, counts=True))
        await ledger.settle("1", 1)
        await ledger.claim(claim("3", 1, counts=True))


async def test_resumable_upload_holds_what_it_has_until_it_is_over(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        record = Resumable(id="r", path="t/a")
        await ledger.begin(record)
        await ledger.claim(claim("r", 70))
        await ledger.settle("r", 30)
        assert await ledger.usage("/t") == Usage(held_bytes=30, held_files=1)
        record = await ledger.keep(record)
        assert (await ledger.usage("/t")).held_bytes == 30
        await ledger.keep(replace(record, state="cancelled"))
        assert await ledger.usage("/t") == Usage()


async def test_completion_turns_it_into_use_and_one_that_is_not_shown_holds_it_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        record = Resumable(id="r", path="t/a")
        await ledger.begin(record)
        await ledger.claim(claim("r", 30, holder=""))
        for _ in range(2):
            record = await ledger.keep(replace(record, state="completing"), showing=upload("r", 30))
            assert await ledger.usage("/t") == Usage(n_bytes=30, n_files=1)
        await ledger.remove("r")
        assert await ledger.usage("/t") == Usage(held_bytes=30, held_files=1)
        record = await ledger.keep(replace(record, state="completing"), showing=upload("r", 30))
        await ledger.keep(replace(record, state="complete"))
        assert await ledger.usage("/t") == Usage(n_bytes=30, n_files=1)
        assert await ledger.holders() == []


async def test_ticket_is_charged_once_and_gets_nothing_back_for_what_is_removed_later(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await ledger.claim(claim("1", 10, ROOM, TICKET))
        with pytest.raises(Forbidden, match="used up"):
            await ledger.claim(claim("2", 10, ROOM, TICKET))
        assert (await ledger.usage("/t")).held_files == 1, "a claim is made in all accounts or in none"
        await ledger.add(upload("1", 10))
        await ledger.release("1")
        await ledger.forget("t/a", upload("1", 10).identity.inode, before=1.0)
        assert await ledger.usage("ticket:1") == Usage(n_bytes=10, n_files=1, expires_at=10.0)
        assert await ledger.usage("/t") == Usage()


async def test_file_that_was_not_shown_does_not_use_up_its_ticket(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await ledger.claim(claim("1", 10, ROOM, TICKET))
        await ledger.add(upload("1", 10))
        await ledger.remove("1")
        await ledger.release("1")
        assert await ledger.usage("ticket:1") == Usage(expires_at=10.0)
        await ledger.claim(claim("2", 10, ROOM, TICKET))


async def test_ticket_that_was_revoked_meanwhile_stores_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await ledger.claim(claim("1", 10, ROOM, TICKET))
        await ledger.shut("ticket:1", 5.0)
        with pytest.raises(Forbidden, match="revoked"):
            await ledger.add(upload("1", 10))
        with pytest.raises(Forbidden, match="revoked"):
            await ledger.claim(claim("2", 10, TICKET))
        await ledger.release("1")
        await ledger.forget_accounts(11.0)
        assert not (await ledger.usage("ticket:1")).is_closed


async def test_revoked_ticket_leaves_a_completing_upload_as_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        record = Resumable(id="r", path="t/a")
        await ledger.begin(record)
        await ledger.claim(claim("r", 10, ROOM, TICKET))
        await ledger.shut("ticket:1", 5.0)
        with pytest.raises(Forbidden, match="revoked"):
            await ledger.keep(replace(record, state="completing"), showing=upload("r", 10))
        found = await ledger.resumable("r")
        assert found is not None
        assert found.state == "receiving"


async def test_what_a_process_held_that_has_ended_is_free(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await ledger.begin(Resumable(id="r", path="t/a"))
        await ledger.claim(claim("r", 50, holder="dead"))
        await ledger.claim(claim("1", 20, holder="dead"))
        await ledger.claim(claim("2", 5, holder="alive"))
        assert sorted(await ledger.holders()) == ["alive", "dead"]
        await ledger.abandon("dead", {"r": 12})
        assert await ledger.usage("/t") == Usage(held_bytes=17, held_files=2)


async def test_recount_tells_what_records_and_unfinished_files_say(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await ledger.add(upload("1", 30))
        await ledger.begin(Resumable(id="r", path="t/b"))
        await ledger.begin(Resumable(id="part", path=""))
        await ledger.claim(claim("r", 10, ROOM, TICKET))
        await ledger.claim(claim("part", 10, n_files=0))
        await ledger.claim(claim("put", 15))
        await ledger.recount({"r": 20, "part": 3})
        assert await ledger.usage("/t") == Usage(n_bytes=30, n_files=1, held_bytes=23, held_files=1)
        assert await ledger.usage("ticket:1") == Usage(held_bytes=20, held_files=1, expires_at=10.0)
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    await ledger.recount({"r": 20})
    assert await ledger.usage("/t") == Usage(held_bytes=0)
    await ledger.close()


async def test_records_below_a_folder_are_told_in_the_order_of_their_paths(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        for n, path in enumerate(["t/b", "t/a/c", "t2/x", "t0", "x"]):
            await ledger.add(upload(str(n), 0, path))
        assert [each.path for each in await ledger.since("t", "", limit=9)] == ["t/a/c", "t/b"]
        assert [each.path for each in await ledger.since("t", "t/a/c", limit=9)] == ["t/b"]
        assert len(await ledger.since("", "", limit=9)) == 5
        assert sorted(await ledger.folders("t")) == ["t", "t/a"]
        assert sorted(await ledger.folders("")) == ["", "t", "t/a", "t2"]


async def test_account_remembers_who_opened_it_and_is_forgotten_in_its_time(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await ledger.open("ticket:2", "key:a", 5.0)
        await ledger.shut("ticket:2", 99.0)
        assert await ledger.usage("ticket:2") == Usage(is_closed=True, issuer="key:a", expires_at=5.0)
        await ledger.claim(claim("1", 1, TICKET))
        await ledger.forget_accounts(11.0)
        assert await ledger.usage("ticket:2") == Usage()
        assert (await ledger.usage("ticket:1")).held_files == 1, "something is on its way"
        await ledger.release("1")
        await ledger.forget_accounts(11.0)
        assert await ledger.usage("ticket:1") == Usage()


async def test_upload_that_is_there_still_keeps_what_it_holds_when_an_old_record_of_it_is_dropped(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as ledger:
        record = Resumable(id="r", path="t/a")
        await ledger.begin(record)
        await ledger.claim(claim("r", 10))
        await ledger.keep(record)
        await ledger.drop(record)
        assert (await ledger.usage("/t")).held_bytes == 10
