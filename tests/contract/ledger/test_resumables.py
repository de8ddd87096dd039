"""What every ledger promises of resumable uploads (`ledger.base.Ledger`)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from h2gate.errors import Conflict, LedgerFailed
from h2gate.upload import Resumable
from tests.contract.ledger.test_ledger import Open, opened, upload

__all__ = ["opened"]


def resumable(id_: str, path: str = "a/b", **options: Any) -> Resumable:
    return Resumable(id=id_, path=path, **options)


FULL = resumable(
    "1",
    owner="\u00fc",
    state="joining",
    offset=2**40,
    verified=3,
    length=2**41,
    fields={"meta-x": "\u00fc\x80"},
    metadata="filename eA==",
    expected={"sha-256": bytes(32), "sha-512": b"\xff" * 64},
    conditions={"if-match": '"x"'},
    modified_ns=-7,
    parts=("p", "q", "p"),
    hash_state=b"\0state",
    sha256=bytes(32),
    replaced=True,
    bytes_per_second=1.5,
    reason="why",
    created_at=1.25,
    changed_at=2.5,
    expires_at=3.75,
    version=7,
)


@pytest.mark.parametrize("given", [FULL, resumable("1"), resumable("1", "")])
async def test_record_comes_back_as_it_was_given_and_after_reopening(opened: Open, given: Resumable) -> None:
    async with opened() as ledger:
        await ledger.begin(given)
        assert await ledger.resumable("1") == given
    async with opened() as ledger:
        assert await ledger.resumable("1") == given
        assert await ledger.resumable("2") is None


async def test_second_record_with_an_id_is_refused_and_the_first_stays(opened: Open) -> None:
    async with opened() as ledger:
        await ledger.begin(resumable("1"))
        with pytest.raises(LedgerFailed):
            await ledger.begin(resumable("1", "other"))
        assert await ledger.resumable("1") == resumable("1")


async def test_keep_needs_the_version_that_is_there_and_counts_it_up(opened: Open) -> None:
    async with opened() as ledger:
        await ledger.begin(resumable("1"))
        kept = await ledger.keep(replace(FULL, version=0))
        assert kept == replace(FULL, version=1) == await ledger.resumable("1")
        for stale in (resumable("1"), resumable("missing")):
            with pytest.raises(Conflict):
                await ledger.keep(stale)
        assert await ledger.resumable("1") == kept


async def test_file_that_it_becomes_is_recorded_with_it_and_once(opened: Open) -> None:
    async with opened() as ledger:
        kept = resumable("1")
        await ledger.begin(kept)
        for sha256 in (None, bytes(32)):
            kept = await ledger.keep(kept, showing=upload("1", sha256=sha256))
            assert await ledger.get("1") == upload("1", sha256=sha256)
        assert len(await ledger.under("a")) == 1


async def test_file_is_not_recorded_when_the_upload_was_changed_since(opened: Open) -> None:
    async with opened() as ledger:
        await ledger.begin(resumable("1"))
        await ledger.keep(resumable("1"))
        with pytest.raises(Conflict):
            await ledger.keep(resumable("1"), showing=upload("1"))
        assert await ledger.get("1") is None


async def test_owner_finds_his_own_the_last_changed_first(opened: Open) -> None:
    async with opened() as ledger:
        for id_, owner, changed_at in (("1", "me", 1.0), ("3", "me", 3.0), ("2", "me", 2.0), ("4", "you", 4.0)):
            await ledger.begin(resumable(id_, owner=owner, changed_at=changed_at))
        assert [each.id for each in await ledger.resumables("me", limit=9)] == ["3", "2", "1"]
        assert [each.id for each in await ledger.resumables("me", limit=2)] == ["3", "2"]
        assert await ledger.resumables("nobody", limit=9) == []


async def test_owner_finds_his_own_of_one_file_that_take_bytes(opened: Open) -> None:
    async with opened() as ledger:
        for id_, owner, path, state in (
            ("1", "me", "a", "receiving"),
            ("2", "me", "a", "receiving"),
            ("3", "me", "a", "complete"),
            ("4", "me", "b", "receiving"),
            ("5", "you", "a", "receiving"),
        ):
            await ledger.begin(resumable(id_, path, owner=owner, changed_at=float(id_), state=state))
        assert [each.id for each in await ledger.resumables_at("me", "a")] == ["2", "1"]
        assert await ledger.resumables_at("me", "c") == []


async def test_owner_finds_his_own_below_a_folder_that_take_bytes(opened: Open) -> None:
    paths = ["in/a", "in/b/c", "in/\U0010ffff", "in", "in0", "in-/a", "an/a", "in!"]
    async with opened() as ledger:
        for number, path in enumerate(paths):
            await ledger.begin(resumable(str(number), path, owner="me", changed_at=float(number)))
        await ledger.begin(resumable("not mine", "in/a", owner="you"))
        await ledger.begin(resumable("over", "in/a", owner="me", state="complete"))
        assert [each.id for each in await ledger.resumables_below("me", "in", limit=9)] == ["2", "1", "0"]
        assert [each.id for each in await ledger.resumables_below("me", "in", limit=2)] == ["2", "1"]
        assert [each.id for each in await ledger.resumables_below("me", "in/b", limit=9)] == ["1"]
        assert len(await ledger.resumables_below("me", "", limit=9)) == len(paths)
        assert await ledger.resumables_below("me", "b", limit=9) == []


async def test_states_are_found_one_by_one_and_together(opened: Open) -> None:
    states = ["receiving", "completing", "joining", "complete", "cancelled"]
    async with opened() as ledger:
        for state in states:
            await ledger.begin(resumable(state, state=state))
        for wanted in (states[:1], states[:3], states[4:], []):
            assert {each.id for each in await ledger.resumables_in(wanted)} == set(wanted)


async def test_outdated_are_those_of_whatever_state_whose_time_is_past_the_longest_first(opened: Open) -> None:
    async with opened() as ledger:
        for id_, state, expires_at in (("2", "complete", 2.0), ("1", "receiving", 1.0), ("3", "cancelled", 3.0)):
            await ledger.begin(resumable(id_, state=state, expires_at=expires_at))
        assert [each.id for each in await ledger.outdated(3.0, limit=9)] == ["1", "2"]
        assert [each.id for each in await ledger.outdated(9.0, limit=2)] == ["1", "2"]
        assert await ledger.outdated(1.0, limit=9) == []


async def test_drop_takes_the_version_that_it_knows_and_is_content_when_it_is_gone(opened: Open) -> None:
    async with opened() as ledger:
        await ledger.begin(resumable("1"))
        kept = await ledger.keep(resumable("1"))
        await ledger.drop(resumable("1"))
        assert await ledger.resumable("1") == kept
        await ledger.drop(kept)
        await ledger.drop(kept)
        assert await ledger.resumable("1") is None


async def test_job_that_fails_by_itself_takes_none_of_those_with_it_that_share_its_turn(opened: Open) -> None:
    async with opened() as ledger:
        await ledger.begin(resumable("1"))
        jobs = ledger.begin(resumable("2")), ledger.begin(resumable("1")), ledger.resumable("1")
        first, again, found = await asyncio.gather(*jobs, return_exceptions=True)
        assert first is None
        assert isinstance(again, LedgerFailed)
        assert found == resumable("1")
        assert await ledger.resumable("2") == resumable("2")
