"""What an upload must be like to count: checksums of a body, digests of the whole, and preconditions."""

from __future__ import annotations

import base64
import hashlib
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from h2gate import effort
from h2gate.errors import (
    BadField,
    BodyTimeout,
    ChecksumMismatch,
    Conflict,
    DigestMismatch,
    GateError,
    Gone,
    PeerGone,
    PreconditionFailed,
    StorageFailed,
    TooLarge,
)
from h2gate.gateway import Gateway
from h2gate.transfer.pipeline import WASTED_BYTE_SECONDS
from h2gate.transfer.resumables import Plan
from tests.payers import Purse
from tests.transfer.running import BODY, SHA256, Given, append, checksum, kept, offset, put, run, shown, state, trailer


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
            {
                "content_follows": True,
                "trailers": [(b"content-digest", b"sha-256=:" + base64.b64encode(bytes(32)) + b":")],
            },
            DigestMismatch,
        ),
        ([b"x" * 5000, b"x"], {"content_follows": True, "trailers": [(b"content-digest", b"sha-256=x")]}, BadField),
        ([b"x" * 9000], {"trailers": [(b"content-digest", b"sha-256=x")]}, BadField),
        ([b"x" * 9000], {"trailers": [(b"upload-checksum", b"foo eA==")]}, BadField),
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


LARGE = bytes(1 << 20)


@pytest.mark.parametrize(
    ("pieces", "digest", "error", "n_charged"),
    [
        ([LARGE] * 8, bytes(32), DigestMismatch, 8),
        ([LARGE] * 20, None, TooLarge, 17),
        ([LARGE] * 8, None, None, 0),
        ([*[LARGE] * 8, PeerGone()], None, PeerGone, 0),
        ([*[LARGE] * 8, BodyTimeout()], None, BodyTimeout, 0),
        ([*[LARGE] * 8, StorageFailed()], None, StorageFailed, 0),
    ],
)
def test_whose_body_is_dropped_and_would_be_again_pays_for_what_was_done_with_it(
    tmp_path: Path, pieces: list[bytes | Exception], digest: bytes | None, error: type[GateError] | None, n_charged: int
) -> None:
    purse = Purse()

    async def test(gateway: Gateway) -> None:
        effort.charge_to(purse)
        expected = {"sha-256": digest} if digest else {}
        with pytest.raises(error) if error else nullcontext():
            await gateway.uploads.put("a", Given(*pieces), fields={}, expected=expected, modified_ns=None)
        assert purse.seconds == pytest.approx(n_charged * len(LARGE) * WASTED_BYTE_SECONDS, abs=0.005)

    run(tmp_path, test, max_body=16 << 20)
