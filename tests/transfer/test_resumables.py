"""Resumable uploads from their creation to their end, their lengths and their limits, on a real folder."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from h2gate.errors import (
    CompletedUpload,
    Gone,
    InconsistentLength,
    Locked,
    NotFound,
    OffsetConflict,
    PeerGone,
    TooLarge,
    TooSmall,
)
from h2gate.gateway import Gateway
from h2gate.transfer.appending import Append
from h2gate.transfer.resumables import Plan
from h2gate.upload import Resumable
from tests.transfer.running import BODY, CUTS, SHA256, Given, append, kept, offset, run, shown, state, whole_part


def test_created_upload_is_empty_found_by_its_owner_and_not_shown(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        plan = Plan(path="d/a", owner="me", length=5, fields={"meta-x": "1"}, metadata="m", modified_ns=7)
        upload = await gateway.resumables.create(plan)
        assert await gateway.resumables.look(upload.id) == upload == await gateway.resumables.offset(upload.id)
        assert (upload.state, upload.offset, upload.length) == ("receiving", 0, 5)
        assert upload.expires_at > upload.created_at > 0
        assert await gateway.resumables.listed("me") == [upload]
        assert await gateway.resumables.listed("you") == []
        assert (kept(tmp_path), shown(tmp_path)) == ({upload.id: b""}, {})

    run(tmp_path, test)


@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("ends_by", ["length", "complete", "offset"])
def test_upload_in_pieces_becomes_a_file_with_its_digest_fields_and_time(
    tmp_path: Path, ends_by: str, digest: bool
) -> None:
    async def test(gateway: Gateway) -> None:
        plan = Plan(path="d/a", fields={"meta-x": "1"}, modified_ns=123 * 10**9)
        if ends_by != "complete":
            plan = replace(plan, length=len(BODY))
        upload = await gateway.resumables.create(plan)
        start = 0
        for stop in (*CUTS, len(BODY)):
            is_last = stop == len(BODY)
            complete = is_last if ends_by == "complete" else None if ends_by == "length" else False
            outcome = await append(gateway, upload, BODY[start:stop], offset=start, complete=complete)
            assert outcome.upload.offset == stop
            assert outcome.sha256 == (hashlib.sha256(BODY[:stop]).digest() if digest else None)
            start = stop
        if ends_by == "offset":
            assert (await gateway.resumables.offset(upload.id)).state == "receiving"
            assert (await gateway.resumables.offset(upload.id, length_ends=True)).state == "complete"
        else:
            assert outcome.file is not None
            assert outcome.file.identity.modified_ns == 123 * 10**9
        file = await gateway.uploads.find("d/a")
        assert file is not None and file.upload is not None
        assert (file.upload.sha256, file.fields) == (SHA256 if digest else None, {"meta-x": "1"})
        assert (kept(tmp_path), shown(tmp_path)) == ({}, {"d/a": BODY})
        done = await gateway.resumables.look(upload.id)
        assert (done.state, done.length, done.sha256) == ("complete", len(BODY), SHA256 if digest else None)
        with pytest.raises(CompletedUpload):
            await append(gateway, upload, b"more")
        assert await offset(gateway, upload) == len(BODY)

    run(tmp_path, test, digest=digest)


def test_empty_upload_becomes_an_empty_file(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a", length=0))
        assert (await gateway.resumables.offset(upload.id, length_ends=True)).state == "complete"
        other = await gateway.resumables.create(Plan(path="b"))
        assert (await append(gateway, other, complete=True)).upload.state == "complete"
        assert shown(tmp_path) == {"a": b"", "b": b""}

    run(tmp_path, test)


def test_create_with_bytes_begins_appends_and_is_held_from_the_start(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        told: list[Resumable] = []

        async def announce(record: Resumable) -> None:
            told.append(record)
            with pytest.raises(Locked):
                async with gateway.resumables._holding(record.id, patient=False):
                    pass

        outcome = await gateway.resumables.create_with(
            Plan(path="a"), Append(body=Given(BODY), complete=True), announce
        )
        assert outcome.upload.state == "complete"
        assert [(each.id, each.offset) for each in told] == [(outcome.upload.id, 0)]
        assert shown(tmp_path) == {"a": BODY}
        with pytest.raises(InconsistentLength):
            await gateway.resumables.create_with(Plan(path="b", length=5), Append(body=Given(b"x", length=6)))
        assert kept(tmp_path) == {}

    run(tmp_path, test)


def test_unknown_upload_is_not_found(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        resumables = gateway.resumables
        for ask in (resumables.offset, resumables.look, resumables.cancel):
            with pytest.raises(NotFound):
                await ask("unknown")
        with pytest.raises(NotFound):
            await resumables.append("unknown", Append(body=Given(b"x")))
        with pytest.raises(NotFound):
            await resumables.settled("unknown", 10)

    run(tmp_path, test)


@pytest.mark.parametrize("wrong", [0, 4, 6])
def test_append_at_a_wrong_offset_is_refused_tells_the_right_one_and_changes_nothing(
    tmp_path: Path, wrong: int
) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a"))
        before = (await append(gateway, upload, b"12345", offset=0)).upload
        with pytest.raises(OffsetConflict) as caught:
            await append(gateway, upload, b"x", offset=wrong, length=9)
        assert caught.value.members["offset"] == 5
        assert await gateway.resumables.look(upload.id) == before

    run(tmp_path, test)


def test_length_that_is_told_late_holds_and_ends_the_upload(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a"))
        await append(gateway, upload, b"123")
        after = (await append(gateway, upload, b"", length=5)).upload
        assert (after.length, after.state) == (5, "receiving")
        assert (await append(gateway, upload, b"45")).upload.state == "complete"

    run(tmp_path, test)


@pytest.mark.parametrize(
    "options",
    [
        {"length": 9},
        {"length": 2},
        {"complete": True, "body_length": 1},
        {"body_length": 3},
        {"complete": True, "body_length": 2, "length": 6},
    ],
)
def test_lengths_that_contradict_each_other_are_refused_before_a_byte_is_taken(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a", length=5))
        before = (await append(gateway, upload, b"123")).upload
        with pytest.raises(InconsistentLength):
            await append(gateway, upload, AssertionError("it was pulled"), **options)
        assert await gateway.resumables.look(upload.id) == before

    run(tmp_path, test)


def test_complete_before_the_length_is_refused_and_the_bytes_stay(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a", length=5))
        with pytest.raises(InconsistentLength):
            await append(gateway, upload, b"123", complete=True)
        assert await offset(gateway, upload) == 3
        await append(gateway, upload, b"45", complete=True)
        assert shown(tmp_path) == {"a": b"12345"}

    run(tmp_path, test)


def test_upload_that_gets_more_bytes_than_its_length_has_failed_and_its_bytes_go(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a", length=5))
        with pytest.raises(InconsistentLength):
            await append(gateway, upload, b"123", b"456")
        assert await state(gateway, upload.id) == "failed"
        with pytest.raises(Gone) as caught:
            await append(gateway, upload, b"1")
        assert caught.value.members["state"] == "failed"
        assert (kept(tmp_path), shown(tmp_path)) == ({}, {})

    run(tmp_path, test)


def test_upload_larger_than_allowed_is_refused_wherever_that_shows(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        with pytest.raises(TooLarge):
            await gateway.resumables.create(Plan(path="a", length=11))
        upload = await gateway.resumables.create(Plan(path="a"))
        await append(gateway, upload, b"12345")
        for options in ({"length": 11}, {"body_length": 6}):
            with pytest.raises(TooLarge):
                await append(gateway, upload, AssertionError("it was pulled"), **options)
        with pytest.raises(TooLarge):
            await append(gateway, upload, b"6789", b"01")
        assert await offset(gateway, upload) == 9
        await append(gateway, upload, b"0", complete=True)
        assert shown(tmp_path) == {"a": b"1234567890"}

    run(tmp_path, test, max_size=10)


def test_concatenation_larger_than_allowed_is_refused_or_fails_when_that_shows(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        part = await whole_part(gateway, b"123456")
        with pytest.raises(TooLarge):
            await gateway.resumables.join(Plan(path="a", parts=[part, part]))
        unknown = await gateway.resumables.create(Plan(path=""))
        joined = await gateway.resumables.join(Plan(path="a", parts=[part, unknown.id]))
        await append(gateway, unknown, b"12345", complete=True)
        assert (await gateway.resumables.settled(joined.id, 10)).state == "failed"
        assert shown(tmp_path) == {}

    run(tmp_path, test, max_size=10)


def test_bodies_have_to_be_large_enough_but_for_the_last_and_not_too_large(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a", length=11))
        with pytest.raises(TooSmall):
            await append(gateway, upload, AssertionError("it was pulled"), body_length=3)
        with pytest.raises(TooLarge):
            await append(gateway, upload, AssertionError("it was pulled"), body_length=9)
        with pytest.raises(TooLarge):
            await append(gateway, upload, b"1234", b"56789")
        assert await offset(gateway, upload) == 4
        await append(gateway, upload, b"56789", body_length=5)
        await append(gateway, upload, b"01", body_length=2)
        assert shown(tmp_path) == {"a": b"12345678901"}

    run(tmp_path, test, min_append=4, max_append=8)


def test_who_was_cut_off_while_he_began_an_upload_finds_it(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        plan = Plan(path="t/a")
        first = Append(body=Given(bytes(50_000), PeerGone()), complete=True)
        beginning = asyncio.create_task(gateway.resumables.create_with(plan, first))
        await asyncio.sleep(0)
        assert [each.id for each in await gateway.resumables.begun_below("", "t")] == [plan.id]
        assert [each.id for each in await gateway.resumables.left_at("", "t/a")] == [plan.id]
        with pytest.raises(PeerGone):
            await beginning
        assert not gateway.resumables._beginning

    run(tmp_path, test)


def test_upload_that_somebody_goes_on_writing_is_waited_for_a_moment_only(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        more = asyncio.Event()
        body = Given(bytes(50_000), more, b"x")
        writing = asyncio.create_task(
            gateway.resumables.create_with(Plan(path="t/a"), Append(body=body, complete=True))
        )
        await body.pulled.wait()
        assert await gateway.resumables.left_at("", "t/a") == []
        assert not writing.done()
        more.set()
        await writing

    run(tmp_path, test)
