"""Gateways that are killed while workers append to one audit log: what was acknowledged has its line, in one chain."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from pathlib import Path

import httpx
import pytest

from h2gate.audit.listing import Wanted, lines
from h2gate.audit.verifying import verify
from h2gate.auth import keys
from h2gate.config import Settings
from h2gate.gateway import recover
from tests.conftest import Process, Serve, Served, Spawn
from tests.server.raw import eventually


@pytest.fixture
def secret(tmp_path: Path) -> str:
    secret, digest = keys.make("lab")
    rights = "storage.modify:/ storage.read:/"
    text = f'[[keys]]\nid = "lab"\nsha256 = "{digest}"\nrights = "{rights}"\n[audit]\nmax_bytes = "64K"\n'
    (tmp_path / "auth.toml").write_text(text)
    return secret


class Senders:
    """Put small files, each anew, until the gateway is gone; `stored` are those that were acknowledged."""

    def __init__(self, process: Process, secret: str, name: str) -> None:
        self.stored: list[str] = []
        self._process = process
        self._headers = {"authorization": f"Bearer {secret}"}
        self._threads = [threading.Thread(target=self._send, args=(f"{name}-{n}",)) for n in range(4)]

    def __enter__(self) -> Senders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _send(self, name: str) -> None:
        number = 0
        while True:
            try:
                with httpx.Client(base_url=self._process.url, verify=False, headers=self._headers) as client:  # noqa: S501
                    for _ in range(10):  # a connection each: so both workers have some
                        path = f"{name}-{number}"
                        client.put(f"/files/{path}", content=b"abc").raise_for_status()
                        self.stored.append(path)
                        number += 1
            except httpx.TransportError:
                return


def kill_all(process: Process) -> None:
    """The workers with their parent, as a power cut would."""
    children = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children").read_text().split()
    for pid in [process.popen.pid, *map(int, children)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def test_after_kills_the_log_is_one_chain_with_all_that_is_there(tmp_path: Path, secret: str, spawn: Spawn) -> None:
    stored: list[str] = []
    for turn in range(2):
        process = spawn("--auth", str(tmp_path / "auth.toml"), "--workers", "2")
        with Senders(process, secret, str(turn)) as senders:
            eventually(lambda: len(senders.stored) >= 60, "some files are stored")
            kill_all(process)
        stored += senders.stored
    process = spawn("--auth", str(tmp_path / "auth.toml"), "--workers", "2")
    process.signal(signal.SIGTERM)
    process.wait()
    folder = process.data / "audit"
    assert verify([folder]).faults == []
    told = [each["path"] for each in lines([folder], Wanted()) if each["event"] in ("create", "replace", "found")]
    assert set(stored) <= set(told)
    there = {path.name for path in (process.data / "files").iterdir()}
    assert there == set(told)
    assert len(told) == len(set(told)), "nothing is told twice"


def cut_last_line(served: Served, auth: Path) -> Settings:
    """Stop the gateway, as if it had been killed before its last line was written."""
    served.loop.call_soon_threadsafe(served.stop.set)
    eventually(lambda: not served.loop.is_running(), "it has stopped")
    log = served.data / "audit" / "audit.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    return Settings(data=served.data, auth=auth)


@pytest.fixture
def stopped(tmp_path: Path, secret: str, serve: Serve) -> Settings:
    """What a gateway left that had three files, the line of the last of which was never written."""
    served = serve(auth=tmp_path / "auth.toml")
    headers = {"authorization": f"Bearer {secret}"}
    for name in "abc":
        httpx.put(f"{served.plain_url}/files/{name}", content=b"abc", headers=headers).raise_for_status()
    return cut_last_line(served, tmp_path / "auth.toml")


def test_an_append_whose_line_a_crash_prevented_is_found_too(tmp_path: Path, secret: str, serve: Serve) -> None:
    served = serve(auth=tmp_path / "auth.toml")
    headers = {"authorization": f"Bearer {secret}"}
    for method in ("PUT", "PATCH"):
        httpx.request(method, f"{served.plain_url}/files/a", content=b"abc", headers=headers).raise_for_status()
    settings = cut_last_line(served, tmp_path / "auth.toml")
    asyncio.run(recover(settings))
    told = [json.loads(line) for line in (settings.data / "audit" / "audit.jsonl").read_text().splitlines()]
    assert [(each["event"], each["size"]) for each in told] == [("create", 3), ("found", 6)]


def test_a_file_whose_line_a_crash_prevented_is_found_at_the_next_start_and_once(stopped: Settings) -> None:
    for _ in range(2):
        asyncio.run(recover(stopped))
        told = [json.loads(line) for line in (stopped.data / "audit" / "audit.jsonl").read_text().splitlines()]
        assert [(each["event"], each["path"]) for each in told] == [("create", "a"), ("create", "b"), ("found", "c")]
        assert told[-1]["size"] == 3
    assert verify([stopped.data / "audit"]).faults == []
