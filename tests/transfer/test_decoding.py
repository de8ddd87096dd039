"""Coded bodies as bodies without coding: credit, memory, digests, limits, and what is kept when something is wrong."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from h2gate import effort
from h2gate.budget import Budget
from h2gate.errors import (
    BadCoding,
    BadField,
    BodyCut,
    Busy,
    DigestMismatch,
    ExpandsTooMuch,
    GateError,
    PeerGone,
    TooLarge,
)
from h2gate.fields import digest_field
from h2gate.gateway import Gateway
from h2gate.transfer import decoding
from h2gate.transfer.decoding import Decoding
from h2gate.upload import Batch, Body
from tests.codec.coders import zstd
from tests.conftest import staged
from tests.payers import Purse
from tests.transfer.running import Given, cancelled_after, kept, run, shown

BODY = os.urandom(50_000) + bytes(3 << 20)
CODED = zstd.compress(gzip.compress(BODY, mtime=0))
CODING = {"content-encoding": "gzip, zstd"}
MIB = 1 << 20


def digest_of(data: bytes, name: str = "sha-256") -> str:
    return digest_field(name, hashlib.new(name.replace("-", ""), data).digest())


class Watched:
    """A body of 1,000 bytes a pull; knows how many were pulled."""

    def __init__(self, data: bytes, trailers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.length: int | None = len(data)
        self.trailers = trailers
        self.n_pulls = 0
        self._left = [data[at : at + 1000] for at in range(0, len(data), 1000)]

    async def pull(self) -> Batch:
        self.n_pulls += 1
        piece = self._left.pop(0)
        return Batch([piece], len(piece), not self._left)


@asynccontextmanager
async def undone(
    body: Body, headers: Mapping[str, str] = CODING, **limits: int
) -> AsyncIterator[tuple[Body, Mapping[str, str]]]:
    decoding = Decoding(Budget(1 << 30), **limits)
    try:
        async with decoding.undone(body, headers) as found:
            yield found
    finally:
        await decoding.close()


async def taken(body: Body) -> bytes:
    found = bytearray()
    is_over = False
    while not is_over:
        batch = await body.pull()
        assert batch.n_bytes == sum(map(len, batch.chunks)) <= MIB + (256 << 10)
        found += b"".join(batch.chunks)
        is_over = batch.last
    return bytes(found)


def test_body_without_coding_is_left_alone() -> None:
    async def test() -> None:
        body, headers = Given(b"x"), {"content-encoding": "identity", "repr-digest": "x"}
        async with undone(body, headers, max_bytes=1) as found:
            assert found == (body, headers)

    asyncio.run(test())


def test_sender_gets_no_credit_before_all_is_taken_that_its_bytes_became() -> None:
    async def test() -> None:
        inner = Watched(gzip.compress(bytes(40 * MIB)))
        n_bytes = 0
        async with undone(inner, {"content-encoding": "gzip"}) as (body, _):
            while inner.n_pulls < 3:
                n_bytes += (await body.pull()).n_bytes
                assert n_bytes >= (inner.n_pulls - 1) * 900_000, "a pull was not handed on before the next"
            assert n_bytes + len(await taken(body)) == 40 * MIB

    asyncio.run(test())


@pytest.mark.parametrize("name", ["sha-256", "sha-512"])
@pytest.mark.parametrize("field", ["content-digest", "repr-digest"])
@pytest.mark.parametrize("place", ["field", "trailer"])
def test_digests_of_what_was_sent_are_of_the_coded_bytes(field: str, place: str, name: str) -> None:
    async def test() -> None:
        for data, is_right in [(CODED, True), (BODY, False)]:
            value = digest_of(data, name)
            headers = {**CODING, **({field: value} if place == "field" else {"trailer": field})}
            trailers = [] if place == "field" else [(field.title().encode(), value.encode())]
            async with undone(Watched(CODED, trailers), headers) as (body, _):
                if is_right:
                    assert await taken(body) == BODY
                    assert body.trailers == []
                else:
                    with pytest.raises(DigestMismatch):
                        await taken(body)
                    with pytest.raises(DigestMismatch):
                        await body.pull()

    asyncio.run(test())


def test_trailer_that_was_not_announced_is_refused_since_the_coded_bytes_are_gone() -> None:
    async def test() -> None:
        async with undone(Watched(CODED, [(b"repr-digest", digest_of(CODED).encode())])) as (body, _):
            with pytest.raises(BadField, match="announced"):
                await taken(body)

    asyncio.run(test())


def test_fields_and_trailers_are_those_of_the_decoded_body() -> None:
    async def test() -> None:
        value = digest_of(BODY)
        trailers = [(b"Unencoded-Digest", value.encode()), (b"x", b"y")]
        told = {
            "content-digest": digest_of(CODED),
            "unencoded-digest": value,
            "meta-a": "1",
            "trailer": "Unencoded-Digest",
        }
        async with undone(Watched(CODED, trailers), CODING | told) as (body, headers):
            assert headers == {"repr-digest": value, "meta-a": "1", "trailer": "repr-digest"}
            assert await taken(body) == BODY
            assert (body.length, body.trailers) == (None, [(b"repr-digest", value.encode())])

    asyncio.run(test())


@pytest.mark.parametrize(
    "cut", [0, 1, 20, len(CODED) // 2, len(CODED) - 1], ids=["none", "one byte", "20", "half", "all but one"]
)
def test_coding_that_ends_early_never_ends_well(cut: int) -> None:
    async def test() -> None:
        for length, error in [(None, BadCoding), (len(CODED), BodyCut)]:
            async with undone(Given(CODED[:cut], length=length)) as (body, _):
                with pytest.raises(error):
                    await taken(body)

    asyncio.run(test())


async def put_to(gateway: Gateway, body: Body, headers: Mapping[str, str] = CODING) -> None:
    async with gateway.uploads.decoding.undone(body, headers) as (decoded, _):
        await gateway.uploads.put("a", decoded, fields={}, expected={}, modified_ns=None)


def put(tmp_path: Path, data: bytes, headers: Mapping[str, str], **settings: Any) -> None:
    async def test(gateway: Gateway) -> None:
        await put_to(gateway, Given(data, length=len(data)), headers)

    run(tmp_path, test, **settings)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"max_body": len(BODY) - 1}, TooLarge),
        ({"max_body": len(BODY)}, None),
        ({"max_expansion": 1}, None),  # it is below the free amount
    ],
)
def test_largest_body_is_that_of_the_decoded_file(
    tmp_path: Path, settings: dict[str, int], error: type[GateError] | None
) -> None:
    if error is None:
        put(tmp_path, CODED, CODING, **settings)
        assert shown(tmp_path) == {"a": BODY}
    else:
        with pytest.raises(error):
            put(tmp_path, CODED, CODING, **settings)
        assert shown(tmp_path) == kept(tmp_path) == {}
        assert staged(tmp_path) == []


def test_expansion_is_limited_unless_the_settings_say_otherwise(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(64 * MIB))
    with pytest.raises(ExpandsTooMuch):
        put(tmp_path, bomb, {"content-encoding": "gzip"})
    put(tmp_path, bomb, {"content-encoding": "gzip"}, max_expansion=0)
    assert len(shown(tmp_path)["a"]) == 64 * MIB


def test_coded_bytes_that_become_nothing_are_limited_too(tmp_path: Path) -> None:
    nothing = (b"\x50\x2a\x4d\x18" + (1 << 20).to_bytes(4, "little") + bytes(1 << 20)) * 17 + zstd.compress(b"x")
    with pytest.raises(TooLarge):
        put(tmp_path, nothing, {"content-encoding": "zstd"}, max_body=1000)
    put(tmp_path, nothing, {"content-encoding": "zstd"})
    assert shown(tmp_path) == {"a": b"x"}


def test_request_that_is_cancelled_or_left_at_any_moment_keeps_nothing(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        pieces = [CODED[at : at + 5000] for at in range(0, len(CODED), 5000)]
        for turns in range(0, 60, 3):
            await cancelled_after(asyncio.create_task(put_to(gateway, Given(*pieces, asyncio.Event()))), turns)
        with pytest.raises(PeerGone):
            await put_to(gateway, Given(*pieces[:3], PeerGone()))
        assert shown(tmp_path) == {}
        assert staged(tmp_path) == []

    run(tmp_path, test)


def test_what_there_is_no_room_for_waits_for_its_turn_and_is_told_to_try_again_if_that_does_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(gateway: Gateway) -> None:
        stalled, goes_on = Given(CODED[:10], asyncio.Event(), PeerGone()), Given(CODED)
        first = asyncio.create_task(put_to(gateway, stalled))
        await stalled.pulled.wait()
        second = asyncio.create_task(put_to(gateway, goes_on))
        await gateway.uploads.put("b", Given(b"x"), fields={}, expected={}, modified_ns=None)  # it is not coded
        assert not second.done()
        monkeypatch.setattr(decoding, "_WAIT_SECONDS", 0.01)
        with pytest.raises(Busy):
            await put_to(gateway, Given(CODED))
        first.cancel()
        await second
        assert shown(tmp_path) == {"a": BODY, "b": b"x"}

    run(tmp_path, test, memory_budget=48 * MIB)


@pytest.mark.parametrize(
    ("data", "costs"),
    [
        pytest.param(os.urandom(MIB), False, id="random"),
        pytest.param(b"0123456789abcdef" * 4 + os.urandom(32), False, id="text"),
        pytest.param(bytes(8 * MIB), True, id="zeros"),
    ],
)
def test_what_becomes_far_more_than_was_sent_is_charged_to_who_sent_it(data: bytes, costs: bool) -> None:
    async def test() -> None:
        purse = Purse()
        effort.charge_to(purse)
        async with undone(Watched(gzip.compress(data)), {"content-encoding": "gzip"}, max_expansion=0) as (body, _):
            assert await taken(body) == data
        wanted = (len(data) - decoding.USUAL_EXPANSION * len(gzip.compress(data))) * decoding.EXPANDED_BYTE_SECONDS
        assert purse.seconds == pytest.approx(wanted if costs else 0.0)

    asyncio.run(test())
