"""A tree of large files over connections that are cut at random, to a gateway that is killed twice: the command ends by
itself, every file is right, and hardly a byte was sent twice."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.cutting import Relay
from tests.conftest import Process, Spawn

IS_LONG = bool(os.environ.get("H2GATE_LONG"))
TOTAL = (4 << 30) if IS_LONG else (192 << 20)
CUTS = 20
KILLS = 2
TWICE = 0.02 if IS_LONG else 0.25
"""What may be sent twice: each cut costs what was on its way, however large the tree is."""


def make_tree(folder: Path, dice: random.Random) -> dict[str, bytes]:
    """Files from 1 MiB to a quarter of all; relative path to SHA-256."""
    found, left = dict[str, bytes](), TOTAL
    folder.mkdir()
    while left:
        size = min(left, int((1 << 20) * (TOTAL / 4 / (1 << 20)) ** dice.random()))
        digest = hashlib.sha256()
        with (folder / f"{len(found):03}").open("wb") as file:
            for start in range(0, size, 1 << 24):
                data = dice.randbytes(min(1 << 24, size - start))
                digest.update(data)
                file.write(data)
        found[f"{len(found):03}"] = digest.digest()
        left -= size
    return found


async def _put(folder: Path, url: str, gateway: Process) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "h2gate", "put", "--ca", str(gateway.ca), "tree", url]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, cwd=folder, env=environment, stderr=pipe)


async def _break(relay: Relay, dice: random.Random, kill: Callable[[], None]) -> None:
    """Cuts and kills when so many bytes have come, at places that the dice choose."""
    what = [*["cut"] * CUTS, *["kill"] * KILLS]
    dice.shuffle(what)
    for point, each in zip(sorted(dice.randrange(TOTAL) for _ in what), what, strict=True):
        await relay.until(point)
        if each == "cut":
            relay.cut(dice)
        else:
            await asyncio.to_thread(kill)


@pytest.mark.timeout(1200)
def test_tree_arrives_whatever_is_cut_and_hardly_a_byte_is_sent_twice(spawn: Spawn, tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    dice = random.Random(seed)  # noqa: S311 - not a secret
    tree = make_tree(tmp_path / "tree", dice)
    gateways = [spawn(data=tmp_path / "data")]
    listen = gateways[0].urls[0].removeprefix("https://")

    def kill() -> None:
        gateways[-1].popen.kill()
        gateways[-1].wait()
        gateways.append(spawn(data=tmp_path / "data", listen=listen))

    async def run() -> tuple[int | None, str, Relay]:
        async with Relay(int(listen.rpartition(":")[2])) as relay:
            client = await _put(tmp_path, f"https://localhost:{relay.port}/files/", gateways[0])
            breaks = asyncio.create_task(_break(relay, dice, kill))
            _, said = await client.communicate()
            breaks.cancel()
            await asyncio.gather(breaks, return_exceptions=True)
        return client.returncode, said.decode(), relay

    status, said, relay = asyncio.run(run())
    twice = relay.up - TOTAL
    print(
        f"{relay.cuts} cuts, {len(gateways) - 1} kills, {len(tree)} files, {twice:,} bytes ({twice / TOTAL:.2%}) twice"
    )
    print(said[-1500:])
    assert status == 0
    assert {path.name: _digest(path) for path in (tmp_path / "data/files/tree").iterdir()} == tree
    assert not list((tmp_path / "data/partial").iterdir())
    assert (relay.cuts, len(gateways)) == (CUTS, KILLS + 1)
    assert twice <= TWICE * TOTAL


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
