"""Small files go in bundles where the gateway takes them, and one by one where it does not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from h2gate.client import Client, Listener, Outcome
from h2gate.client.bundling import _common_folder
from h2gate.errors import BadPath
from tests.client.conftest import Tls
from tests.client.peer import Call, Peer
from tests.conftest import Serve

FILES = 1200


def make_files(root: Path, count: int = FILES) -> dict[str, bytes]:
    content = {f"d{number % 5}/{number} ü%": os.urandom(number % 3000) for number in range(count)}
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return content


class Counting(Listener):
    def __init__(self) -> None:
        self.finished_names: list[str] = []

    def finished(self, outcome: Outcome) -> None:
        self.finished_names.append(outcome.item.name)


async def test_small_files_go_in_a_few_requests_and_each_is_told(serve: Serve, tmp_path: Path) -> None:
    served, heard = serve(), Counting()
    content = make_files(tmp_path / "tree")
    (tmp_path / "tree/large").write_bytes(bytes(3 << 20))
    async with Client(served.url, ca=[served.ca], listener=heard) as gate:
        outcomes = await gate.put([tmp_path / "tree"])
    assert not [each.error for each in outcomes if each.error]
    assert len(heard.finished_names) == len(set(heard.finished_names)) == FILES + 1
    assert {name: served.path(f"tree/{name}").read_bytes() for name in content} == content
    assert served.path("tree/large").stat().st_size == 3 << 20


async def test_file_that_is_refused_or_unreadable_fails_alone(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    make_files(tmp_path / "tree", 40)
    (tmp_path / "tree/a\\b").write_bytes(b"1")
    (tmp_path / "tree/locked").write_bytes(b"1")
    async with Client(served.url, ca=[served.ca]) as gate:
        items, _ = gate._plan([tmp_path / "tree"], served.url)
        (tmp_path / "tree/locked").unlink()
        assert gate._bundler is not None
        outcomes = [each async for each in gate._bundler.put(items)]
    failed = {each.item.name.rpartition("/")[2]: each.error for each in outcomes if each.error}
    assert failed.keys() == {"a\\b", "locked"}
    assert isinstance(failed["a\\b"], BadPath)


async def test_gateway_without_bundles_gets_files_one_by_one(tls: Tls, tmp_path: Path) -> None:
    stored: set[str] = set()

    async def handler(call: Call) -> None:
        await call.read()
        if call.headers[":method"] == "PUT":
            stored.add(call.path)
        call.answer(201 if call.headers[":method"] == "PUT" else 405)

    make_files(tmp_path / "tree", 30)
    async with Peer(handler).serving(tls.server) as peer, Client(peer.url, ca=[tls.ca]) as gate:
        outcomes = await gate.put([tmp_path / "tree"], peer.url + "/in/")
    assert not [each.error for each in outcomes if each.error]
    assert len(stored) == 30


async def test_cut_costs_only_what_was_not_answered(tls: Tls, tmp_path: Path) -> None:
    """The peer answers for some files of each bundle, then drops the connection."""
    alone: set[str] = set()

    async def handler(call: Call) -> None:
        await call.read()
        if call.headers[":method"] == "PUT":
            alone.add(call.path)
            call.answer(201)
            return
        name = next(iter(content))
        line = json.dumps({"name": name, "status": 201, "size": len(content[name])}).encode() + b"\n"
        head = [(b":status", b"200"), (b"content-type", b"application/x-ndjson")]
        engine = call.connection.engine
        engine.respond(call.stream_id, head, end_stream=False)
        engine.send_data(call.stream_id, line, end_stream=False)
        call.connection.flush()
        call.connection.transport.close()

    content = make_files(tmp_path / "tree", 30)
    async with Peer(handler).serving(tls.server) as peer, Client(peer.url, ca=[tls.ca]) as gate:
        outcomes = await gate.put([tmp_path / "tree"], peer.url + "/in/")
    assert not [each.error for each in outcomes if each.error]
    assert len(outcomes) == 30
    assert len(alone) == 29


@pytest.mark.parametrize(
    ("urls", "folder"),
    [
        (["https://h/files/a/1", "https://h/files/a/2"], "https://h/files/a/"),
        (["https://h/files/a/1", "https://h/files/ab/2"], "https://h/files/"),
        (["https://h/files/a/b/1", "https://h/files/a/b", "https://h/files/a/c"], "https://h/files/a/"),
        (["https://h/files/a"], "https://h/files/"),
    ],
)
def test_bundle_goes_to_the_deepest_common_folder(urls: list[str], folder: str) -> None:
    assert _common_folder(urls) == folder
