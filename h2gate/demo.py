"""`h2gate demo`: a real gateway in a process of its own, 1,033 real files sent over one connection and read back.

Every byte is compared by SHA-256. Whatever happens, the gateway is stopped and everything that was made is removed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from h2gate.client.commands import on_loop
from h2gate.client.display import Display, display
from h2gate.client.names import below
from h2gate.client.session import Client
from h2gate.errors import GateError

TREE = (("large", 1, 256 << 20), ("middle", 32, 8 << 20), ("small", 1000, 4096))
"""Folder, files in it, bytes of each."""

READY_SECONDS = 30.0
STOP_SECONDS = 15.0
GET_SECONDS = 60.0


@dataclass(slots=True)
class Figures:
    """What the table says of one direction."""

    files: int = 0
    n_bytes: int = 0
    seconds: float = 0.0
    streams: int = 0
    connections: int = 0


def run(scale: float) -> int:
    """The exit code: 0 when every file came back as it was sent. `scale` multiplies the sizes of the large files."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="h2gate-demo-", ignore_cleanup_errors=True) as folder:
        return on_loop(_demonstrate(Path(folder), scale, console))


async def _demonstrate(folder: Path, scale: float, console: Console) -> int:
    with console.status("making files"):
        sent = await asyncio.to_thread(_make_tree, folder / "tree", scale)
    console.print(f"made {len(sent):,} files of random bytes", highlight=False)
    async with _gateway(folder) as (url, process):
        console.print(f"gateway at {url}, process {process.pid}", highlight=False)
        async with Client(url, ca=[folder / "certs" / "ca.pem"], listener=(shown := _display())) as gate:
            with shown:
                put = await _send(gate, shown, folder / "tree")
            with console.status("reading everything back") as status:
                received, got = await _read_back(gate, sorted(sent), status.update)
        peak = _peak_memory(process.pid)
    wrong = sorted(name for name in sent if received.get(name) != sent[name])
    Console().print(_table(put, got, peak))
    for name in wrong[:10]:
        console.print(f"[red]different[/red] {name}", highlight=False)
    for error in shown.errors[:10]:
        console.print(f"[red]failed[/red] {error}", highlight=False)
    good = not wrong and not shown.errors
    console.print(f"{len(sent) - len(wrong):,} of {len(sent):,} files came back with the SHA-256 they were sent with")
    return 0 if good else 1


def _display() -> Display:
    return display("put", as_json=False, quiet=False)


def _make_tree(root: Path, scale: float) -> dict[str, bytes]:
    """Random files; path below `root` to SHA-256."""
    digests = {}
    for folder, count, size in TREE:
        (root / folder).mkdir(parents=True)
        for number in range(count):
            digests[f"{folder}/{number:04}.bin"] = _make_file(root / folder / f"{number:04}.bin", size, scale)
    return digests


def _make_file(path: Path, size: int, scale: float) -> bytes:
    left, digest = size if size <= 4096 else int(size * scale), hashlib.sha256()
    with path.open("wb") as file:
        while left:
            piece = os.urandom(min(left, 1 << 20))
            digest.update(piece)
            file.write(piece)
            left -= len(piece)
    return digest.digest()


@asynccontextmanager
async def _gateway(folder: Path) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """`h2gate serve` on a free port; its URL. A session of its own: Ctrl-C is for us, who stop it."""
    options = ("--listen", "127.0.0.1:0", "--data", str(folder / "data"), "--certs", str(folder / "certs"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "h2gate", "serve", *options),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    said: list[str] = []
    listening: asyncio.Task[Any] = asyncio.create_task(_ready(process, said))
    try:
        try:
            async with asyncio.timeout(READY_SECONDS):
                url: str = await listening
        except TimeoutError:
            raise GateError(f"the gateway was not ready within {READY_SECONDS:g} s; {_last(said)}") from None
        listening = asyncio.create_task(_drain(process, said))
        yield url, process
    finally:
        await asyncio.shield(_stop(process))
        listening.cancel()


async def _ready(process: asyncio.subprocess.Process, said: list[str]) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        said.append(line.decode(errors="replace").rstrip())
        if match := re.search(r"h2gate ready on (\S+)", said[-1]):
            return match[1]
    raise GateError(f"the gateway ended before it was ready; {_last(said)}")


async def _drain(process: asyncio.subprocess.Process, said: list[str]) -> None:
    """A full pipe would stop the gateway."""
    assert process.stderr is not None
    async for line in process.stderr:
        said[:] = [*said[-20:], line.decode(errors="replace").rstrip()]


def _last(said: list[str]) -> str:
    return "it said: " + " | ".join(said[-5:]) if said else "it said nothing"


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _send(gate: Client, shown: Display, tree: Path) -> Figures:
    shown.at_work = gate.at_work
    start = time.monotonic()
    await gate.put([tree], gate.url)
    seconds = time.monotonic() - start
    done = len(shown.outcomes) - len(shown.errors)
    return Figures(done, shown.n_bytes, seconds, gate.transport.most_streams, gate.transport.connections_made)


async def _read_back(gate: Client, wanted: list[str], say: Callable[[str], None]) -> tuple[dict[str, bytes], Figures]:
    """SHA-256 of what GET gives for each path, 32 at a time, with nothing but httpx on the gateway's transport."""
    received: dict[str, bytes] = {}
    figures, places, active = Figures(), asyncio.Semaphore(32), 0
    start = time.monotonic()
    client = httpx.AsyncClient(transport=gate.transport, timeout=GET_SECONDS, trust_env=False)

    async def fetch(name: str) -> None:
        nonlocal active
        active += 1
        figures.streams = max(figures.streams, active)
        digest = hashlib.sha256()
        with suppress(httpx.HTTPError):  # what did not come is not what was sent: it will be named
            async with client.stream("GET", below(gate.url, "tree", *name.split("/"))) as response:
                async for piece in response.aiter_raw():
                    digest.update(piece)
                    figures.n_bytes += len(piece)
            if response.status_code == 200:
                received[name] = digest.digest()
                figures.files += 1
        say(f"reading everything back: {len(received):,} of {len(wanted):,}")
        active -= 1
        places.release()

    async with asyncio.TaskGroup() as group:
        for name in wanted:
            await places.acquire()
            group.create_task(fetch(name))
    figures.seconds = time.monotonic() - start
    figures.connections = gate.transport.connections_made
    return received, figures


def _peak_memory(pid: int) -> int:
    """VmHWM of a process in bytes; 0 where there is no /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(match[1]) << 10 if match else 0


def _table(put: Figures, got: Figures, peak: int) -> Table:
    table = Table(title="h2gate demo", title_justify="left")
    for column in ("", "files", "MB", "seconds", "MB/s", "streams at once", "connections"):
        table.add_column(column, justify="right" if column else "left")
    for name, each in (("sent with PUT", put), ("read with GET", got)):
        rate = each.n_bytes / 1e6 / max(each.seconds, 1e-6)
        numbers = (f"{each.files:,}", f"{each.n_bytes / 1e6:,.1f}", f"{each.seconds:.2f}", f"{rate:,.0f}")
        table.add_row(name, *numbers, str(each.streams), str(each.connections))
    table.caption = f"the gateway's memory at its highest: {peak / 1e6:,.0f} MB" if peak else None
    return table
