"""`Client` against a real gateway where all is well, and against a peer of our own where something is not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from h2gate.client import Client, Item, Listener, Outcome, names
from h2gate.client.failures import FileChanged
from h2gate.errors import ConfigError, ConnectFailed, DigestMismatch, GateError, NotFound, StorageFull, TooLarge
from h2gate.wire.engine import EngineSettings
from tests.client.conftest import Tls
from tests.client.peer import Call, Handler, Peer
from tests.conftest import Serve

KIB = 1 << 10


def make_tree(root: Path) -> dict[str, bytes]:
    """Files of sizes around every border there is; relative path to content."""
    sizes = {"a.bin": 3 << 20, "empty": 0, "sub/64K": 64 * KIB, "sub/64K+1": 64 * KIB + 1, "sub/deep/späce %#?.txt": 7}
    content = {name: os.urandom(size) for name, size in sizes.items()}
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return content


def errors(outcomes: list[Outcome]) -> list[GateError]:
    return [outcome.error for outcome in outcomes if outcome.error is not None]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("http", ["auto", "1.1"])
async def test_tree_is_put_listed_got_and_removed(serve: Serve, tmp_path: Path, http: str) -> None:
    served = serve()
    content = make_tree(tmp_path / "tree")
    os.utime(tmp_path / "tree/a.bin", (1_000_000_000, 1_000_000_000))
    async with Client(served.url, ca=[served.ca], http=http) as gate:  # type: ignore[arg-type]
        put = await gate.put([tmp_path / "tree"])
        assert not errors(put)
        assert {outcome.sha256 for outcome in put} == {hashlib.sha256(data).hexdigest() for data in content.values()}
        assert {path: served.path(f"tree/{path}").read_bytes() for path in content} == content
        listed = await gate.ls(served.url + "/files/tree/")
        assert {(entry.name, entry.type, entry.size) for entry in listed if entry.type == "file"} == {
            ("a.bin", "file", 3 << 20),
            ("empty", "file", 0),
        }
        assert not errors(await gate.get([served.url + "/files/tree/"], f"{tmp_path}/back/"))
        assert {path: (tmp_path / "back/tree" / path).read_bytes() for path in content} == content
        assert (tmp_path / "back/tree/a.bin").stat().st_mtime == 1_000_000_000
        assert not errors(await gate.rm([served.url + "/files/tree/"], recursive=True))
        assert errors(await gate.rm([served.url + "/files/tree/a.bin"]))
        assert gate.transport.connections_made == (1 if http == "auto" else 0)


async def test_no_part_of_a_file_that_could_not_be_got_is_left(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    async with Client(served.url, ca=[served.ca]) as gate:
        (error,) = errors(await gate.get([served.url + "/files/nothing"], str(tmp_path / "nothing")))
    assert isinstance(error, NotFound)
    assert names_in(tmp_path) == ["data"]


async def test_file_too_large_fails_alone(serve: Serve, tmp_path: Path) -> None:
    served = serve(max_body=1 << 20, max_size=1 << 20)
    make_tree(tmp_path / "tree")
    async with Client(served.url, ca=[served.ca]) as gate:
        (error,) = errors(await gate.put([tmp_path / "tree"]))
    assert isinstance(error, TooLarge)
    assert served.path("tree/sub/64K+1").exists()


async def test_links_and_special_files_are_skipped_with_a_word(serve: Serve, tmp_path: Path) -> None:
    class Heard(Listener):
        def skipped(self, name: str, why: str) -> None:
            skipped[Path(name).name] = why

    served, skipped = serve(), dict[str, str]()
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"x")
    (tree / "link").symlink_to("file")
    (tree / "loop").symlink_to(".")
    os.mkfifo(tree / "pipe")
    async with Client(served.url, ca=[served.ca], listener=Heard()) as gate:
        outcomes = await gate.put([tree])
    assert [Path(outcome.item.name).name for outcome in outcomes] == ["file"]
    assert skipped == {"link": "a symbolic link", "loop": "a symbolic link", "pipe": "not a regular file"}


async def test_looking_for_files_is_told_while_it_takes_long(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Heard(Listener):
        def looking(self, n: int) -> None:
            told.set()

    told, found = threading.Event(), names.uploads

    def slow(*args: Any) -> Iterator[Item]:
        yield from found(*args)
        assert told.wait(10)

    monkeypatch.setattr("h2gate.client.session.LOOKING_SECONDS", 0.01)
    monkeypatch.setattr(names, "uploads", slow)
    served = serve()
    (tmp_path / "a").write_bytes(b"x")
    async with Client(served.url, ca=[served.ca], listener=Heard()) as gate:
        assert not errors(await gate.put([tmp_path / "a"]))


async def _put(tls: Tls, handler: Handler, *paths: Path, listener: Listener | None = None) -> list[Outcome]:
    async with Peer(handler).serving(tls.server) as peer, Client(peer.url, ca=[tls.ca], listener=listener) as gate:
        return await gate.put(paths, peer.url + "/in/")


async def store(call: Call) -> None:
    await call.read()
    call.answer(201)


def problem(code: str, status: int) -> tuple[tuple[bytes, bytes], bytes]:
    document = {"type": "about:blank", "title": code, "status": status, "detail": "because", "code": code}
    return (b"content-type", b"application/problem+json"), json.dumps(document).encode()


@pytest.mark.parametrize("size", [10, 200_000])
async def test_failure_that_may_be_retried_is_and_progress_starts_again(tls: Tls, tmp_path: Path, size: int) -> None:
    moved, calls = 0, 0

    class Heard(Listener):
        def moved(self, item: Item, n_bytes: int) -> None:
            nonlocal moved
            moved += n_bytes

        def resumed(self, item: Item, at: int) -> None:
            nonlocal moved
            moved = at

    async def handler(call: Call) -> None:
        nonlocal calls
        calls += 1
        await call.read()
        field, document = problem("draining", 503)
        call.answer(503, field, (b"retry-after", b"0"), body=document) if calls < 3 else call.answer(201)

    (tmp_path / "a").write_bytes(bytes(size))
    (outcome,) = await _put(tls, handler, tmp_path / "a", listener=Heard())
    assert (outcome.error, outcome.attempts, outcome.n_bytes, moved) == (None, 3, size, size)


async def test_third_failure_is_final_and_keeps_its_class(tls: Tls, tmp_path: Path) -> None:
    async def full(call: Call) -> None:
        field, document = problem("storage_full", 507)
        call.answer(507, field, (b"retry-after", b"0"), body=document)

    (tmp_path / "a").write_bytes(bytes(5 << 20))
    (outcome,) = await _put(tls, full, tmp_path / "a")
    assert isinstance(outcome.error, StorageFull)
    assert (outcome.attempts, str(outcome.error), outcome.status) == (3, "because", 507)


async def test_connection_cut_while_many_are_sent_loses_none(tls: Tls, tmp_path: Path) -> None:
    stored: set[str] = set()

    async def handler(call: Call) -> None:
        await call.read()
        if call.headers[":method"] == "POST":  # it takes no bundles
            call.answer(405)
        elif len(call.connection.peer.calls) == 20:
            call.connection.transport.abort()
        elif not call.connection.lost.done():
            stored.add(call.path)
            call.answer(201)

    for number in range(60):
        (tmp_path / f"{number}").write_bytes(bytes(100_000 if number % 2 else 100))
    outcomes = await _put(tls, handler, *(tmp_path / f"{number}" for number in range(60)))
    assert not errors(outcomes)
    assert stored == {f"/in/{number}" for number in range(60)}


@pytest.mark.parametrize("size", [10, 200_000])
async def test_gateway_that_states_another_digest_is_not_believed(tls: Tls, tmp_path: Path, size: int) -> None:
    async def liar(call: Call) -> None:
        await call.read()
        call.answer(201, (b"repr-digest", b"sha-256=:" + base64.b64encode(bytes(32)) + b":"))

    (tmp_path / "a").write_bytes(bytes(size))
    (outcome,) = await _put(tls, liar, tmp_path / "a")
    assert isinstance(outcome.error, DigestMismatch)


@pytest.mark.parametrize(("size", "as_trailer"), [(64 * KIB, False), (64 * KIB + 1, True)])
async def test_digest_goes_as_field_or_trailer(tls: Tls, tmp_path: Path, size: int, as_trailer: bool) -> None:
    data = os.urandom(size)
    expected = "sha-256=:" + base64.b64encode(hashlib.sha256(data).digest()).decode() + ":"
    seen: list[Call] = []

    async def handler(call: Call) -> None:
        assert await call.read() == data
        seen.append(call)
        call.answer(201)

    (tmp_path / "a").write_bytes(data)
    assert not errors(await _put(tls, handler, tmp_path / "a"))
    (call,) = seen
    assert call.headers["content-length"] == str(size)
    assert "last-modified" in call.headers
    assert call.headers.get("repr-digest") == (None if as_trailer else expected)
    assert call.trailers == ([(b"repr-digest", expected.encode())] if as_trailer else [])


@pytest.mark.parametrize("change", ["grow", "shrink", "touch"])
async def test_file_that_changes_while_it_is_sent_is_never_sent_whole(tls: Tls, tmp_path: Path, change: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(8 << 20))

    async def handler(call: Call) -> None:
        received = 0
        async for data in call.body():
            if not received and change == "touch":
                os.utime(path, (1, 1))
            elif not received:
                os.truncate(path, (9 if change == "grow" else 2) << 20)
            received += len(data)
        whole.append(received == 8 << 20)
        if whole == [True]:
            call.answer(201)

    whole: list[bool] = []
    (outcome,) = await _put(tls, handler, path)
    assert isinstance(outcome.error, FileChanged)
    assert whole == [False]


async def test_missing_file_fails_and_the_others_are_sent(tls: Tls, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    outcomes = await _put(tls, store, tmp_path / "nothing", tmp_path / "a")
    assert {Path(outcome.item.name).name: outcome.error is None for outcome in outcomes} == {
        "nothing": False,
        "a": True,
    }


async def test_listing_that_points_outside_is_refused(tls: Tls, tmp_path: Path) -> None:
    async def evil(call: Call) -> None:
        call.answer(200, body=json.dumps({"path": "", "entries": [{"name": "../x", "type": "file"}]}).encode())

    async with Peer(evil).serving(tls.server) as peer, Client(peer.url, ca=[tls.ca]) as gate:
        with pytest.raises(GateError, match="cannot be a file's name"):
            await gate.get([peer.url + "/in/"], f"{tmp_path}/")
    assert not names_in(tmp_path)


async def test_body_that_does_not_match_its_digest_is_not_kept(tls: Tls, tmp_path: Path) -> None:
    async def liar(call: Call) -> None:
        call.answer(200, (b"repr-digest", b"sha-256=:" + base64.b64encode(bytes(32)) + b":"), body=b"hello")

    async with Peer(liar).serving(tls.server) as peer, Client(peer.url, ca=[tls.ca]) as gate:
        (error,) = errors(await gate.get([peer.url + "/a"], str(tmp_path / "a")))
    assert isinstance(error, DigestMismatch)
    assert not names_in(tmp_path)


@pytest.mark.parametrize(("size", "at_once"), [(2_000_000, 3), (1_000_000, 4), (600_000, 7), (70_000, 9)])
async def test_more_files_than_streams_are_not_all_in_flight_and_of_smaller_ones_there_are_more(
    tls: Tls, tmp_path: Path, size: int, at_once: int
) -> None:
    go = asyncio.Event()

    async def later(call: Call) -> None:
        await go.wait()
        await store(call)

    peer = Peer(later, EngineSettings(stream_window=65535))
    async with peer.serving(tls.server), Client(peer.url, ca=[tls.ca], streams=3) as gate:
        put = asyncio.create_task(gate.put(files_of(size, tmp_path), peer.url + "/in/"))
        await peer.until(lambda: len(peer.calls) == at_once and all(call.received for call in peer.calls))
        assert gate.most_in_flight == at_once
        go.set()
        assert not errors(await put)
        assert gate.most_in_flight <= 9


async def test_file_that_has_left_and_waits_for_its_answer_keeps_no_other_from_being_sent(
    tls: Tls, tmp_path: Path
) -> None:
    sent, go = 0, asyncio.Event()

    async def mute(call: Call) -> None:
        nonlocal sent
        await call.read()
        sent += 1
        if sent == 7:  # six that wait leave room for one more
            go.set()
        await go.wait()
        call.answer(201)

    async with Peer(mute).serving(tls.server) as peer, Client(peer.url, ca=[tls.ca], streams=3) as gate:
        assert not errors(await gate.put(files_of(2_000_000, tmp_path), peer.url + "/in/"))
        assert gate.most_in_flight == 7


def files_of(size: int, folder: Path) -> list[Path]:
    paths = [folder / f"{number}" for number in range(20)]
    for path in paths:
        path.write_bytes(bytes(size))
    return paths


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        (["/files/in/1%2B", "/files/in/x"], ["/files/in/", "/files/in/1+"]),
        ([], ["/files/in/"]),
        ([f"/files/in/x{number}" for number in range(1000)], ["/files/in/", *(f"/files/in/{n}+" for n in range(3))]),
        (None, ["/files/in/", *(f"/files/in/{number}+" for number in range(3))]),
    ],
    ids=["one is there", "none is", "perhaps not all", "no list"],
)
async def test_what_an_earlier_run_began_is_asked_for_once_and_then_for_what_was_found(
    tls: Tls, tmp_path: Path, answer: list[str] | None, asked: list[str]
) -> None:
    asking: list[str] = []

    async def gateway(call: Call) -> None:
        await call.read()
        if not call.path.startswith("/uploads/"):
            call.answer(201)
            return
        asking.append(unquote(call.path.partition("?path=")[2]))
        if answer is None:
            call.answer(404)
            return
        uploads = [{"path": path, "url": "/uploads/1", "length": 1, "complete": False} for path in answer]
        call.answer(200, body=json.dumps({"uploads": uploads}).encode())

    paths = [tmp_path / f"{number}+" for number in range(3)]
    for path in paths:
        path.write_bytes(bytes(8 << 20))
    async with Peer(gateway).serving(tls.server) as peer, Client(peer.url, ca=[tls.ca], journal=tmp_path) as gate:
        assert not errors(await gate.put(paths, peer.url + "/files/in/"))
    assert asking[0] == asked[0]
    assert sorted(asking) == sorted(asked)


async def test_cancelled_put_resets_its_streams(tls: Tls, tmp_path: Path) -> None:
    async def never(call: Call) -> None:
        await asyncio.Event().wait()

    (tmp_path / "a").write_bytes(bytes(20 << 20))
    async with Peer(never).serving(tls.server) as peer, Client(peer.url, ca=[tls.ca]) as gate:
        put = asyncio.create_task(gate.put([tmp_path / "a"], peer.url + "/a"))
        await peer.until(lambda: any(call.received for call in peer.calls))
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put
        await peer.call("/a").reset


async def test_nobody_there_may_be_retried(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    async with Client("https://127.0.0.1:1/") as gate:
        (error,) = errors(await gate.put([tmp_path / "a"]))
    assert isinstance(error, ConnectFailed)
    assert error.retry


@pytest.mark.parametrize(
    "url", ["", "host", "ftp://host/", "https:///x", "https://host:x/", "https://host/?a", "https://host/#a"]
)
def test_what_is_no_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(ConfigError):
        Client(url)
