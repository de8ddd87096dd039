"""Who may only create never replaces a file: over restarts, whoever completes it, in concatenations, in races."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from h2gate.auth.base import Principal, Via
from h2gate.auth.rights import parse
from h2gate.errors import BadField, Forbidden, PreconditionFailed, Unauthenticated
from h2gate.fields import check_conditions
from h2gate.gateway import Gateway
from h2gate.transfer.file import File
from h2gate.transfer.grant import Grant
from h2gate.transfer.resumables import Plan
from tests.transfer.running import (
    BODY,
    Given,
    append,
    kept,
    put,
    run,
    shown,
    state,
    whole_part,
)
from tests.transfer.running import (
    checksum as checksum_of,
)


async def holds() -> None:
    """The credential still does."""


ME = Principal(name="me", via=Via.KEY, rights=parse("storage.create:/"))
CREATING = Grant(principal=ME, may_replace=False, look_again=holds)


def only_new(file: File | None) -> None:
    check_conditions({"if-none-match": "*"}, file.etag if file is not None else None, 0, reading=False)


@pytest.mark.parametrize("length", [1, 200_000])
def test_of_many_that_create_the_same_file_one_does_and_the_others_are_told_why(tmp_path: Path, length: int) -> None:
    async def one(gateway: Gateway, n: int) -> bool:
        body = Given(bytes([n]), bytes([n]) * (length - 1))
        try:
            await gateway.uploads.put("a", body, fields={}, expected={}, modified_ns=None, grant=CREATING)
        except Forbidden:
            return False
        return True

    async def test(gateway: Gateway) -> None:
        done = await asyncio.gather(*(one(gateway, n) for n in range(16)))
        assert sum(done) == 1
        assert shown(tmp_path) == {"a": bytes([done.index(True)]) * length}

    run(tmp_path, test)


def test_a_condition_that_fails_is_told_before_the_right_that_is_missing(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        await put(gateway, "a", b"old")
        for condition, error in ((only_new, PreconditionFailed), (lambda _: None, Forbidden), (None, Forbidden)):
            with pytest.raises(error) as caught:
                await gateway.uploads.put(
                    "a", Given(b"x"), fields={}, expected={}, modified_ns=None, precondition=condition, grant=CREATING
                )
            assert type(caught.value) is error
        assert shown(tmp_path) == {"a": b"old"}

    run(tmp_path, test)


def test_it_holds_after_a_restart_for_whoever_completes_the_upload(tmp_path: Path) -> None:
    uploads = []

    async def begin(gateway: Gateway) -> None:
        uploads.append(await gateway.resumables.create(Plan(path="a", length=len(BODY), grant=CREATING)))
        await append(gateway, uploads[0], BODY[:5000])

    async def end(gateway: Gateway) -> None:
        await put(gateway, "a", b"came meanwhile")
        with pytest.raises(Forbidden):
            await append(gateway, uploads[0], BODY[5000:])
        assert shown(tmp_path) == {"a": b"came meanwhile"}
        assert kept(tmp_path) == {uploads[0].id: BODY}
        await gateway.uploads.remove("a")
        assert (await append(gateway, uploads[0], b"")).upload.state == "complete"
        assert shown(tmp_path) == {"a": BODY}

    run(tmp_path, begin)
    run(tmp_path, end)


def test_once_somebody_who_may_only_create_went_on_with_it_it_replaces_nothing(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        await put(gateway, "a", b"old")
        upload = await gateway.resumables.create(Plan(path="a", length=len(BODY)))
        await append(gateway, upload, BODY[:5000], grant=CREATING)
        with pytest.raises(Forbidden):
            await append(gateway, upload, BODY[5000:])
        assert shown(tmp_path) == {"a": b"old"}

    run(tmp_path, test)


def test_a_concatenation_of_who_may_only_create_fails_where_a_file_came_and_keeps_its_parts(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        part = await gateway.resumables.create(Plan(path="", owner="me", length=2))
        joined = await gateway.resumables.join(Plan(path="a", owner="me", parts=[part.id], grant=CREATING))
        await put(gateway, "a", b"came meanwhile")
        await append(gateway, part, b"xy")
        await gateway.resumables.settled(joined.id, 30)
        assert (await state(gateway, joined.id), await state(gateway, part.id)) == ("failed", "complete")
        assert shown(tmp_path) == {"a": b"came meanwhile"}

    run(tmp_path, test)


def test_parts_of_another_are_not_joined(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        part = await whole_part(gateway, b"x")
        with pytest.raises(BadField):
            await gateway.resumables.join(Plan(path="a", owner="me", parts=[part], grant=CREATING))
        assert shown(tmp_path) == {}

    run(tmp_path, test)


@pytest.mark.parametrize("checksum", [True, False])
def test_bytes_of_an_upload_whose_credential_ended_are_kept_for_another_one(tmp_path: Path, checksum: bool) -> None:
    async def ended() -> None:
        raise Unauthenticated("withdrawn")

    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a", length=len(BODY), owner="me"))
        with pytest.raises(Unauthenticated):
            options = {"checksum": checksum_of(BODY)} if checksum else {}
            await append(gateway, upload, BODY, grant=Grant(principal=ME, look_again=ended), **options)
        assert shown(tmp_path) == {}
        assert (await gateway.resumables.offset(upload.id)).offset == len(BODY)
        assert (await append(gateway, upload, b"")).upload.state == "complete"
        assert shown(tmp_path) == {"a": BODY}

    run(tmp_path, test)
