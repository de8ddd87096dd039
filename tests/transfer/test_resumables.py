"""Resumable uploads as the dialects ask for them, on a real folder: every answer, and what is kept after it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from h2gate.codec.checksum import Checksum
from h2gate.config import Settings
from h2gate.errors import (
    BadField,
    BodyCut,
    ChecksumMismatch,
    CompletedUpload,
    Conflict,
    DigestMismatch,
    GateError,
    Gone,
    InconsistentLength,
    LedgerFailed,
    Locked,
    NotFound,
    OffsetConflict,
    PeerGone,
    PreconditionFailed,
    Refused,
    Superseded,
    TooLarge,
    TooSmall,
)
from h2gate.gateway import Gateway, recover
from h2gate.storage.partial import DiskPartial
from h2gate.transfer.appending import Append
from h2gate.transfer.completing import Outcome
from h2gate.transfer.resumables import Plan
from h2gate.upload import Batch, Resumable, Tap
from tests.storage.test_full import small

__all__ = ["small"]

BODY = os.urandom(100_003)
SHA256 = hashlib.sha256(BODY).digest()
CUTS = (4096, 5000, 100_002)


class Given:
    """A body of these pieces, each a pull; an exception among them is raised, an event waited for."""

    def __init__(self, *pieces: bytes | Exception | asyncio.Event, length: int | None = None) -> None:
        self.length = length
        self.trailers: Sequence[tuple[bytes, bytes]] = ()
        self.pulled = asyncio.Event()
        """Set when it is asked for what it does not have yet."""
        self._left: list[bytes | Exception | asyncio.Event] = list(pieces) or [b""]

    async def pull(self) -> Batch:
        piece = self._left.pop(0)
        if isinstance(piece, asyncio.Event):
            self.pulled.set()
            await piece.wait()
        if isinstance(piece, Exception):
            raise piece
        data = piece if isinstance(piece, bytes) else b""
        return Batch([data], len(data), not self._left)


def run(data: Path, test: Callable[[Gateway], Coroutine[Any, Any, None]], **options: Any) -> None:
    """One run of a gateway."""

    async def bounded() -> None:
        async with asyncio.timeout(60), Gateway(Settings(data=data, **options), upkeep=False) as gateway:
            await test(gateway)
        assert not asyncio.all_tasks() - {asyncio.current_task()}

    asyncio.run(bounded())


async def append(gateway: Gateway, upload: Resumable, *pieces: bytes | Exception, **options: Any) -> Outcome:
    trailers = options.pop("trailers", ())
    body = Given(*pieces, length=options.pop("body_length", None))
    body.trailers = trailers
    return await gateway.resumables.append(upload.id, Append(body=body, **options))


async def offset(gateway: Gateway, upload: Resumable, **options: Any) -> int:
    return (await gateway.resumables.offset(upload.id, **options)).offset


async def whole_part(gateway: Gateway, data: bytes) -> str:
    part = await gateway.resumables.create(Plan(path="", length=len(data)))
    await append(gateway, part, data)
    return part.id


async def state(gateway: Gateway, upload_id: str) -> str:
    return (await gateway.resumables.look(upload_id)).state


def kept(data: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in (data / "partial").iterdir()}


def shown(data: Path) -> dict[str, bytes]:
    root = data / "files"
    return {str(each.relative_to(root)): each.read_bytes() for each in root.rglob("*") if each.is_file()}


# Creation, and bytes until the end.


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


# Bodies that end badly.


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


async def cancelled_after(task: asyncio.Task[Any], turns: int) -> None:
    """Cancel it after some turns of the loop, the later ones of which wait for threads."""
    for turn in range(turns):
        await asyncio.sleep(0.0002 if turn > 10 else 0)
    task.cancel()
    await asyncio.wait([task])


def n_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


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


# Lengths.


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


# Limits.


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


# Checksums and digests.


def checksum(data: bytes, name: str = "sha1") -> Checksum:
    return Checksum(name, hashlib.new(name, data).digest())


def trailer(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"Upload-Checksum", b"sha1 " + base64.b64encode(checksum(data).digest))]


def test_body_with_the_right_checksum_counts(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a", length=len(BODY)))
        await append(gateway, upload, BODY[:5000], checksum=checksum(BODY[:5000]))
        await append(gateway, upload, BODY[5000:9000], checksum_follows=True, trailers=trailer(BODY[5000:9000]))
        await append(gateway, upload, BODY[9000:], checksum=checksum(BODY[9000:], "md5"))
        assert shown(tmp_path) == {"a": BODY}
        assert (await gateway.resumables.look(upload.id)).sha256 == SHA256

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("pieces", "options", "error"),
    [
        ([b"x" * 9000], {"checksum": checksum(b"y")}, ChecksumMismatch),
        ([b"x" * 9000], {"checksum_follows": True}, ChecksumMismatch),
        ([b"x" * 9000], {"checksum_follows": True, "trailers": trailer(b"y")}, ChecksumMismatch),
        ([b"x" * 9000], {"trailers": trailer(b"y")}, ChecksumMismatch),
        ([b"x" * 9000], {"checksum_follows": True, "trailers": [(b"upload-checksum", b"no")]}, BadField),
        ([b"x" * 9000, PeerGone()], {"checksum": checksum(b"x" * 9000)}, PeerGone),
        ([b"x" * 9000, PeerGone()], {"checksum_follows": True}, PeerGone),
        ([b"x" * 9000], {"content": {"sha-256": bytes(32)}}, DigestMismatch),
        ([b"x" * 9000], {"content": {"sha-512": bytes(64)}}, DigestMismatch),
        (
            [b"x" * 5000, b"x" * 4000],
            {"trailers": [(b"content-digest", b"sha-256=:" + base64.b64encode(bytes(32)) + b":")]},
            DigestMismatch,
        ),
    ],
)
def test_body_that_is_not_what_it_should_be_is_dropped_and_the_digest_of_the_whole_is_right(
    tmp_path: Path, pieces: list[bytes | Exception], options: dict[str, Any], error: type[GateError]
) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a", length=len(BODY)))
        await append(gateway, upload, BODY[:5001])
        with pytest.raises(error):
            await append(gateway, upload, *pieces, **options)
        record = await gateway.resumables.offset(upload.id)
        assert (record.offset, record.verified) == (5001, None)
        assert kept(tmp_path) == {upload.id: BODY[:5001]}
        await append(gateway, upload, BODY[5001:20_000])  # past what was dropped, in a request of its own
        await append(gateway, upload, BODY[20_000:])
        assert shown(tmp_path) == {"a": BODY}
        assert (await gateway.resumables.look(upload.id)).sha256 == SHA256

    run(tmp_path, test, progress_seconds=0.0)


def test_body_with_a_content_digest_that_breaks_off_is_kept(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a"))
        with pytest.raises(PeerGone):
            await append(gateway, upload, b"123", PeerGone(), content={"sha-256": bytes(32)})
        assert await offset(gateway, upload) == 3
        await append(gateway, upload, b"45", content={"sha-256": hashlib.sha256(b"45").digest()}, complete=True)
        assert shown(tmp_path) == {"a": b"12345"}

    run(tmp_path, test)


REPR = {"sha-512": hashlib.sha512(BODY).digest(), "sha-256": SHA256, "unixsum": b"?"}


@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("place", ["plan", "request", "trailer"])
@pytest.mark.parametrize("name", ["sha-256", "sha-512"])
@pytest.mark.parametrize("is_right", [True, False])
def test_whole_with_a_wrong_digest_has_failed_and_with_a_right_one_is_shown(
    tmp_path: Path, name: str, place: str, is_right: bool, digest: bool
) -> None:
    wanted = {name: REPR[name] if is_right else bytes(len(REPR[name]))}
    encoded = base64.b64encode(wanted[name])

    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(
            Plan(path="a", length=len(BODY), expected=wanted if place == "plan" else {})
        )
        await append(gateway, upload, BODY[:5000])
        last: dict[str, Any] = {"whole": wanted if place == "request" else {}}
        if place == "trailer":
            last["trailers"] = [(b"repr-digest", name.encode() + b"=:" + encoded + b":")]
        if is_right:
            assert (await append(gateway, upload, BODY[5000:], **last)).upload.state == "complete"
            assert shown(tmp_path) == {"a": BODY}
            return
        with pytest.raises(DigestMismatch):
            await append(gateway, upload, BODY[5000:], **last)
        with pytest.raises(Gone):
            await offset(gateway, upload)
        assert await state(gateway, upload.id) == "failed"
        assert (kept(tmp_path), shown(tmp_path)) == ({}, {})

    run(tmp_path, test, digest=digest)


# Preconditions.


def test_precondition_is_looked_at_when_the_upload_begins_and_again_when_it_ends(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        plan = Plan(path="a", length=5, conditions={"if-none-match": "*"})
        upload = await gateway.resumables.create(plan)
        await put(gateway, "a", b"other")
        with pytest.raises(PreconditionFailed):
            await gateway.resumables.create(replace(plan, id="other"))
        with pytest.raises(PreconditionFailed):
            await append(gateway, upload, b"12345", checksum=checksum(b"12345"))
        assert shown(tmp_path) == {"a": b"other"}
        assert await offset(gateway, upload) == 5
        with pytest.raises(PreconditionFailed):
            await offset(gateway, upload, length_ends=True)
        await gateway.uploads.remove("a")
        assert (await gateway.resumables.offset(upload.id, length_ends=True)).state == "complete"
        assert shown(tmp_path) == {"a": b"12345"}

    run(tmp_path, test)


def test_upload_for_one_file_only_replaces_that_and_no_later_one(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        await put(gateway, "a", b"one")
        file = await gateway.uploads.find("a")
        assert file is not None
        conditions = {"if-match": file.etag}
        first, second = [await gateway.resumables.create(Plan(path="a", conditions=conditions)) for _ in range(2)]
        outcome = await append(gateway, first, b"two", complete=True)
        assert outcome.upload.replaced
        with pytest.raises(PreconditionFailed):
            await append(gateway, second, b"three", complete=True)
        assert shown(tmp_path) == {"a": b"two"}

    run(tmp_path, test)


async def put(gateway: Gateway, path: str, body: bytes) -> None:
    await gateway.uploads.put(path, Given(body), fields={}, expected={}, modified_ns=None)


def test_upload_whose_place_is_a_folder_by_now_is_kept_and_told(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a", length=1))
        await put(gateway, "a/b", b"x")
        with pytest.raises(Conflict):
            await append(gateway, upload, b"1")
        await gateway.uploads.remove("a/b")
        await gateway.uploads.remove("a")
        assert (await gateway.resumables.offset(upload.id, length_ends=True)).state == "complete"

    run(tmp_path, test)


# Two requests for one upload.


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


# The end of uploads.


def outdate(data: Path, *upload_ids: str) -> None:
    with closing(sqlite3.connect(data / "ledger.sqlite")) as database, database:
        for each in upload_ids:
            database.execute("UPDATE resumables SET expires_at = 1 WHERE id = ?", (each,))


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
        joining = await gateway.resumables.join(Plan(path="j", parts=[(await part_of(gateway)).id]))
        outdate(tmp_path, open_.id, done.id, over.id, part, joining.id)
        assert await gateway.resumables.expire() == 5
        assert await gateway.resumables.expire() == 0
        assert [await state(gateway, each.id) for each in (open_, joining, fresh)] == ["expired"] * 2 + ["receiving"]
        for each in (done.id, over.id, part):
            with pytest.raises(NotFound):
                await gateway.resumables.look(each)
        assert {open_.id, joining.id, part} & kept(tmp_path).keys() == set()
        assert shown(tmp_path) == {"c": b"123"}
        outdate(tmp_path, open_.id, joining.id)
        assert await gateway.resumables.expire() == 2
        with pytest.raises(NotFound):
            await offset(gateway, open_)

    run(tmp_path, test)


async def part_of(gateway: Gateway) -> Resumable:
    return await gateway.resumables.create(Plan(path=""))


def test_expiry_goes_on_in_portions_until_nothing_is_left(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        uploads = [await gateway.resumables.create(Plan(path="a")) for _ in range(7)]
        outdate(tmp_path, *[each.id for each in uploads])
        assert [await gateway.resumables.expire(limit=3) for _ in range(4)] == [3, 3, 1, 0]
        assert kept(tmp_path) == {}

    run(tmp_path, test)


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


# Concatenations.


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


@pytest.mark.parametrize("ends", ["cancelled", "forgotten"])
def test_concatenation_fails_when_a_part_ended_before_the_others_were_whole(tmp_path: Path, ends: str) -> None:
    async def test(gateway: Gateway) -> None:
        ended, other = await part_of(gateway), await part_of(gateway)
        joined = await gateway.resumables.join(Plan(path="a", parts=[other.id, ended.id]))
        await gateway.resumables.cancel(ended.id)
        if ends == "forgotten":
            outdate(tmp_path, ended.id)
            await gateway.resumables.expire()
        await append(gateway, other, b"1", complete=True)
        assert (await gateway.resumables.settled(joined.id, 50)).state == "failed"
        with pytest.raises(Gone):
            await offset(gateway, joined)
        await gateway.resumables.rejoin()
        assert shown(tmp_path) == {}

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


# After a start.


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


# Storage and ledger that fail.


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
