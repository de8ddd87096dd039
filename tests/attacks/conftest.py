"""A real gateway as a process of its own, an attack on it, and beside that an honest upload and somebody who looks.

The attack comes from another address than the others, and goes on until an upload that ran beside it has ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import pytest

from loadtest import processes
from loadtest.attacks import prepare
from loadtest.hostile.catalogue import Attack
from loadtest.hostile.foe import Enemy, Seen, Target
from tests.conftest import Process, Spawn
from tests.server.raw import RawClient

UPLOAD_BYTES = 64 << 20
LIMIT_SECONDS = 60.0
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Siege:
    """What came of one attack."""

    seen: Seen
    limits: dict[str, float]
    """How often each was run into."""
    log: list[str]
    grown_bytes: int
    """The most memory of the process, beyond what it had before."""
    held_bytes: int
    """The most that was charged to the budget, of what was seen."""


class Honest(threading.Thread):
    """Uploads one file after the other, with our client, until told to stop."""

    def __init__(self, process: Process, source: Path) -> None:
        super().__init__(name="honest")
        self.names: list[str] = []
        """What was told to be stored."""
        self.trouble = ""
        self.enough = threading.Event()
        self._process = process
        self._source = source

    def run(self) -> None:
        while not (self.enough.is_set() and self.names) and not self.trouble:
            name = f"honest-{len(self.names)}"
            command = [sys.executable, "-m", "h2gate", "put", "--quiet", "--ca", str(self._process.ca)]
            command += [str(self._source), f"{self._process.url}/files/{name}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
            self.trouble = done.stderr if done.returncode else ""
            self.names.append(name)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.enough.set()
        self.join()

    def __enter__(self) -> Honest:
        self.start()
        return self


class Onlooker(threading.Thread):
    """PING and GET /healthz on a connection of its own, over and over, and /metrics."""

    def __init__(self, process: Process) -> None:
        super().__init__(name="onlooker")
        self.n_answers = 0
        self.held_bytes = 0
        self.trouble = ""
        self._enough = threading.Event()
        self._process = process

    def run(self) -> None:
        try:
            with RawClient(self._process.url, self._process.ca) as client:
                while not self._enough.wait(LOOK_SECONDS):
                    client.ping()
                    assert client.get("/healthz").status == 200
                    text = client.get("/metrics").body.decode()
                    found = re.search(r"^h2gate_memory_held_bytes (\S+)", text, re.MULTILINE)
                    assert found is not None
                    self.held_bytes = max(self.held_bytes, int(float(found[1])))
                    self.n_answers += 1
        except Exception as error:  # noqa: BLE001 - raised again where the test can see it
            self.trouble = repr(error)

    def __enter__(self) -> Onlooker:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._enough.set()
        self.join()


Besiege = Callable[[Attack], Siege]


@pytest.fixture
def besiege(spawn: Spawn, tmp_path: Path) -> Besiege:
    """`besiege(attack)`: when it returns, an honest upload that ran beside the attack is stored, byte for byte."""

    def start(attack: Attack) -> Siege:
        prepare(tmp_path / "data" / "files")
        source = tmp_path / "source"
        source.write_bytes(body := os.urandom(UPLOAD_BYTES))
        process = spawn(*attack.flags)
        pid, began = process.popen.pid, len(process.lines)
        before = processes.peak_bytes(pid)
        enemy = Enemy(Target("localhost", urlsplit(process.url).port or 0, process.ca))
        with Onlooker(process) as onlooker, Honest(process, source) as honest:
            end_at = time.monotonic() + LIMIT_SECONDS
            attack.run(enemy)
            while not honest.names and time.monotonic() < end_at:
                with contextlib.suppress(OSError):  # who was cut off too often is not let in
                    attack.run(enemy)
        assert not honest.trouble
        for name in honest.names:
            _expect_stored(process.data / "files" / name, body)
        assert not onlooker.trouble
        assert onlooker.n_answers > 1
        assert process.popen.poll() is None
        limits = limits_of(process)
        return Siege(enemy.seen, limits, process.lines[began:], processes.peak_bytes(pid) - before, onlooker.held_bytes)

    return start


def _expect_stored(path: Path, body: bytes) -> None:
    assert path.is_file(), f"{path.name} was acknowledged and is not there"
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(body).digest()


def limits_of(process: Process) -> dict[str, float]:
    with RawClient(process.url, process.ca) as client:
        text = client.get("/metrics").body.decode()
    found = re.findall(r'^h2gate_limits_hit_total\{limit="(\w+)"\} (\S+)', text, re.MULTILINE)
    return {limit: float(times) for limit, times in found}
