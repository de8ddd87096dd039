"""kill -9 in the middle of many uploads: what was acknowledged is there and whole, what is there is whole."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import signal
import threading

import pytest

from tests.conftest import Process, Spawn, staged
from tests.server.conftest import Connect
from tests.server.raw import RawClient, eventually

UPLOADS = 50
HELD = 3
"""Uploads whose last bytes are never sent, so that every kill comes in the middle of some."""
ROUNDS = 20 if os.environ.get("H2GATE_LONG") else 5


def content(name: int, seed: int) -> bytes:
    """Another one for every file, from a few bytes to some megabytes; can be made again to compare."""
    dice = random.Random(f"{seed}/{name}")  # noqa: S311 - not a secret
    n_bytes = dice.choice([0, 10, 10_000, 200_000, 1_000_000, 3_000_000])
    return dice.randbytes(2_000_000 if name < HELD else n_bytes)


class Sender:
    """Sends all uploads over one connection, interleaved, until the gateway dies; knows what was acknowledged."""

    def __init__(self, process: Process, seed: int) -> None:
        self.acknowledged: set[int] = set()
        self._client = RawClient(process.url, process.ca)
        self._seed = seed
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._client.sock.close()

    def _run(self) -> None:
        try:
            self._send()
        except OSError:
            self._note()  # killed, as was planned

    def _send(self) -> None:
        client = self._client
        self._names: dict[int, int] = {}
        left: dict[int, memoryview] = {}
        for name in range(UPLOADS):
            body = content(name, self._seed)
            stream = client.open("PUT", f"/files/{name}", ("content-length", str(len(body))))
            self._names[stream], left[stream] = name, memoryview(body)[: -1000 if name < HELD else None]
        while left:
            for stream, rest in list(left.items()):
                now = min(len(rest), client.room(stream), 64 << 10)
                end = now == len(rest) and self._names[stream] >= HELD
                client.data(stream, bytes(rest[:now]), end=end)
                left[stream] = rest[now:]
                if not left[stream].nbytes:
                    del left[stream]
            client.quiet()
            self._note()
        client.until(lambda: self._note() == UPLOADS)  # never: it is killed before

    def _note(self) -> int:
        answers = self._client.answers
        self.acknowledged |= {name for stream, name in self._names.items() if answers[stream].status in (201, 204)}
        return len(self.acknowledged)


def check(process: Process, client: RawClient, acknowledged: dict[int, int], attempted: dict[int, set[int]]) -> None:
    """`acknowledged` tells the last acknowledged content of each name, `attempted` all that may be there as well."""
    folder = process.data / "files"
    found = {int(path.name): path.read_bytes() for path in folder.iterdir()}
    assert acknowledged.keys() <= found.keys(), "an acknowledged file is lost"
    for name, body in found.items():
        allowed = attempted[name] | ({acknowledged[name]} if name in acknowledged else set())
        assert body in [content(name, seed) for seed in allowed], f"{name} is not one of the files sent"
        answer = client.answer(client.open("HEAD", f"/files/{name}", end=True))
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert staged(process.data) == []


@pytest.mark.timeout(60 * ROUNDS)
def test_after_kill_9_every_acknowledged_file_is_there_and_every_file_there_is_whole(
    spawn: Spawn, connect: Connect
) -> None:
    acknowledged: dict[int, int] = {}
    """The seed of the last acknowledged content of each name."""
    attempted: dict[int, set[int]] = {name: set() for name in range(UPLOADS)}
    n_staged = 0
    process = spawn()
    for seed in range(ROUNDS):
        sender = Sender(process, seed)
        enough = random.Random(seed).randrange(UPLOADS * 4 // 5)  # noqa: S311 - not a secret
        eventually(lambda: len(sender.acknowledged) >= enough, "some uploads are acknowledged")  # noqa: B023
        process.signal(signal.SIGKILL)
        process.wait()
        sender.join()
        n_staged += len(staged(process.data))
        for name in range(UPLOADS):
            attempted[name].add(seed)
        for name in sender.acknowledged:
            acknowledged[name], attempted[name] = seed, set()
        process = spawn()
        check(process, connect(process), acknowledged, attempted)
        print(f"round {seed}: killed after {len(sender.acknowledged)} of {UPLOADS}")
    assert n_staged, "no upload was in the middle"
