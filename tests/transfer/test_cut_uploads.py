"""Bodies that break off, requests that are cancelled, and newcomers: what came is kept, and gone on with."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from h2gate.errors import BodyCut, GateError, InconsistentLength, PeerGone, Superseded
from h2gate.gateway import Gateway
from h2gate.transfer.appending import Append
from h2gate.transfer.completing import Outcome
from h2gate.transfer.resumables import Plan
from h2gate.upload import Resumable
from tests.conftest import n_descriptors
from tests.transfer.running import (
    BODY,
    CUTS,
    SHA256,
    Given,
    append,
    cancelled_after,
    checksum,
    kept,
    offset,
    outdate,
    run,
    shown,
)


@pytest.mark.parametrize("error", [PeerGone(), BodyCut()])
def test_body_that_breaks_off_is_kept_to_the_last_byte_and_gone_on_with(tmp_path: Path, error: GateError) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a", length=len(BODY)))
        for start, stop in zip((0, *CUTS), CUTS, strict=False):
            with pytest.raises(type(error)):
                await append(gateway, upload, BODY[start:stop], error, offset=start)
            assert await offset(gateway, upload) == stop
        await append(gateway, upload, BODY[CUTS[-1] :])
        assert shown(tmp_path) == {"a": BODY}
        assert (await gateway.resumables.look(upload.id)).sha256 == SHA256

    run(tmp_path, test)


def test_body_that_is_shorter_or_longer_than_it_said_is_cut_and_what_came_is_kept(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a"))
        with pytest.raises(BodyCut):
            await append(gateway, upload, b"12345", b"", body_length=6, complete=True)
        assert await offset(gateway, upload) == 5
        with pytest.raises(InconsistentLength):  # the request had told the length
            await append(gateway, upload, b"67", complete=True)

    run(tmp_path, test)


def test_request_that_is_cancelled_at_any_moment_leaves_a_prefix_that_can_be_gone_on_with(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        before = n_descriptors()
        for turns in range(60):
            options: dict[str, Any] = {"checksum": checksum(BODY)} if turns % 2 else {}
            upload = await gateway.resumables.create(Plan(path="a", length=len(BODY)))
            pieces = [BODY[:40_000], BODY[40_000:]]
            task = asyncio.create_task(append(gateway, upload, *pieces, **options))
            await cancelled_after(task, turns)
            record = await gateway.resumables.offset(upload.id)
            if record.state == "receiving":
                assert kept(tmp_path)[upload.id] == BODY[: record.offset]
                assert record.offset in (0, len(BODY)) or not options
                await append(gateway, upload, BODY[record.offset :], offset=record.offset)
            assert shown(tmp_path) == {"a": BODY}
            assert (await gateway.resumables.look(upload.id)).sha256 == SHA256
        assert n_descriptors() == before
        assert kept(tmp_path) == {}

    run(tmp_path, test, progress_seconds=0.0)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("is_checked", [True, False])
def test_request_that_is_cancelled_while_a_change_is_recorded_loses_nothing(
    tmp_path: Path, is_checked: bool, complete: bool, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(gateway: Gateway) -> None:
        real, left = gateway._ledger.keep, iter(range(1, number + 1))

        async def keep(resumable: Resumable, **named: Any) -> Resumable:
            if next(left, None) == number:
                task.cancel()  # what is recorded now is recorded, and the request does not hear of it
            return await real(resumable, **named)

        upload = await gateway.resumables.create(Plan(path="a"))
        with monkeypatch.context() as patched:
            patched.setattr(gateway._ledger, "keep", keep)
            options = {"checksum": checksum(BODY) if is_checked else None, "complete": complete}
            task = asyncio.create_task(append(gateway, upload, BODY, **options))
            await asyncio.wait([task])
        record = await gateway.resumables.offset(upload.id)
        if record.state == "receiving":
            await append(gateway, upload, BODY[record.offset :], offset=record.offset, complete=True)
        assert shown(tmp_path) == {"a": BODY}
        assert (await gateway.resumables.look(upload.id)).sha256 == SHA256

    run(tmp_path, test)


def test_progress_is_told_only_for_what_is_durable_and_recorded(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a"))
        told = []

        async def progress(n_bytes: int) -> None:
            told.append(n_bytes)
            record = await gateway.resumables.look(upload.id)
            assert (record.offset, kept(tmp_path)[upload.id][:n_bytes]) == (n_bytes, BODY[:n_bytes])

        pieces = [BODY[at : at + 10_000] for at in range(0, len(BODY), 10_000)]
        await append(gateway, upload, *pieces, progress=progress, complete=True)
        assert told == sorted(told) and len(told) == len(pieces) - 1
        assert told[-1] > 90_000

    run(tmp_path, test, progress_seconds=0.0)


def waiting(gateway: Gateway, upload: Resumable, first: bytes, **options: Any) -> tuple[asyncio.Task[Outcome], Given]:
    """A request of which nothing more comes."""
    body = Given(first, asyncio.Event())
    return asyncio.create_task(gateway.resumables.append(upload.id, Append(body=body, **options))), body


@pytest.mark.parametrize("asks", ["offset", "append", "cancel"])
@pytest.mark.parametrize("is_checked", [False, True])
def test_newcomer_takes_an_upload_over_and_what_came_is_kept_unless_it_is_to_be_checked(
    tmp_path: Path, asks: str, is_checked: bool
) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a", length=6))
        task, body = waiting(gateway, upload, b"123", checksum=checksum(b"") if is_checked else None)
        await body.pulled.wait()
        so_far = b"" if is_checked else b"123"
        if asks == "offset":
            assert await offset(gateway, upload) == len(so_far)
        elif asks == "append":
            await append(gateway, upload, b"123456"[len(so_far) :], offset=len(so_far))
            assert shown(tmp_path) == {"a": b"123456"}
        else:
            await gateway.resumables.cancel(upload.id)
            assert kept(tmp_path) == {}
        with pytest.raises(Superseded):
            await task

    run(tmp_path, test)


def test_look_and_expiry_do_not_disturb_who_writes(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a"))
        task, body = waiting(gateway, upload, b"123")
        await body.pulled.wait()
        await gateway.resumables.look(upload.id)
        outdate(tmp_path, upload.id)
        assert await gateway.resumables.expire() == 0
        assert not task.done()
        assert await offset(gateway, upload) == 3
        with pytest.raises(Superseded):
            await task

    run(tmp_path, test)
