"""A ledger that somebody else holds: the wait is bounded, nothing is shown meanwhile, and all is well afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import h2gate.ledger.sqlite
from tests.conftest import Serve, Served

HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(ledger: Path) -> Iterator[None]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLD, str(ledger)], stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield


@pytest.fixture
def served(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setattr(h2gate.ledger.sqlite, "_LOCK_WAIT_SECONDS", 0.3)
    return serve()


def test_put_while_the_ledger_is_held_fails_soon_and_shows_nothing(served: Served) -> None:
    with httpx.Client(base_url=served.plain_url, timeout=20) as http:
        http.put("/files/old", content=b"old")
        http.put("/files/gone", content=b"gone")
        with held(served.data / "ledger.sqlite"):
            begun = time.monotonic()
            for content in (b"x", bytes(1 << 20)):
                refused = http.put("/files/new", content=content)
                assert (refused.status_code, refused.json()["code"]) == (503, "ledger_failed")
            assert time.monotonic() - begun < 5
            assert http.get("/files/new").status_code == 404
            refused = http.patch("/files/old", content=b"er")
            assert (refused.status_code, refused.json()["code"]) == (503, "ledger_failed")
            assert http.put("/files/old", content=b"new").status_code == 503
            assert http.get("/files/old").content == b"old"
            assert served.staged() == []
        assert http.put("/files/new", content=b"x").status_code == 201
        patched = http.patch("/files/old", content=b"er", headers={"upload-offset": "3"})
        assert patched.status_code == 204
        assert http.get("/files/old").content == b"older"
        assert http.get("/files/old").headers["repr-digest"] == patched.headers["repr-digest"]


def test_append_that_cannot_be_recorded_is_not_shown_and_the_next_one_is_right(served: Served) -> None:
    with httpx.Client(base_url=served.plain_url, timeout=20) as http:
        old = http.put("/files/a", content=b"old")
        held_now = held(served.data / "ledger.sqlite")

        def body() -> Iterator[bytes]:
            yield bytes(200_000)
            deadline = time.monotonic() + 10
            while served.path("a").stat().st_size == 3:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            held_now.__enter__()  # after the record said "appending", before it can say "complete"
            yield b"rest"

        refused = http.patch("/files/a", content=body())
        assert (refused.status_code, refused.json()["code"]) == (503, "ledger_failed")
        found = http.get("/files/a")
        assert (found.content, found.headers["etag"]) == (b"old", old.headers["etag"])
        held_now.__exit__(None, None, None)
        patched = http.patch("/files/a", content=b"er", headers={"upload-offset": "3"})
        assert patched.status_code == 204
        assert http.get("/files/a").content == b"older"
        assert served.path("a").read_bytes() == b"older"
