"""Concatenations: of parts whole or not yet, reused, lost and cancelled."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from h2gate.errors import (
    BadField,
    CompletedUpload,
    Conflict,
    DigestMismatch,
    Gone,
    NotFound,
    PreconditionFailed,
    Refused,
)
from h2gate.gateway import Gateway
from h2gate.transfer.resumables import Plan
from tests.transfer.running import (
    BODY,
    SHA256,
    append,
    cancelled_after,
    kept,
    offset,
    part_of,
    put,
    run,
    shown,
    state,
    whole_part,
)


@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 1, 0, 1)])
def test_concatenation_of_whole_parts_is_shown_at_once_in_the_order_given(
    tmp_path: Path, order: Sequence[int], digest: bool
) -> None:
    async def test(gateway: Gateway) -> None:
        data = [BODY[:5000], b"", BODY[5000:]]
        parts = [await whole_part(gateway, each) for each in data]
        wanted = b"".join(data[each] for each in order)
        joined = await gateway.resumables.join(Plan(path="a", parts=[parts[each] for each in order]))
        assert (joined.state, joined.offset, joined.length) == ("complete", len(wanted), len(wanted))
        assert joined.sha256 == (hashlib.sha256(wanted).digest() if digest else None)
        assert shown(tmp_path) == {"a": wanted}
        assert kept(tmp_path) == dict(zip(parts, data, strict=True))
        with pytest.raises((Refused, CompletedUpload)):
            await append(gateway, joined, b"x")

    run(tmp_path, test, digest=digest)


@pytest.mark.parametrize("last", [0, 1, 2])
def test_concatenation_of_unfinished_parts_is_shown_with_the_last_of_them(tmp_path: Path, last: int) -> None:
    async def test(gateway: Gateway) -> None:
        data = [BODY[:5000], BODY[5000:5001], BODY[5001:]]
        parts = [await gateway.resumables.create(Plan(path="", length=len(each))) for each in data]
        joined = await gateway.resumables.join(Plan(path="a", parts=[each.id for each in parts]))
        assert (joined.state, joined.length) == ("joining", len(BODY))
        with pytest.raises(Refused):
            await append(gateway, joined, b"x")
        for number in sorted(range(3), key=lambda each: each == last):
            assert (await gateway.resumables.offset(joined.id, length_ends=True)).state == "joining"
            await append(gateway, parts[number], data[number])
        done = await gateway.resumables.settled(joined.id, 50)
        assert (done.state, done.sha256, shown(tmp_path)) == ("complete", SHA256, {"a": BODY})

    run(tmp_path, test)


def test_one_part_completes_all_concatenations_that_wait_for_it(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        part, whole = await part_of(gateway), await whole_part(gateway, b"1")
        plans = [Plan(path="a", parts=[part.id]), Plan(path="b", parts=[whole, part.id, whole, part.id])]
        joined = [await gateway.resumables.join(each) for each in plans]
        await append(gateway, part, b"2", complete=True)
        assert [(await gateway.resumables.settled(each.id, 50)).state for each in joined] == ["complete"] * 2
        assert shown(tmp_path) == {"a": b"2", "b": b"1212"}

    run(tmp_path, test)


def test_concatenation_of_what_is_no_part_or_gone_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        part, file = await whole_part(gateway, b"1"), await gateway.resumables.create(Plan(path="f"))
        gone = await part_of(gateway)
        await gateway.resumables.cancel(gone.id)
        before = kept(tmp_path)
        for parts, error in (([], BadField), (["no"], BadField), ([part, file.id], BadField), ([gone.id], Gone)):
            with pytest.raises(error):
                await gateway.resumables.join(Plan(path="a", parts=parts))
        await put(gateway, "a", b"x")
        with pytest.raises(PreconditionFailed):
            await gateway.resumables.join(Plan(path="a", parts=[part], conditions={"if-none-match": "*"}))
        assert kept(tmp_path) == before

    run(tmp_path, test)


@pytest.mark.parametrize("ends", ["cancelled", "failed", "whole and cancelled", "lost"])
def test_concatenation_fails_at_once_when_a_part_ends_and_who_waits_is_told(tmp_path: Path, ends: str) -> None:
    async def test(gateway: Gateway) -> None:
        ended = await gateway.resumables.create(Plan(path="", length=3))
        other = await part_of(gateway)
        joined = await gateway.resumables.join(Plan(path="a", parts=[other.id, ended.id]))
        waiting = asyncio.create_task(gateway.resumables.settled(joined.id, 50))
        if ends == "failed":
            with pytest.raises(DigestMismatch):
                await append(gateway, ended, b"123", whole={"sha-256": bytes(32)})
        elif ends == "lost":
            await append(gateway, ended, b"12")
            (tmp_path / "partial" / ended.id).write_bytes(b"1")
            with pytest.raises(Gone):
                await offset(gateway, ended)
        else:
            await append(gateway, ended, b"123" if ends == "whole and cancelled" else b"12")
            await gateway.resumables.cancel(ended.id)
        failed = await waiting
        assert (failed.state, failed.reason) == ("failed", "a part is gone")
        with pytest.raises(Gone):
            await offset(gateway, joined)
        async with asyncio.timeout(20):
            while kept(tmp_path) != {other.id: b""}:  # the bytes go after the record
                await state(gateway, other.id)  # only looks
        assert shown(tmp_path) == {}

    run(tmp_path, test)


def test_concatenation_whose_part_was_forgotten_fails(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        ended = await part_of(gateway)
        joined = await gateway.resumables.join(Plan(path="a", parts=[ended.id]))
        await gateway._ledger.drop(ended)
        await gateway.resumables.rejoin()
        assert (await gateway.resumables.settled(joined.id, 50)).state == "failed"

    run(tmp_path, test)


@pytest.mark.parametrize(("what", "reason"), [("a", "precondition"), ("a/b", "folder")])
def test_concatenation_that_cannot_be_shown_fails_and_says_why_and_its_parts_stay(
    tmp_path: Path, what: str, reason: str
) -> None:
    async def test(gateway: Gateway) -> None:
        part = await part_of(gateway)
        plan = Plan(path="a", parts=[part.id], conditions={"if-none-match": "*"} if reason == "precondition" else {})
        joined = await gateway.resumables.join(plan)
        waiting = asyncio.create_task(gateway.resumables.settled(joined.id, 50))
        await put(gateway, what, b"other")
        await append(gateway, part, b"1", complete=True)
        failed = await waiting
        assert failed.state == "failed"
        assert failed.reason
        async with asyncio.timeout(20):
            while kept(tmp_path) != {part.id: b"1"}:  # what was joined goes after the record
                await gateway.resumables.look(part.id)
        assert shown(tmp_path) == {what: b"other"}
        again = await gateway.resumables.join(Plan(path="c", parts=[part.id]))
        assert (again.state, shown(tmp_path)["c"]) == ("complete", b"1")

    run(tmp_path, test)


def test_concatenation_to_a_place_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        await put(gateway, "a/b", b"x")
        with pytest.raises(Conflict):
            await gateway.resumables.join(Plan(path="a", parts=[(await part_of(gateway)).id]))

    run(tmp_path, test)


def test_cancelled_concatenation_leaves_its_parts(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        part = await part_of(gateway)
        joined = await gateway.resumables.join(Plan(path="a", parts=[part.id]))
        await gateway.resumables.cancel(joined.id)
        await append(gateway, part, b"1", complete=True)
        assert await state(gateway, part.id) == "complete"
        assert (kept(tmp_path), shown(tmp_path)) == ({part.id: b"1"}, {})

    run(tmp_path, test)


def test_join_that_is_cancelled_at_any_moment_is_finished_or_never_was(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        parts = [await whole_part(gateway, BODY[:50_000]), await whole_part(gateway, BODY[50_000:])]
        for turns in range(40):
            plan = Plan(path=f"{turns}", parts=parts)
            await cancelled_after(asyncio.create_task(gateway.resumables.join(plan)), turns)
            try:
                record = await gateway.resumables.look(plan.id)
            except NotFound:
                continue
            await gateway.resumables.rejoin()
            assert (await gateway.resumables.settled(record.id, 50)).state == "complete"
            assert shown(tmp_path)[plan.path] == BODY
        assert kept(tmp_path).keys() == set(parts)

    run(tmp_path, test)
