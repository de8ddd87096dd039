"""Checkpoints: when there is one, and what was told by one is never taken back."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from h2gate.errors import BadField, ChecksumMismatch, DigestMismatch, GateError, TooSmall
from h2gate.gateway import Gateway
from h2gate.transfer.appending import Append
from h2gate.transfer.resumables import Plan
from tests.transfer.running import BODY, SHA256, Given, append, checksum, kept, offset, run, shown, state, trailer

WRONG = [(b"content-digest", b"sha-256=:" + base64.b64encode(bytes(32)) + b":")]
RIGHT = [(b"Content-Digest", b"sha-256=:" + base64.b64encode(hashlib.sha256(BODY).digest()) + b":")]


class Told(list[int]):
    """The offsets that were told, which are durable then."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.news = asyncio.Event()

    async def __call__(self, offset: int) -> None:
        assert [len(each) for each in kept(self.data).values()] == [offset]
        self.append(offset)
        self.news.set()


@pytest.mark.parametrize(
    ("trailers", "error"),
    [
        (WRONG, DigestMismatch),
        (trailer(b"other"), ChecksumMismatch),
        ([(b"content-digest", b"sha-256=x")], BadField),
        ([(b"upload-checksum", b"foo eA==")], BadField),
    ],
)
def test_bad_trailer_that_nobody_announced_takes_nothing_back_that_was_told(
    tmp_path: Path, trailers: list[tuple[bytes, bytes]], error: type[GateError]
) -> None:
    async def test(gateway: Gateway) -> None:
        told = Told(tmp_path)
        upload = await gateway.resumables.create(Plan(path="a"))
        with pytest.raises(error):
            await append(gateway, upload, BODY[:5001], BODY[5001:9000], b"x", trailers=trailers, progress=told)
        assert told == [5001, 9000]
        assert await offset(gateway, upload) == 9000
        assert kept(tmp_path) == {upload.id: BODY[:9000]}
        await append(gateway, upload, BODY[9000:], complete=True)
        assert (await gateway.resumables.look(upload.id)).sha256 == SHA256

    run(tmp_path, test, progress_seconds=0.0)


@pytest.mark.parametrize(("trailers", "counts"), [(WRONG, False), (RIGHT, True)])
def test_nothing_is_told_while_an_announced_digest_is_to_come(
    tmp_path: Path, trailers: list[tuple[bytes, bytes]], counts: bool
) -> None:
    async def test(gateway: Gateway) -> None:
        told = Told(tmp_path)
        upload = await gateway.resumables.create(Plan(path="a"))
        given: dict[str, Any] = {"trailers": trailers, "content_follows": True, "progress": told}
        if counts:
            await append(gateway, upload, BODY[:5000], BODY[5000:], **given)
        else:
            with pytest.raises(DigestMismatch):
                await append(gateway, upload, BODY[:5000], BODY[5000:], **given)
        assert (told, await offset(gateway, upload)) == ([], len(BODY) if counts else 0)

    run(tmp_path, test, progress_seconds=0.0)


def test_bytes_that_no_others_follow_are_durable_and_told_to_the_last_of_them(tmp_path: Path) -> None:
    """Once: silence costs nothing."""

    async def test(gateway: Gateway) -> None:
        told = Told(tmp_path)
        upload = await gateway.resumables.create(Plan(path="a"))
        silences = [asyncio.Event() for _ in range(2)]
        body = Given(BODY[:5001], silences[0], BODY[5001:5002], silences[1], BODY[5002:])
        request = Append(body=body, progress=told, complete=True)
        task = asyncio.create_task(gateway.resumables.append(upload.id, request))
        for size, silence in zip((5001, 5002), silences, strict=True):
            await told.news.wait()
            told.news.clear()
            assert told[-1] == size == (await gateway.resumables.look(upload.id)).offset
            silence.set()
        assert (await task).upload.sha256 == SHA256
        assert shown(tmp_path) == {"a": BODY}
        assert told == [5001, 5002]

    run(tmp_path, test, progress_seconds=0.05)


@pytest.mark.parametrize("pieces", [[b"x"], [b"x", b"y", b""]])
def test_body_below_the_least_is_refused_and_dropped_unless_it_is_the_last(tmp_path: Path, pieces: list[bytes]) -> None:
    async def test(gateway: Gateway) -> None:
        told = Told(tmp_path)
        upload = await gateway.resumables.create(Plan(path="a", length=12))
        with pytest.raises(TooSmall):
            await append(gateway, upload, *pieces, progress=told)
        assert (told, await offset(gateway, upload)) == ([], 0)
        await append(gateway, upload, b"0123456789")
        assert await state(gateway, upload.id) == "receiving"
        await append(gateway, upload, b"1", b"2")
        assert shown(tmp_path) == {"a": b"012345678912"}

    run(tmp_path, test, progress_seconds=0.0, min_append=10)


def test_length_that_came_with_a_body_that_does_not_count_is_not_kept(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a"))
        with pytest.raises(ChecksumMismatch):
            await append(gateway, upload, b"abc", length=3, checksum=checksum(b"abd"))
        with pytest.raises(DigestMismatch):
            await append(gateway, upload, b"abc", body_length=3, complete=True, content={"sha-256": bytes(32)})
        assert (await gateway.resumables.look(upload.id)).length is None
        await append(gateway, upload, b"abcd", length=5)
        with pytest.raises(ChecksumMismatch):
            await append(gateway, upload, b"e", checksum=checksum(b"f"))
        assert (await gateway.resumables.look(upload.id)).length == 5

    run(tmp_path, test)


@pytest.mark.parametrize("length", [None, 4])
def test_length_of_the_first_body_is_not_that_of_the_upload_where_it_does_not_count(
    tmp_path: Path, length: int | None
) -> None:
    """`Upload-Length` is of the creation, which stays."""

    async def test(gateway: Gateway) -> None:
        plan = Plan(path="a")
        first = Append(body=Given(b"abc", length=3), length=length, content={"sha-256": bytes(32)})
        if length is None:
            first = Append(body=Given(b"abc", length=3), complete=True, content={"sha-256": bytes(32)})
        with pytest.raises(DigestMismatch):
            await gateway.resumables.create_with(plan, first)
        found = await gateway.resumables.look(plan.id)
        assert (found.offset, found.length) == (0, length)
        await append(gateway, found, b"abcd", complete=True)
        assert shown(tmp_path) == {"a": b"abcd"}

    run(tmp_path, test)


def test_pace_is_that_of_the_last_request_whole_or_not(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        whole, later = Plan(path="a"), Plan(path="b")
        await gateway.resumables.create_with(whole, Append(body=Given(BODY), complete=True))
        await gateway.resumables.create_with(later, Append(body=Given(b"x"), complete=False))
        slow = (await gateway.resumables.look(later.id)).bytes_per_second
        await append(gateway, await gateway.resumables.look(later.id), BODY, complete=True)
        assert (await gateway.resumables.look(whole.id)).bytes_per_second > 0
        assert (await gateway.resumables.look(later.id)).bytes_per_second > slow > 0

    run(tmp_path, test)
