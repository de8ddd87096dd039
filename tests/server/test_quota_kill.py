"""64 uploads at once against one quota, and kill -9 in the middle: never over by a byte, nothing held for ever."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest

from h2gate.auth import keys
from tests.conftest import Process, Spawn
from tests.server.conftest import Connect
from tests.server.raw import RawClient, eventually
from tests.server.test_workers import workers_of

UPLOADS = 64
MAX_BYTES = 4_000_003
ROUNDS = 12 if os.environ.get("H2GATE_LONG") else 3
TUS = (("tus-resumable", "1.0.0"), ("content-type", "application/offset+octet-stream"))


class Sender:
    """Sends sixteen uploads of every kind over one connection, until all are answered or it is cut."""

    def __init__(self, process: Process, secret: str, seed: int) -> None:
        self.statuses: list[int] = []
        self._client = RawClient(process.url, process.ca)
        self._field = ("authorization", f"Bearer {secret}")
        self._dice = random.Random(seed)  # noqa: S311 - not a secret
        self._seed = seed
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._client.sock.close()

    def _run(self) -> None:
        with suppress(OSError):  # killed, as was planned
            self._send()

    def _send(self) -> None:
        client = self._client
        left = dict(self._begin(n) for n in range(UPLOADS // 4))
        streams = list(left)
        while left:
            for stream, rest in list(left.items()):
                now = min(len(rest), client.room(stream), 32 << 10)
                if client.answers[stream].over:
                    del left[stream]
                elif now or not rest:
                    client.data(stream, bytes(rest[:now]), end=now == len(rest))
                    left[stream] = rest[now:]
                    if now == len(rest):
                        del left[stream]
            client.quiet()
            self._note(streams)
        client.until(lambda: self._note(streams))

    def _begin(self, n: int) -> tuple[int, memoryview]:
        n_bytes = self._dice.choice([100, 50_000, 130_000, 200_000, 500_000])
        name, length = f"{self._dice.randrange(40)}", ("content-length", str(n_bytes))
        if n % 4 == 0:
            stream = self._client.open("PUT", f"/files/t/{name}", length, self._field)
        elif n % 4 == 1:
            stream = self._client.open("PUT", f"/files/t/{name}", self._field)
        elif n % 4 == 2:
            metadata = ("upload-metadata", "filename dC94")  # t/x
            size = ("upload-length", str(n_bytes))
            stream = self._client.open("POST", "/tus/", *TUS, length, size, metadata, self._field)
        else:
            draft = ("upload-complete", "?1"), ("upload-draft-interop-version", "8")
            stream = self._client.open("PUT", f"/files/t/{name}", *draft, self._field)
        return stream, memoryview(self._dice.randbytes(n_bytes))

    def _note(self, streams: list[int]) -> bool:
        self.statuses = [self._client.answers[each].status for each in streams]
        return all(self._client.answers[each].over for each in streams)


def rows(data: Path, query: str) -> list[tuple[int, ...]]:
    with closing(sqlite3.connect(f"file:{data / 'ledger.sqlite'}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()


def on_disk(data: Path) -> tuple[int, int, int]:
    """Bytes and number of files, and bytes of unfinished uploads."""
    sizes = [each.stat().st_size for each in (data / "files").rglob("*") if each.is_file()]
    return sum(sizes), len(sizes), sum(each.stat().st_size for each in (data / "partial").iterdir())


def check(data: Path) -> None:
    """What the ledger counts is what is there."""
    n_bytes, n_files, unfinished = on_disk(data)
    assert n_bytes + unfinished <= MAX_BYTES
    ((used, files, held),) = rows(data, "SELECT bytes, files, held_bytes FROM accounts WHERE name = '/t'") or [
        (0, 0, 0)
    ]
    assert (used, files, held) == (n_bytes, n_files, unfinished)
    assert rows(data, "SELECT id FROM holds WHERE holder != ''") == []


def kill(process: Process, n_workers: int, seed: int) -> bool:
    """All of it, or in every other round just one worker; whether all."""
    if n_workers > 1 and seed % 2:
        os.kill(workers_of(process)[0], signal.SIGKILL)
        return False
    for pid in workers_of(process) if n_workers > 1 else []:
        os.kill(pid, signal.SIGKILL)
    process.signal(signal.SIGKILL)
    process.wait()
    return True


@pytest.mark.timeout(60 * ROUNDS)
@pytest.mark.parametrize("n_workers", [1, 2])
def test_uploads_that_race_and_are_killed_never_exceed_the_quota_and_leave_nothing_held(
    tmp_path: Path, spawn: Spawn, connect: Connect, n_workers: int
) -> None:
    secret, digest = keys.make("u")
    auth = tmp_path / "auth.toml"
    right = 'rights = "storage.modify:/ storage.read:/"\ntenant = "t"\n'
    auth.write_text(f'[tenants.t]\nmax_bytes = {MAX_BYTES}\n[[keys]]\nid = "u"\nsha256 = "{digest}"\n{right}')
    flags = ("--auth", str(auth), "--workers", str(n_workers), "--upkeep-seconds", "0.2", "--no-direct-io")
    seen: set[int] = set()
    process = spawn(*flags)
    for seed in range(ROUNDS):
        senders = [Sender(process, secret, 10 * seed + n) for n in range(4)]
        n_answers = 5 + 10 * (seed % 3)
        eventually(lambda: sum(sum(map(bool, each.statuses)) for each in senders) >= n_answers, "some are answered")  # noqa: B023
        if kill(process, n_workers, seed):
            for each in senders:
                each.join()
            process = spawn(*flags)
        else:
            for each in senders:
                each.join()
            eventually(lambda: not rows(process.data, "SELECT id FROM holds WHERE holder != ''"), "all is let go")  # noqa: B023
            assert sum(on_disk(process.data)[::2]) <= MAX_BYTES
            process.signal(signal.SIGTERM)
            process.wait()
            process = spawn(*flags)
        for each in senders:
            seen |= set(each.statuses)
        check(process.data)
        print(f"round {seed}: {on_disk(process.data)}, {[status for each in senders for status in each.statuses]}")
    assert {201, 507} <= seen
    _empty_and_fill(process, connect(process), ("authorization", f"Bearer {secret}"))


def _empty_and_fill(process: Process, client: RawClient, field: tuple[str, str]) -> None:
    """All is given back, and then the whole quota can be used."""
    for each in (process.data / "partial").iterdir():
        client.answer(client.open("DELETE", f"/uploads/{each.name}", field, end=True))
    for each in (process.data / "files" / "t").rglob("*"):
        path = each.relative_to(process.data / "files")
        assert client.answer(client.open("DELETE", f"/files/{path}", field, end=True)).status == 204
    assert rows(process.data, "SELECT bytes, files, held_bytes, held_files FROM accounts") == [(0, 0, 0, 0)]
    assert client.put("/files/t/more", bytes(MAX_BYTES + 1), field).status == 507
    assert client.put("/files/t/all", bytes(MAX_BYTES), field).status == 201
    assert client.put("/files/t/one", b"x", field).status == 507
    check(process.data)
