"""Uploads that come coded and can be gone on with: offsets are of the coded bytes, and whatever happens while they are
decoded, the file is there once, whole, or the upload can be gone on with."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from h2gate.codec.digest import unencoded
from h2gate.config import Settings
from h2gate.errors import (
    BadCoding,
    BadField,
    CompletedUpload,
    DigestMismatch,
    ExpandsTooMuch,
    GateError,
    Gone,
    PeerGone,
    PreconditionFailed,
    TooLarge,
)
from h2gate.fields import digest_field
from h2gate.gateway import Gateway
from h2gate.transfer.resumables import Plan
from tests.codec.coders import zstd
from tests.transfer.running import Given, append, kept, offset, outdate, put, run, shown, state
from tests.transfer.troubled import Killed, Piecewise, Process, Trouble

BODY = random.Random(7).randbytes(300_000) * 2  # noqa: S311 - not a secret
CODED = zstd.compress(gzip.compress(BODY, mtime=0))
CODING = {"content-encoding": "gzip, zstd"}
SHA256 = {"sha-256": hashlib.sha256(BODY).digest()}
OF_CODED = {"sha-256": hashlib.sha256(CODED).digest()}
WRONG = {"sha-256": bytes(32)}
HALF = len(CODED) // 2


def plan(**more: Any) -> Plan:
    return Plan(path="a", fields=CODING | {"content-type": "text/x-test"}, **more)


def test_coded_bytes_are_counted_and_the_decoded_file_is_shown(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(plan(expected=OF_CODED | unencoded(SHA256)))
        with pytest.raises(PeerGone):
            await append(gateway, upload, CODED[:HALF], PeerGone(), offset=0)
        assert await offset(gateway, upload) == HALF
        found = await append(gateway, upload, CODED[HALF:], offset=HALF, complete=True)
        assert found.upload.offset == found.upload.length == len(CODED)
        assert found.upload.sha256 == SHA256["sha-256"]
        assert found.file is not None and found.file.size == len(BODY)
        assert found.file.fields == {"content-type": "text/x-test"}
        assert shown(tmp_path) == {"a": BODY}
        assert kept(tmp_path) == {}
        assert await offset(gateway, upload) == len(CODED)
        await gateway.uploads.append("a", len(BODY), Given(b"more"), expected={})
        assert shown(tmp_path) == {"a": BODY + b"more"}

    run(tmp_path, test)


@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("when", ["creation", "append", "trailer"])
@pytest.mark.parametrize(
    ("field", "given", "is_right"),
    [
        ("repr-digest", OF_CODED, True),
        ("repr-digest", SHA256, False),
        ("unencoded-digest", SHA256, True),
        ("unencoded-digest", {"sha-512": hashlib.sha512(BODY).digest()}, True),
        ("unencoded-digest", OF_CODED, False),
    ],
)
def test_digests_are_of_the_coded_or_the_decoded_bytes_and_hold_at_the_end(
    tmp_path: Path, field: str, given: dict[str, bytes], is_right: bool, when: str, digest: bool
) -> None:
    async def test(gateway: Gateway) -> None:
        whole = unencoded(given) if field.startswith("unencoded") else given
        upload = await gateway.resumables.create(plan(expected=whole if when == "creation" else {}))
        options: dict[str, Any] = {"whole": whole} if when == "append" else {}
        if when == "trailer":
            options["trailers"] = [(field.encode(), digest_field(*item).encode()) for item in given.items()]
        if is_right:
            await append(gateway, upload, CODED, complete=True, **options)
            assert shown(tmp_path) == {"a": BODY}
        else:
            with pytest.raises(DigestMismatch):
                await append(gateway, upload, CODED, complete=True, **options)
            assert await state(gateway, upload.id) == "failed"
            assert shown(tmp_path) == {}
        assert kept(tmp_path) == {}

    run(tmp_path, test, digest=digest)


def test_unencoded_digest_of_an_upload_without_coding_is_that_of_its_bytes(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="a", expected=unencoded(SHA256)))
        await append(gateway, upload, BODY, complete=True)
        other = await gateway.resumables.create(Plan(path="b"))
        with pytest.raises(DigestMismatch):
            await append(gateway, other, BODY, complete=True, whole=unencoded(WRONG))
        assert shown(tmp_path) == {"a": BODY}

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("coded", "settings", "error"),
    [
        (CODED[:-1], {}, BadCoding),
        (CODED + b"x", {}, BadCoding),
        (b"", {}, BadCoding),
        (zstd.compress(gzip.compress(bytes(64 << 20))), {}, ExpandsTooMuch),
        (CODED, {"max_size": len(BODY) - 1}, TooLarge),
    ],
)
def test_upload_that_cannot_be_decoded_has_failed_and_says_why(
    tmp_path: Path, coded: bytes, settings: dict[str, Any], error: type[GateError]
) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(plan())
        with pytest.raises(error):
            await append(gateway, upload, coded, complete=True)
        record = await gateway.resumables.look(upload.id)
        assert record.state == "failed" and record.reason
        with pytest.raises(Gone):
            await offset(gateway, upload)
        assert shown(tmp_path) == kept(tmp_path) == {}

    run(tmp_path, test, **settings)


def test_refusal_at_the_end_keeps_the_coded_bytes_and_it_can_be_tried_again(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(plan(conditions={"if-none-match": "*"}))
        await put(gateway, "a", b"other")
        for _ in range(2):
            with pytest.raises(PreconditionFailed):
                await append(gateway, upload, CODED[await offset(gateway, upload) :], complete=True)
            assert kept(tmp_path) == {upload.id: CODED}
            assert (await gateway.resumables.offset(upload.id)).sha256 is None
        await gateway.uploads.remove("a")
        await append(gateway, upload, b"", complete=True)
        assert shown(tmp_path) == {"a": BODY}
        assert kept(tmp_path) == {}

    run(tmp_path, test)


def test_later_request_may_name_the_coding_of_the_creation_and_no_other(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(plan())
        with pytest.raises(BadField):
            await append(gateway, upload, CODED, complete=True, codings=("zstd",))
        plain = await gateway.resumables.create(Plan(path="b"))
        with pytest.raises(BadField, match="identity"):
            await append(gateway, plain, CODED, complete=True, codings=("zstd",))
        assert await offset(gateway, upload) == await offset(gateway, plain) == 0
        await append(gateway, upload, CODED, complete=True, codings=("gzip", "zstd"))
        assert shown(tmp_path) == {"a": BODY}

    run(tmp_path, test)


def test_cancelled_and_expired_uploads_leave_nothing(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        for _ in range(2):
            upload = await gateway.resumables.create(plan())
            await append(gateway, upload, CODED[:HALF])
            (tmp_path / "partial" / f"{upload.id}.decoded").write_bytes(b"left")
            if _:
                await gateway.resumables.cancel(upload.id)
            else:
                outdate(tmp_path, upload.id)
                assert await gateway.resumables.expire() == 1
            assert kept(tmp_path) == {}

    run(tmp_path, test)


def _troubles(tmp_path: Path, what: str) -> Iterator[tuple[int, str, Process, GateError | Killed | None]]:
    """An upload, and the trouble at each of its calls in turn, until there are none left."""
    process = Process(Settings(data=tmp_path))
    for at in itertools.count(1):
        upload = process.ask("create", plan())
        sizes = [HALF, len(CODED) - HALF]
        given = Piecewise(upload_id=upload.id, seed=0, start=0, offset=0, sizes=sizes, data=CODED, complete=True)
        error: GateError | Killed | None = None
        try:
            process.ask("append", given, trouble=Trouble(what, at))
        except Killed as killed:
            error, process = killed, Process(Settings(data=tmp_path))
        except GateError as known:
            error = known
        was_struck = error is not None or process.was_struck
        yield at, upload.id, process, error
        if not was_struck:
            process.close()
            return


def _go_on(process: Process, upload_id: str) -> None:
    """As a client would: ask, send the rest."""
    try:
        record = process.ask("offset", upload_id)
    except CompletedUpload:
        return
    if record.state == "complete":
        return
    assert record.state == "receiving"
    given = Piecewise(
        upload_id=upload_id,
        seed=0,
        start=record.offset,
        offset=record.offset,
        sizes=[len(CODED) - record.offset],
        data=CODED,
        complete=True,
    )
    process.ask("append", given)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("what", ["kill", "cancel", "EIO", "ENOSPC"])
def test_trouble_at_any_moment_leaves_a_whole_file_or_an_upload_that_is_gone_on_with(tmp_path: Path, what: str) -> None:
    n_troubles = 0
    for at, upload_id, process, error in _troubles(tmp_path, what):
        assert shown(tmp_path) in ({}, {"a": BODY}), (what, at)
        if error is not None:
            n_troubles += 1
            _go_on(process, upload_id)
        process.ask("tidy")
        assert process.ask("sha256", "a") == SHA256["sha-256"], (what, at, error)
        assert shown(tmp_path) == {"a": BODY}, (what, at)
        assert kept(tmp_path) == {}, (what, at)
        record = process.ask("offset", upload_id)
        assert (record.state, record.offset) == ("complete", len(CODED))
        process.ask("remove", "a")
    assert n_troubles >= 10
