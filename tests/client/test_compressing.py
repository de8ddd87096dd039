"""Files that shrink are sent with a content coding, in bundles, alone, and gone on with; and as they are where that
does not help, or the gateway does not take it."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest

from h2gate.client import Client, Listener, Outcome
from h2gate.front.app import create_app
from h2gate.gateway import Gateway
from h2gate.server.exchange import App
from tests.client.conftest import Tls
from tests.client.cutting import Relay
from tests.client.peer import Call, Peer
from tests.conftest import Serve, Served

SIZES = (600, 60_000, 300_000, 5 << 20)
CODED = pytest.mark.parametrize("compress", ["auto", "zstd", "gzip"])


class Noted(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def noted(self, text: str) -> None:
        self.notes.append(text)


def text(size: int, seed: int = 0) -> bytes:
    """It shrinks to half or so, and its beginning is not its end."""
    dice = random.Random(seed)  # noqa: S311 - not a secret
    return b"".join(b"%x\n" % dice.getrandbits(64) for _ in range(size // 17 + 1))[:size]


def make(folder: Path, *, few: bool) -> dict[str, bytes]:
    """Some that shrink and some that do not; few go alone, many in bundles."""
    content = {f"text {size}": text(size, size) for size in SIZES}
    content |= {f"random {size}": os.urandom(size) for size in SIZES} | {"empty": b"", "tiny": b"a" * 100}
    if not few:
        content |= {f"{number}": text(1000, number) for number in range(700)}
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return content


def seen_by(headers: list[dict[bytes, bytes]]) -> Any:
    """An application that remembers the header section of each request."""

    def make_app(gateway: Gateway) -> App:
        app = create_app(gateway)

        async def listening(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                headers.append({**dict(scope["headers"]), b":path": scope["raw_path"], b":m": scope["method"].encode()})
            await app(scope, receive, send)

        return listening

    return make_app


def check(served: Served, content: dict[str, bytes], outcomes: list[Outcome], folder: str = "tree") -> None:
    assert [each.error for each in outcomes if each.error] == []
    assert {name: served.path(f"{folder}/{name}").read_bytes() for name in content} == content
    assert {each.item.name.rpartition("/")[2]: each.n_bytes for each in outcomes} == {
        name: len(data) for name, data in content.items()
    }


@CODED
@pytest.mark.parametrize("few", [True, False], ids=["alone", "bundled"])
async def test_what_shrinks_is_sent_smaller_and_arrives_as_it_was(
    serve: Serve, tmp_path: Path, compress: Any, few: bool
) -> None:
    seen: list[dict[bytes, bytes]] = []
    served = serve(make_app=seen_by(seen))
    content = make(tmp_path / "tree", few=few)
    async with (
        Relay(served.port) as relay,
        Client(f"https://localhost:{relay.port}", ca=[served.ca], compress=compress) as gate,
    ):
        check(served, content, await gate.put(tmp_path / "tree"))
        assert relay.up < 0.85 * sum(map(len, content.values()))
    coding = b"gzip" if compress == "gzip" else b"zstd"
    coded = {each[b":path"] for each in seen if b"content-encoding" in each}
    assert {each.get(b"content-encoding") for each in seen} == {None, coding}
    assert b"/files/tree/text%205242880" in coded
    assert not any(b"random" in path for path in coded)
    assert len(coded) == (len(SIZES) if few else len({path for path in coded if b"text" in path}) + 1)


async def test_coded_upload_that_is_cut_goes_on_where_it_was(serve: Serve, tmp_path: Path) -> None:
    served = serve(progress_seconds=0.05)
    data = text(24 << 20)
    (tmp_path / "a").write_bytes(data)
    dice = random.Random(3)  # noqa: S311 - not a secret

    async def cut(relay: Relay) -> None:
        for point in (2 << 20, 5 << 20, 8 << 20):
            await relay.until(point)
            relay.cut(dice)

    async with (
        Relay(served.port) as relay,
        Client(f"https://localhost:{relay.port}", ca=[served.ca], compress="zstd") as gate,
    ):
        cutting = asyncio.create_task(cut(relay))
        (outcome,) = await gate.put(tmp_path / "a")
        await cutting
        assert outcome.error is None
        assert relay.cuts == 3
        assert relay.up < 0.9 * len(data)
    assert served.path("a").read_bytes() == data
    assert not list((served.data / "partial").iterdir())


async def test_another_run_goes_on_with_a_coded_upload(serve: Serve, tmp_path: Path) -> None:
    served = serve(progress_seconds=0.05)
    data = text(24 << 20)
    (tmp_path / "a").write_bytes(data)
    journal = tmp_path / "journal"
    async with Relay(served.port) as relay:
        url = f"https://localhost:{relay.port}/"
        async with Client(url, ca=[served.ca], compress="zstd", journal=journal) as gate:
            put = asyncio.create_task(gate.put(tmp_path / "a"))
            await relay.until(6 << 20)
            put.cancel()
            await asyncio.wait({put})
        async with Client(url, ca=[served.ca], compress="zstd", journal=journal) as gate:
            (outcome,) = await gate.put(tmp_path / "a")
        assert outcome.error is None
        assert outcome.kept > 1 << 20
    assert served.path("a").read_bytes() == data


async def test_file_that_expands_too_much_for_the_gateway_is_sent_as_it_is(serve: Serve, tmp_path: Path) -> None:
    served = serve(max_expansion=4)
    (tmp_path / "zeros").write_bytes(bytes(40 << 20))
    async with Client(served.url, ca=[served.ca], compress="auto") as gate:
        (outcome,) = await gate.put(tmp_path / "zeros")
    assert outcome.error is None
    assert served.path("zeros").stat().st_size == 40 << 20


async def test_gateway_that_takes_no_coding_gets_files_as_they_are(tls: Tls, tmp_path: Path) -> None:
    stored: dict[str, bytes] = {}
    heard = Noted()

    async def handler(call: Call) -> None:
        body = await call.read()
        if call.headers[":method"] == "PUT":
            assert "content-encoding" not in call.headers
            stored[call.path] = body
        call.answer(204 if call.headers[":method"] == "OPTIONS" else 201)

    (tmp_path / "a").write_bytes(text(300_000))
    (tmp_path / "b").write_bytes(text(3000))
    paths = [tmp_path / "a", tmp_path / "b"]
    async with (
        Peer(handler).serving(tls.server) as peer,
        Client(peer.url, ca=[tls.ca], compress="zstd", listener=heard) as gate,
    ):
        outcomes = await gate.put(paths)
    assert [each.error for each in outcomes] == [None, None]
    assert stored == {"/files/a": text(300_000), "/files/b": text(3000)}
    assert heard.notes == ["sent without a coding: the gateway takes no zstd"]


@pytest.mark.parametrize("size", [3000, 300_000])
async def test_coding_that_is_refused_after_all_is_not_used(tls: Tls, tmp_path: Path, size: int) -> None:
    stored: list[bytes] = []

    async def handler(call: Call) -> None:
        body = await call.read()
        if call.headers[":method"] == "OPTIONS":
            call.answer(204, (b"accept-encoding", b"zstd"))
        elif "content-encoding" in call.headers:
            call.answer(415)
        else:
            stored.append(body)
            call.answer(201)

    (tmp_path / "a").write_bytes(text(size))
    async with Peer(handler).serving(tls.server) as peer, Client(peer.url, ca=[tls.ca], compress="auto") as gate:
        (outcome,) = await gate.put(tmp_path / "a")
    assert outcome.error is None
    assert stored == [text(size)]
