"""Hours in minutes: mixed load with cuts, resets and killed clients, and pauses in which nothing may be left of it.

In a pause nobody sends; what the gateway then holds (memory, descriptors, tasks, files on their way) is compared with
the pause at minute two. What every honest client stored is read back and compared before it is deleted.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import httpx

from h2gate.client import Client, Transport
from h2gate.client.transport import tls_context
from h2gate.errors import GateError
from loadtest import processes
from loadtest.peers import LOOPBACK, Peer
from loadtest.workloads import BytesLost

AT_ONCE = 4
LOAD_SECONDS = 50.0
_QUIET_SECONDS = 60.0
_LOOKS = 5
_SMALL_FILES = 200
_LIMIT_SECONDS = 60.0
_NOBODY = re.compile(rb"^h2gate_(streams|connections) [01]\.0$", re.MULTILINE)
"""The one connection is the one that asks."""


def _chance(seed: object) -> Random:
    return Random(str(seed))  # noqa: S311 - what is done when is no secret


@dataclass(frozen=True, slots=True)
class Held:
    """What a gateway holds while nobody wants anything of it."""

    minute: float
    memory_bytes: int
    descriptors: int
    tasks: int
    staged: int
    """Files in `staging/`; what lies in `partial/` may be gone on with."""


class Soak:
    """Load on one gateway, from `AT_ONCE` threads. `counts` says what was done and what came of it."""

    def __init__(self, peer: Peer, folder: Path, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._peer = peer
        self._origin = f"https://{LOOPBACK}:{peer.port}/"
        self._verify = tls_context(ca_files=(str(peer.certificates.ca),))
        self._folder = folder
        self._seed = seed
        self._round = 0
        self._lock = threading.Lock()
        self._large = folder / "large"
        self._large.write_bytes(_chance(seed).randbytes(24 << 20))
        self._tree = folder / "tree"
        self._tree.mkdir()
        for number in range(_SMALL_FILES):
            (self._tree / f"{number}").write_bytes(_chance(number).randbytes(1 + number * 97 % 20_000))
        self._actions: tuple[Callable[[Random, str], None], ...] = (
            self._put_and_get,
            self._put_tree,
            self._curl,
            self._kill_curl,
            self._kill_put,
            self._reset_many,
            self._cut,
            self._ask,
        )

    def load(self, seconds: float) -> None:
        """Raises `BytesLost`, and whatever else no client should see."""
        self._round += 1
        end_at = time.monotonic() + seconds
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [pool.submit(self._work, number, end_at) for number in range(AT_ONCE)]:
                done.result()

    def _work(self, number: int, end_at: float) -> None:
        chance = _chance(f"{self._seed} {self._round} {number}")
        done = 0
        while time.monotonic() < end_at:
            action = chance.choice(self._actions)
            action(chance, f"r{self._round}-w{number}-{done}")
            with self._lock:
                self.counts[action.__name__.strip("_")] += 1
            done += 1

    def held(self, began: float) -> Held:
        """Once nobody is served any more, the least of some looks: upkeep and the ledger open a file now and then."""
        looks = [self._look(began) for _ in range(_LOOKS)]
        return Held(
            looks[-1].minute,
            *(
                min(getattr(each, name) for each in looks)
                for name in ("memory_bytes", "descriptors", "tasks", "staged")
            ),
        )

    def _look(self, began: float) -> Held:
        """Raises `BytesLost` when the gateway does not become quiet."""
        with httpx.Client(verify=self._verify, trust_env=False, timeout=30) as client:
            text = b""

            def is_quiet() -> bool:
                nonlocal text
                text = client.get(self._origin + "metrics").content
                return len(_NOBODY.findall(text)) == 2

            try:
                processes.wait_until(is_quiet, "the gateway is quiet", seconds=_QUIET_SECONDS, every=0.2)
            except TimeoutError as error:
                raise BytesLost(f"{error}: {text.decode()}") from None
        values = dict(line.rsplit(b" ", 1) for line in text.splitlines() if not line.startswith(b"#"))
        return Held(
            round((time.monotonic() - began) / 60, 1),
            int(float(values[b"process_resident_memory_bytes"])),
            int(float(values[b"process_open_fds"])),
            int(float(values[b"h2gate_tasks"])),
            sum(path.is_file() for path in (self._peer.data.parent / "staging").rglob("*")),
        )

    # What clients do

    def _put_and_get(self, chance: Random, name: str) -> None:
        async def run() -> None:
            body = self._large.read_bytes()[: chance.randrange(1, 24 << 20)]
            async with httpx.AsyncClient(transport=Transport(verify=self._verify), timeout=60) as client:
                url = f"{self._origin}files/soak/{name}"
                (await client.put(url, content=body)).raise_for_status()
                found = (await client.get(url)).content
                if hashlib.sha256(found).digest() != hashlib.sha256(body).digest():
                    raise BytesLost(f"{name}: what was stored is not what was sent")
                (await client.delete(url)).raise_for_status()

        asyncio.run(run())

    def _put_tree(self, _: Random, name: str) -> None:
        async def run() -> None:
            async with Client(self._origin, ca=[self._peer.certificates.ca]) as gate:
                outcomes = await gate.put([self._tree], f"files/soak/{name}/")
                if failed := [each.error for each in outcomes if each.error is not None]:
                    raise BytesLost(f"{name}: {failed[0]}")
                await gate.rm([f"files/soak/{name}/"], recursive=True)

        asyncio.run(run())

    def _command(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=os.environ | {"XDG_STATE_HOME": str(self._folder)},
        )  # fmt: skip

    def _curl_put(self, chance: Random, name: str) -> subprocess.Popen[bytes]:
        http = chance.choice(("--http2", "--http1.1"))
        return self._command(
            "curl", "--silent", "--fail", http, "--noproxy", "*", "--cacert", str(self._peer.certificates.ca),
            "--upload-file", str(self._large), f"{self._origin}files/soak/{name}",
        )  # fmt: skip

    def _curl(self, chance: Random, name: str) -> None:
        with self._curl_put(chance, name) as curl:
            if curl.wait(_LIMIT_SECONDS):
                raise BytesLost(f"{name}: curl ended with {curl.returncode}")
        self._remove(name)

    def _remove(self, name: str) -> None:
        with httpx.Client(verify=self._verify, trust_env=False, timeout=60) as client:
            client.delete(f"{self._origin}files/soak/{name}").raise_for_status()

    def _kill_curl(self, chance: Random, _: str) -> None:
        with self._curl_put(chance, f"killed-{chance.randrange(4)}") as curl:
            with suppress(subprocess.TimeoutExpired):
                curl.wait(chance.uniform(0.01, 0.3))
            curl.kill()

    def _kill_put(self, chance: Random, _: str) -> None:
        put = [sys.executable, "-m", "h2gate", "put", "--quiet", "--ca", str(self._peer.certificates.ca)]
        with self._command(*put, str(self._tree), str(self._large), f"{self._origin}files/soak/killed/") as sender:
            with suppress(subprocess.TimeoutExpired):
                sender.wait(chance.uniform(0.3, 1.5))
            sender.kill()

    def _reset_many(self, chance: Random, name: str) -> None:
        async def drip() -> AsyncIterator[bytes]:
            for _ in range(1000):
                yield bytes(chance.randrange(1, 50_000))
                await asyncio.sleep(0.01)

        async def run() -> None:
            async with httpx.AsyncClient(transport=Transport(verify=self._verify), timeout=60) as client:
                puts = [
                    asyncio.create_task(client.put(f"{self._origin}files/soak/{name}-{number}", content=drip()))
                    for number in range(20)
                ]
                await asyncio.wait(puts, timeout=chance.uniform(0.05, 0.5))
                for put in puts:
                    put.cancel()
                await asyncio.wait(puts)

        asyncio.run(run())

    def _cut(self, chance: Random, _: str) -> None:
        async def run() -> None:
            async with Client(self._origin, ca=[self._peer.certificates.ca], retries=0) as gate:
                puts = [asyncio.create_task(gate.put([self._large], f"files/soak/cut-{n}")) for n in range(4)]
                await asyncio.wait(puts, timeout=chance.uniform(0.02, 0.2))
                await gate.transport.aclose()
                with suppress(GateError, httpx.HTTPError):
                    await asyncio.gather(*puts, return_exceptions=True)

        asyncio.run(run())

    def _ask(self, chance: Random, _: str) -> None:
        with httpx.Client(verify=self._verify, trust_env=False, timeout=60, http2=chance.random() < 0.5) as client:
            for path in ("healthz", "files/", "files/soak/", "uploads/", "files/nothing", "metrics"):
                if client.get(self._origin + path).status_code >= 500:
                    raise BytesLost(f"/{path} is answered by an error")


def differences(first: Held, last: Held, allowed: float) -> list[str]:
    """What is more than `allowed` (a fraction) away from what it was."""
    before, after = asdict(first), asdict(last)
    return [
        f"{name}: {before[name]} then, {after[name]} now"
        for name in before
        if name != "minute" and abs(after[name] - before[name]) > allowed * before[name]
    ]
