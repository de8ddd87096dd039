"""What the gateway has already is not sent again, and asking what it has costs little and holds up nothing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from h2gate.client import Client, Item, Listener
from h2gate.client.comparing import Compare
from h2gate.front.app import create_app
from h2gate.gateway import Gateway
from tests.client.conftest import Tls
from tests.client.peer import Call, Peer
from tests.conftest import Serve

SECOND = 1_000_000_000


class Heard(Listener):
    def __init__(self) -> None:
        self.there: list[str] = []
        self.would: list[str] = []

    def is_there(self, item: Item) -> None:
        self.there.append(Path(item.name).name)

    def would_move(self, item: Item) -> None:
        self.would.append(Path(item.name).name)


def make_tree(root: Path) -> dict[str, bytes]:
    """Files for bundles, files alone, and times with fractions of a second."""
    content = {f"many/{number:02}": os.urandom(number) for number in range(40)}
    content |= {"large": os.urandom(2 << 20), "deep/er/one": b"1", "späce %#?": b"2", "middle": os.urandom(70_000)}
    for number, (name, data) in enumerate(content.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(0, 1_500_000_000 * SECOND + number * 123_456_789 + 999_999_999))
    return content


async def _put(url: str, ca: Path, path: Path, compare: Compare, **more: Any) -> tuple[list[str], list[str]]:
    """Names of what was sent, and of what was there."""
    heard = Heard()
    async with Client(url, ca=[ca], listener=heard) as gate:
        outcomes = await gate.put([path], compare=compare, **more)
    assert not [each.error for each in outcomes if each.error]
    return sorted(Path(each.item.name).name for each in outcomes), sorted(heard.there)


@pytest.mark.parametrize("compare", ["time", "checksum"])
async def test_second_put_sends_nothing(serve: Serve, tmp_path: Path, compare: Compare) -> None:
    served, content = serve(), make_tree(tmp_path / "tree")
    names = sorted(Path(name).name for name in content)
    assert await _put(served.url, served.ca, tmp_path / "tree", compare) == (names, [])
    assert await _put(served.url, served.ca, tmp_path / "tree", compare) == ([], names)
    assert await _put(served.url, served.ca, tmp_path / "tree", "never") == (names, [])


async def test_only_what_is_missing_goes_into_bundles(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    make_tree(tmp_path / "tree")
    await _put(served.url, served.ca, tmp_path / "tree", "time")
    fresh = [f"fresh{number:02}" for number in range(20)]
    for name in fresh:
        (tmp_path / "tree/many" / name).write_bytes(b"new")
    sent, there = await _put(served.url, served.ca, tmp_path / "tree", "time")
    assert (sent, len(there)) == (fresh, 44)


@pytest.mark.parametrize("n_others", [0, 10])
@pytest.mark.parametrize(
    ("content", "modified", "compare", "is_sent"),
    [
        (b"abcd", 1, "time", True),
        (b"abc", 1, "time", False),
        (b"abc", 2, "time", False),
        (b"xyz", 2, "time", True),
        (b"xyz", 1, "time", False),
        (b"xyz", 1, "checksum", True),
        (b"abc", 2, "checksum", False),
    ],
    ids=["size", "same", "touched", "content", "content, not time", "content, by checksum", "touched, by checksum"],
)
async def test_file_is_sent_when_it_differs(
    serve: Serve, tmp_path: Path, content: bytes, modified: int, compare: Compare, is_sent: bool, n_others: int
) -> None:
    """Asked for alone, or with so many others that the folder is listed."""
    served, path = serve(), tmp_path / "tree/a"
    path.parent.mkdir()
    for number in range(n_others):
        (tmp_path / f"tree/other{number}").write_bytes(b"x")
    path.write_bytes(b"abc")
    os.utime(path, (1, 1))
    await _put(served.url, served.ca, tmp_path / "tree", "never")
    path.write_bytes(content)
    os.utime(path, (modified, modified))
    sent, _ = await _put(served.url, served.ca, tmp_path / "tree", compare)
    assert sent == (["a"] if is_sent else [])


@pytest.mark.parametrize("digest", [True, False])
async def test_a_large_folder_is_listed_once_and_a_file_alone_asked_for(
    serve: Serve, tmp_path: Path, digest: bool
) -> None:
    requests: list[tuple[str, str]] = []

    def counting(gateway: Gateway) -> Any:
        app = create_app(gateway)

        async def call(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                requests.append((scope["method"], scope["path"]))
            await app(scope, receive, send)

        return call

    served = serve(make_app=counting, digest=digest)
    make_tree(tmp_path / "tree")
    await _put(served.url, served.ca, tmp_path / "tree", "never")
    requests.clear()
    sent, there = await _put(served.url, served.ca, tmp_path / "tree", "time")
    assert (len(sent), len(there)) == (0, 44)
    alone = [("HEAD", "/files/tree/deep/er/one")] + [("GET", "/files/tree/deep/er/")] * (not digest)
    listed = [("GET", f"/files/{name}") for name in ("tree/", "tree/deep/", "tree/many/")]
    assert sorted(requests) == sorted(alone + listed)


async def test_folder_that_is_not_there_costs_one_request_and_its_folders_none(tls: Tls, tmp_path: Path) -> None:
    asked: list[str] = []

    async def handler(call: Call) -> None:
        await call.read()
        if call.headers[":method"] in ("GET", "HEAD"):
            asked.append(call.path)
            call.answer(404)
        else:
            call.answer(201 if call.headers[":method"] == "PUT" else 405)

    content = make_tree(tmp_path / "tree")
    async with Peer(handler).serving(tls.server) as peer:
        sent, there = await _put(peer.url, tls.ca, tmp_path / "tree", "time")
    assert (len(sent), there, asked) == (len(content), [], ["/files/tree/"])


@pytest.mark.parametrize(
    "listing", [(200, b"<html>"), (403, b""), (200, b"[]"), (200, b'{"entries": [{"name": "../x"}]}')]
)
async def test_server_that_is_not_this_gateway_gets_everything(
    tls: Tls, tmp_path: Path, listing: tuple[int, bytes]
) -> None:
    asked = 0

    async def handler(call: Call) -> None:
        nonlocal asked
        await call.read()
        method = call.headers[":method"]
        asked += method in ("GET", "HEAD")
        if method == "HEAD":
            call.answer(200, (b"content-length", b"1"), (b"last-modified", b"Thu, 01 Jan 1970 00:00:01 GMT"))
        elif method == "GET":
            call.answer(listing[0], body=listing[1])
        else:
            call.answer(201 if method == "PUT" else 405)

    for number in range(12):
        path = tmp_path / f"tree/{number}/{number}/a"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"1")
        os.utime(path, (1, 1))
    async with Peer(handler).serving(tls.server) as peer:
        sent, there = await _put(peer.url, tls.ca, tmp_path / "tree", "time")
    assert (len(sent), there) == (12, [])
    assert asked == 1


async def test_file_alone_that_only_has_the_same_time_elsewhere_is_sent(tls: Tls, tmp_path: Path) -> None:
    """Without a digest it may be of any server, and that one has no listing either."""

    async def handler(call: Call) -> None:
        await call.read()
        if call.headers[":method"] == "HEAD":
            call.answer(200, (b"content-length", b"1"), (b"last-modified", b"Thu, 01 Jan 1970 00:00:01 GMT"))
        else:
            call.answer(201 if call.headers[":method"] == "PUT" else 404)

    (tmp_path / "a").write_bytes(b"1")
    os.utime(tmp_path / "a", (1, 1))
    async with Peer(handler).serving(tls.server) as peer:
        assert await _put(f"{peer.url}/in/", tls.ca, tmp_path / "a", "time") == (["a"], [])


def _listing(*files: Path) -> bytes:
    entries = []
    for path in files:
        digest = base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()
        described = {"name": path.name, "size": path.stat().st_size, "modified": "1970-01-01T00:00:01Z"}
        entries.append({**described, "type": "file", "repr_digest": f"sha-256=:{digest}:"})
    return json.dumps({"path": "", "entries": entries}).encode()


async def test_asking_is_tried_again(tls: Tls, tmp_path: Path) -> None:
    asked = 0

    async def handler(call: Call) -> None:
        nonlocal asked
        asked += 1
        if asked < 3:
            call.answer(503, (b"retry-after", b"0"))
        else:
            call.answer(200, body=_listing(*(tmp_path / "tree").iterdir()))

    (tmp_path / "tree").mkdir()
    for number in range(8):
        (tmp_path / f"tree/{number}").write_bytes(b"1")
    async with Peer(handler).serving(tls.server) as peer:
        sent, there = await _put(f"{peer.url}/in/", tls.ca, tmp_path / "tree", "time")
    assert (sent, len(there), asked) == ([], 8, 3)


async def test_sending_does_not_wait_for_the_asking(tls: Tls, tmp_path: Path) -> None:
    """The second folder's listing comes when a file of the first has arrived."""
    arrived = asyncio.Event()

    async def handler(call: Call) -> None:
        await call.read()
        if call.headers[":method"] == "PUT":
            arrived.set()
            call.answer(201)
        elif call.headers[":method"] == "HEAD":
            call.answer(404)
        elif call.path == "/in/tree/":
            folders = [{"name": name, "type": "directory"} for name in ("a", "b")]
            call.answer(200, body=json.dumps({"path": "", "entries": folders}).encode())
        else:
            if call.path == "/in/tree/b/":
                await arrived.wait()
            call.answer(200, body=_listing())

    for name in ("a", "b"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        for number in range(8):
            (tmp_path / f"tree/{name}/{number}").write_bytes(bytes(100_000))
    async with Peer(handler).serving(tls.server) as peer:
        sent, there = await _put(f"{peer.url}/in/", tls.ca, tmp_path / "tree", "time")
    assert (len(sent), there) == (16, [])


async def test_nobody_there_fails_as_soon_as_without_asking(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    async with Client("https://127.0.0.1:1/", retries=0) as gate:
        (outcome,) = await gate.put([tmp_path / "a"], compare="time")
    assert outcome.error is not None
    assert outcome.error.retry


async def test_dry_run_tells_and_sends_nothing(serve: Serve, tmp_path: Path) -> None:
    served, heard = serve(), Heard()
    content = make_tree(tmp_path / "tree")
    await _put(served.url, served.ca, tmp_path / "tree/many", "never")
    async with Client(served.url + "/files/", ca=[served.ca], listener=heard) as gate:
        assert await gate.put([tmp_path / "tree"], served.url + "/files/", compare="time", dry_run=True) == []
        assert sorted(heard.would) == sorted(Path(name).name for name in content)
        assert not served.path("tree").exists()
        heard.would.clear()
        assert await gate.put([tmp_path / "tree/many"], compare="time", dry_run=True) == []
        assert (heard.would, len(heard.there)) == ([], 40)
        assert await gate.get([served.url + "/files/many/"], f"{tmp_path}/back/", dry_run=True) == []
        assert len(heard.would) == 40
    assert not (tmp_path / "back").exists()
