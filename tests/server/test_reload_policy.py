"""SIGHUP: a policy that is read anew holds in every process; one that cannot be used changes nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from tests.conftest import Process, Spawn
from tests.front.policies import Policies
from tests.server.raw import eventually


def reload(process: Process, workers: int, text: str) -> None:
    """Ask for it, and wait until every worker has told what became of it."""
    before = sum(text in line for line in process.lines)
    process.signal(signal.SIGHUP)
    eventually(lambda: sum(text in line for line in process.lines) == before + workers, text)


def status(process: Process, policies: Policies, name: str) -> set[int]:
    """What each of many connections is told."""
    fields = policies.fields(name)
    return {httpx.get(f"{process.url}/files/", headers=fields, timeout=30).status_code for _ in range(16)}


@pytest.mark.parametrize("workers", [1, 2])
def test_keys_come_and_go_without_a_restart(tmp_path: Path, spawn: Spawn, workers: int) -> None:
    policies = Policies(tmp_path)
    policies.key("first", "storage.read:/")
    process = spawn("--workers", str(workers), "--auth", str(policies.file), listen="http://127.0.0.1:0")
    assert status(process, policies, "first") == {200}
    policies.key("second", "storage.read:/")
    assert status(process, policies, "second") == {401}
    reload(process, workers, "was read anew")
    assert status(process, policies, "second") == {200}
    policies.withdraw()
    reload(process, workers, "was read anew")
    assert status(process, policies, "first") == {401}
    policies.file.write_text("nonsense")
    reload(process, workers, "the old --auth stays")
    assert status(process, policies, "first") == {401}
    assert status(process, policies, "other") == {200}
