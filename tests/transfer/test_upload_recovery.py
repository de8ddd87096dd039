"""Resumable uploads after a crash, and on a storage and a ledger that fail."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from h2gate.config import Settings
from h2gate.errors import Conflict, GateError, Gone, LedgerFailed, PeerGone
from h2gate.gateway import Gateway, recover
from h2gate.storage.partial import DiskPartial
from h2gate.transfer.appending import Append
from h2gate.transfer.resumables import Plan
from h2gate.upload import Resumable, Tap
from tests.storage.test_full import small
from tests.transfer.running import (
    BODY,
    SHA256,
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

__all__ = ["small"]


def test_nothing_is_read_twice_when_an_upload_is_cut_and_the_gateway_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed = []
    real = DiskPartial.feed

    async def feed(self: DiskPartial, start: int, stop: int, tap: Tap) -> None:
        fed.append(stop - start)
        await real(self, start, stop, tap)

    monkeypatch.setattr(DiskPartial, "feed", feed)
    uploads: list[Resumable] = []

    async def begin(gateway: Gateway) -> None:
        uploads.append(await gateway.resumables.create(Plan(path="a", length=len(BODY))))
        with pytest.raises(PeerGone):
            await append(gateway, uploads[0], BODY[:4999], PeerGone())

    async def go_on(gateway: Gateway) -> None:
        with pytest.raises(PeerGone):
            await append(gateway, uploads[0], BODY[4999:60_000], PeerGone(), offset=4999)

    async def end(gateway: Gateway) -> None:
        await append(gateway, uploads[0], BODY[60_000:], offset=60_000)
        assert (await gateway.resumables.look(uploads[0].id)).sha256 == SHA256

    for each in (begin, go_on, end):
        run(tmp_path, each)
        assert asyncio.run(recover(Settings(data=tmp_path))) == (0, 0, 0)
    assert sum(fed) == 0
    assert shown(tmp_path) == {"a": BODY}


def test_recover_finds_bytes_that_the_ledger_had_not_heard_of_and_drops_those_that_were_not_checked(
    tmp_path: Path,
) -> None:
    uploads: list[Resumable] = []

    async def before(gateway: Gateway) -> None:
        for number in range(2):
            upload = await gateway.resumables.create(Plan(path=f"{number}", length=len(BODY)))
            uploads.append((await append(gateway, upload, BODY[:5000])).upload)
            with (tmp_path / "partial" / upload.id).open("ab") as file:
                file.write(BODY[5000:7000])
        await gateway._ledger.keep(replace(uploads[1], verified=5000))

    async def after(gateway: Gateway) -> None:
        assert [await offset(gateway, each) for each in uploads] == [7000, 5000]
        for upload, start in zip(uploads, (7000, 5000), strict=True):
            await append(gateway, upload, BODY[start:], offset=start)
            assert (await gateway.resumables.look(upload.id)).sha256 == SHA256
        assert shown(tmp_path) == {"0": BODY, "1": BODY}

    run(tmp_path, before)
    assert asyncio.run(recover(Settings(data=tmp_path))) == (0, 0, 2)
    assert asyncio.run(recover(Settings(data=tmp_path))) == (0, 0, 0)
    run(tmp_path, after)


@pytest.mark.parametrize("crashed", ["before it was shown", "between the two names", "after it was shown"])
@pytest.mark.parametrize("conditions", [{}, {"if-none-match": "*"}])
def test_recover_completes_what_was_about_to_be_shown(tmp_path: Path, crashed: str, conditions: dict[str, str]) -> None:
    uploads: list[Resumable] = []

    async def before(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a", length=len(BODY), conditions=conditions))
        unfinished = tmp_path / "partial" / upload.id
        await append(gateway, upload, BODY)
        if crashed == "before it was shown":
            (tmp_path / "files" / "a").rename(unfinished)
        elif crashed == "between the two names":
            unfinished.hardlink_to(tmp_path / "files" / "a")
        done = await gateway.resumables.look(upload.id)
        uploads.append(await gateway._ledger.keep(replace(done, state="completing")))

    async def after(gateway: Gateway) -> None:
        found = await gateway.resumables.look(uploads[0].id)
        assert (found.state, found.sha256) == ("complete", SHA256)
        file = await gateway.uploads.find("a")
        assert file is not None and file.upload is not None and file.upload.sha256 == SHA256
        assert (kept(tmp_path), shown(tmp_path)) == ({}, {"a": BODY})

    run(tmp_path, before)
    assert asyncio.run(recover(Settings(data=tmp_path))) == (0, 0, 1)
    run(tmp_path, after)


@pytest.mark.parametrize("lost", ["some", "all"])
def test_upload_of_which_the_storage_has_lost_bytes_is_gone(tmp_path: Path, lost: str) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a"))
        await append(gateway, upload, b"12345")
        file = tmp_path / "partial" / upload.id
        if lost == "all":
            file.unlink()
        else:
            os.truncate(file, 4)
        for _ in range(2):
            with pytest.raises(Gone) as caught:
                await append(gateway, upload, b"x", offset=5)
            assert caught.value.members["state"] == "failed"
        assert kept(tmp_path) == {}

    run(tmp_path, test)


def test_recover_removes_files_that_no_upload_has_and_keeps_whole_parts(tmp_path: Path) -> None:
    parts: list[str] = []

    async def before(gateway: Gateway) -> None:
        parts.append(await whole_part(gateway, b"part"))
        parts.append((await part_of(gateway)).id)
        over = await part_of(gateway)
        await gateway.resumables.cancel(over.id)
        for name in ("orphan", over.id):
            (tmp_path / "partial" / name).write_bytes(b"x")

    run(tmp_path, before)
    assert asyncio.run(recover(Settings(data=tmp_path))) == (0, 0, 0)
    assert kept(tmp_path) == {parts[0]: b"part", parts[1]: b""}


def test_concatenation_that_a_crash_interrupted_is_made_anew_and_one_that_fails_keeps_no_other(tmp_path: Path) -> None:
    joined: list[str] = []

    async def before(gateway: Gateway) -> None:
        first, lost = await part_of(gateway), await part_of(gateway)
        for part in (lost, first):
            record = await gateway.resumables.join(Plan(path=part.id[:4], parts=[part.id]))
            joined.append(record.id)
            (tmp_path / "partial" / record.id).write_bytes(b"half of")
        for part in (lost, first):
            record = await gateway.resumables.look(part.id)
            async with gateway._storage.holding(part.id) as partial:
                partial.begin([])
                await partial.write([b"part"])
                await partial.finish()
            await gateway._ledger.keep(replace(record, state="complete", offset=4, length=4))
        (tmp_path / "partial" / lost.id).unlink()

    async def after(gateway: Gateway) -> None:
        await gateway.resumables.rejoin()
        assert [await state(gateway, each) for each in joined] == ["failed", "complete"]
        assert list(shown(tmp_path).values()) == [b"part"]

    run(tmp_path, before)
    asyncio.run(recover(Settings(data=tmp_path)))
    run(tmp_path, after)


@pytest.mark.parametrize("fails", ["ledger", "storage"])
def test_upload_that_cannot_be_begun_leaves_neither_file_nor_record(
    tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(gateway: Gateway) -> None:
        async def failing(given: Any) -> None:
            raise LedgerFailed("it does")

        taken = await gateway.resumables.create(Plan(path="a"))
        with pytest.raises(Conflict):
            await gateway.resumables.create(Plan(path="a", id=taken.id))
        assert await offset(gateway, taken) == 0
        await gateway.resumables.cancel(taken.id)
        room = gateway._ledger if fails == "ledger" else gateway._storage
        plan = Plan(path="a", owner="me")
        with monkeypatch.context() as patched:
            patched.setattr(room, "begin", failing)
            with pytest.raises(LedgerFailed):
                await gateway.resumables.create(plan)
            with pytest.raises(LedgerFailed):
                await gateway.resumables.create_with(plan, Append(body=Given(b"x")))
        assert (kept(tmp_path), await gateway.resumables.listed("me")) == ({}, [])
        for turns in range(20):
            plan = Plan(path="a", owner="me")
            await cancelled_after(asyncio.create_task(gateway.resumables.create(plan)), turns)
            left = {each.id for each in await gateway.resumables.listed("me")}
            assert left == kept(tmp_path).keys()
            for each in left:
                await gateway.resumables.cancel(each)
                outdate(tmp_path, each)
            await gateway.resumables.expire()

    run(tmp_path, test)


def test_append_that_cannot_be_recorded_is_told_and_its_bytes_are_found_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(gateway: Gateway) -> None:
        async def failing(resumable: Resumable, **_: Any) -> Resumable:
            raise LedgerFailed("it does")

        upload = await gateway.resumables.create(Plan(path="a", length=len(BODY)))
        with monkeypatch.context() as patched:
            patched.setattr(gateway._ledger, "keep", failing)
            with pytest.raises(LedgerFailed):
                await append(gateway, upload, BODY[:5000])
        assert await offset(gateway, upload) == 5000
        with monkeypatch.context() as patched:
            patched.setattr(gateway._ledger, "keep", failing)
            with pytest.raises(LedgerFailed):
                await append(gateway, upload, BODY[5000:])
        assert (await gateway.resumables.offset(upload.id, length_ends=True)).state == "complete"
        assert (await gateway.resumables.look(upload.id)).sha256 == SHA256
        assert shown(tmp_path) == {"a": BODY}

    run(tmp_path, test)


def test_disk_that_is_full_in_the_middle_keeps_what_fits_and_the_rest_comes_when_there_is_room(
    small: Path,
) -> None:
    body = os.urandom(6 << 20)

    async def test(gateway: Gateway) -> None:
        filler = small / "filler"
        filler.write_bytes(bytes(15 << 20))
        upload = await gateway.resumables.create(Plan(path="a", length=3 * len(body)))
        joined = await gateway.resumables.join(Plan(path="j", parts=[await whole_part(gateway, body[:1000])] * 2))
        assert joined.state == "complete"
        told: GateError | None = None
        while told is None:
            try:
                await append(gateway, upload, *[body[at : at + 99_999] for at in range(0, len(body), 99_999)])
            except GateError as error:
                told = error
        assert told.code == "storage_full"
        filler.unlink()
        got = await offset(gateway, upload)
        assert kept(small / "data")[upload.id] == (body * 3)[:got]
        assert got > 0
        await append(gateway, upload, (body * 3)[got:], offset=got)
        assert (await gateway.resumables.look(upload.id)).sha256 == hashlib.sha256(body * 3).digest()
        assert shown(small / "data")["a"] == body * 3

    run(small / "data", test)
