"""The end of uploads: cancelled, expired, and heard of by who waits for it."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from h2gate.errors import Gone, NotFound
from h2gate.gateway import Gateway
from h2gate.transfer.appending import Append
from h2gate.transfer.resumables import Plan
from tests.transfer.running import (
    Given,
    append,
    cancelled_after,
    kept,
    offset,
    outdate,
    part_of,
    run,
    shown,
    state,
    whole_part,
)


def test_cancelled_upload_is_gone_with_its_bytes(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a"))
        await append(gateway, upload, b"123")
        await gateway.resumables.cancel(upload.id)
        assert kept(tmp_path) == {}
        for ask in (offset(gateway, upload), append(gateway, upload, b"x"), gateway.resumables.cancel(upload.id)):
            with pytest.raises(Gone) as caught:
                await ask
            assert caught.value.members["state"] == "cancelled"
        assert await state(gateway, upload.id) == "cancelled"

    run(tmp_path, test)


def test_cancelling_a_complete_upload_forgets_it_and_leaves_its_file(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a", length=3))
        await append(gateway, upload, b"123")
        await gateway.resumables.cancel(upload.id)
        with pytest.raises(Gone):
            await offset(gateway, upload)
        assert shown(tmp_path) == {"a": b"123"}

    run(tmp_path, test)


def test_expiry_ends_what_is_open_forgets_what_is_over_and_leaves_the_rest(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        open_, fresh, done, over = [await gateway.resumables.create(Plan(path=each)) for each in "abcd"]
        await append(gateway, open_, b"123")
        await append(gateway, done, b"123", complete=True)
        await gateway.resumables.cancel(over.id)
        part = await whole_part(gateway, b"part")
        outdate(tmp_path, open_.id, done.id, over.id, part)
        assert await gateway.resumables.expire() == 4
        assert await gateway.resumables.expire() == 0
        assert [await state(gateway, each) for each in (open_.id, part, fresh.id)] == ["expired"] * 2 + ["receiving"]
        for each in (done.id, over.id):
            with pytest.raises(NotFound):
                await gateway.resumables.look(each)
        assert {open_.id, part} & kept(tmp_path).keys() == set()
        assert shown(tmp_path) == {"c": b"123"}
        with pytest.raises(Gone):
            await gateway.resumables.offset(part)
        outdate(tmp_path, open_.id, part)
        assert await gateway.resumables.expire() == 2
        for each in (open_.id, part):
            with pytest.raises(NotFound):
                await gateway.resumables.offset(each)

    run(tmp_path, test)


@pytest.mark.parametrize("alive", ["checkpoint", "held", "whole"])
def test_concatenation_lives_with_all_its_parts_while_one_of_them_is_fed(tmp_path: Path, alive: str) -> None:
    async def test(gateway: Gateway) -> None:
        first, idle, fed = await whole_part(gateway, b"1"), await part_of(gateway), await part_of(gateway)
        final = await gateway.resumables.join(Plan(path="a", parts=[first, idle.id, fed.id]))
        ids = [first, idle.id, fed.id, final.id]
        if alive == "whole":
            await append(gateway, fed, b"3", complete=True)
            outdate(tmp_path, first, idle.id, final.id)
        elif alive == "checkpoint":
            await append(gateway, fed, b"3")
            outdate(tmp_path, first, idle.id, final.id)
        else:
            body = Given(b"3", asyncio.Event())
            writing = asyncio.create_task(gateway.resumables.append(fed.id, Append(body=body)))
            await body.pulled.wait()
            outdate(tmp_path, *ids)
        before = [await state(gateway, each) for each in ids]
        assert await gateway.resumables.expire() == 0
        assert [await state(gateway, each) for each in ids] == before
        assert await gateway.resumables.expire() == 0
        if alive == "held":
            await cancelled_after(writing, 0)
        await append(gateway, idle, b"2", complete=True)
        if alive != "whole":
            await append(gateway, fed, b"" if alive == "checkpoint" else b"3", complete=True)
        assert (await gateway.resumables.settled(final.id, 50)).state == "complete"
        assert shown(tmp_path)["a"].startswith(b"123")

    run(tmp_path, test)


def test_concatenation_that_nobody_feeds_is_over_with_its_parts(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        parts = [await whole_part(gateway, b"1"), (await part_of(gateway)).id]
        final = await gateway.resumables.join(Plan(path="a", parts=parts))
        outdate(tmp_path, *parts, final.id)
        assert await gateway.resumables.expire() > 0
        assert (await gateway.resumables.settled(final.id, 50)).state in ("expired", "failed")
        if await state(gateway, parts[1]) == "receiving":  # it was looked at while the concatenation was being ended
            outdate(tmp_path, parts[1])
            await gateway.resumables.expire()
        assert [await state(gateway, each) for each in parts] == ["expired"] * 2
        async with asyncio.timeout(20):
            while kept(tmp_path):  # the bytes go after the record
                await state(gateway, parts[0])  # only looks

    run(tmp_path, test)


def test_expiry_goes_on_in_portions_until_nothing_is_left(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        uploads = [await gateway.resumables.create(Plan(path="a")) for _ in range(7)]
        outdate(tmp_path, *[each.id for each in uploads])
        assert [await gateway.resumables.expire(limit=3) for _ in range(4)] == [3, 3, 1, 0]
        assert kept(tmp_path) == {}

    run(tmp_path, test)


def test_disk_that_fails_at_the_end_of_an_upload_makes_it_live_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = []

    async def begin(gateway: Gateway) -> None:
        uploads.append(await gateway.resumables.create(Plan(path="a")))
        await append(gateway, uploads[0], b"123")

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, "no")

    async def end(gateway: Gateway) -> None:
        (upload,) = uploads
        outdate(tmp_path, upload.id)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fails)
            patched.setattr(os, "fdatasync", fails)
            await gateway.resumables.expire()
        assert await state(gateway, upload.id) == "receiving"
        await gateway.resumables.expire()
        assert await state(gateway, upload.id) == "expired"

    run(tmp_path, begin)
    run(tmp_path, end)


def test_every_byte_makes_an_upload_live_longer(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a"))
        outdate(tmp_path, upload.id)
        await append(gateway, upload, b"1")
        assert await gateway.resumables.expire() == 0
        assert (await gateway.resumables.look(upload.id)).expires_at > upload.created_at

    run(tmp_path, test)


@pytest.mark.parametrize("how", ["complete", "cancel"])
def test_who_waits_for_the_end_hears_of_it_also_from_another_process(tmp_path: Path, how: str) -> None:
    async def test(gateway: Gateway) -> None:
        async with Gateway(gateway.settings, upkeep=False) as other:
            upload = await gateway.resumables.create(Plan(path="a"))
            waits = [asyncio.create_task(each.resumables.settled(upload.id, 50)) for each in (gateway, other)]
            assert (await gateway.resumables.settled(upload.id, 0.01)).state == "receiving"
            if how == "complete":
                await append(gateway, upload, b"1", complete=True)
            else:
                await gateway.resumables.cancel(upload.id)
            wanted = "complete" if how == "complete" else "cancelled"
            assert [(await each).state for each in waits] == [wanted] * 2

    run(tmp_path, test)


def test_who_waits_for_the_end_can_be_cancelled(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a"))
        for turns in range(20):
            task = asyncio.create_task(gateway.resumables.settled(upload.id, 50))
            await cancelled_after(task, turns)
            assert task.cancelled()

    run(tmp_path, test)
