"""Programs that send a folder of files, and what each costs: ours, curl, rclone, and tar on one disk.

Each sends to the gateway, as shipped, but rclone, which sends to a WebDAV server of its own kind, and tar, which only
copies. What arrived is compared, file by file.
"""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.clients import LIMIT_SECONDS, STREAMS, SendFailed, Wrap
from loadtest.peers import REPOSITORY, Peer
from loadtest.workloads import BytesLost

RCLONE_TRANSFERS = 16


@dataclass(frozen=True, slots=True)
class Folder:
    """What is sent: `count` files below `path`, `size` bytes in all."""

    path: Path
    count: int
    size: int


def make_folder(path: Path, count: int, size: int) -> Folder:
    """`count` files of `size` random bytes, at most 500 in a folder."""
    for number in range(count):
        file = path / f"{number // 500:03}" / f"{number:06}"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as written:
            for start in range(0, size, 1 << 20):
                written.write(os.urandom(min(1 << 20, size - start)))
    return Folder(path, count, count * size)


@dataclass(frozen=True, slots=True)
class Sent:
    seconds: float
    cpu_seconds: float
    """The sender's own, and its children's."""
    peak_bytes: int
    """Highest resident memory; at least that of the process which measures, from which it was forked."""


@dataclass(frozen=True, slots=True)
class Sender:
    """`send(folder, name)` puts the files below `name`; `stored` is where they are then. `peer` is None for a copy."""

    label: str
    peer: Peer | None
    send: Callable[[Folder, str], Sent]
    stored: Callable[[str], Path]

    def verify(self, folder: Folder, name: str) -> None:
        """Raises `BytesLost` unless every file is there, byte for byte."""
        place, right = self.stored(name), 0
        for file in folder.path.rglob("*"):
            if file.is_file():
                copy = place / file.relative_to(folder.path)
                right += copy.is_file() and filecmp.cmp(file, copy, shallow=False)
        if right != folder.count:
            raise BytesLost(f"{self.label}: {right} of {folder.count} files arrived")


def ours(peer: Peer, wrap: Wrap = list, options: Sequence[str] = ()) -> Sender:
    """`h2gate put`, as shipped."""

    def send(folder: Folder, name: str) -> Sent:
        command = [sys.executable, "-m", "h2gate", "put", "--quiet", "--ca", str(peer.certificates.ca), *options]
        return _timed(wrap([*command, str(folder.path), peer.url(f"{name}/")]))

    label = " ".join(["h2gate put", *options])
    return Sender(label, peer, send, lambda name: peer.stored(name) / "source")


def curl(peer: Peer, wrap: Wrap = list) -> Sender:
    """`curl -Z` over one HTTP/2 connection, a request for each file; one file alone without -Z."""

    def send(folder: Folder, name: str) -> Sent:
        files = sorted(file for file in folder.path.rglob("*") if file.is_file())
        settings = peer.data.parent / "curl.txt"
        lines = [
            f'upload-file = "{file}"\nurl = "{peer.url(f"{name}/{file.relative_to(folder.path)}")}"\n' for file in files
        ]
        settings.write_text("".join(lines))
        many = ["--parallel", "--parallel-max", str(STREAMS)] if folder.count > 1 else []
        command = ["curl", "--silent", "--show-error", "--fail", "--http2", "--noproxy", "*", *many]
        return _timed(wrap([*command, "--cacert", str(peer.certificates.ca), "--config", str(settings)]))

    return Sender(f"curl -Z, {STREAMS} streams", peer, send, peer.stored)


def rclone(peer: Peer, wrap: Wrap = list) -> Sender:
    """`rclone copy` to `rclone serve webdav`."""

    def send(folder: Folder, name: str) -> Sent:
        remote = f":webdav,url='https://{peer.host}:{peer.port}/files':{name}"
        command = ["rclone", "copy", "--config", "/dev/null", "--transfers", str(RCLONE_TRANSFERS), "--ca-cert"]
        return _timed(wrap([*command, str(peer.certificates.ca), str(folder.path), remote]))

    return Sender(f"rclone copy, {RCLONE_TRANSFERS} transfers", peer, send, peer.stored)


def tar(place: Path) -> Sender:
    """`tar c | tar x` on the disk where the servers store; nothing is sent, nothing synced."""

    def send(folder: Folder, name: str) -> Sent:
        (place / name).mkdir()
        return _timed(["sh", "-c", f"tar c -C '{folder.path}' . | tar x -C '{place / name}'"])

    return Sender("tar c, tar x", None, send, lambda name: place / name)


def _timed(command: list[str]) -> Sent:
    """What the command and the children that it waited for have used. Raises `SendFailed`."""
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        watchdog = threading.Timer(LIMIT_SECONDS, process.kill)
        watchdog.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            watchdog.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            complaint = said.read()[-500:].decode(errors="replace").strip()
            raise SendFailed(f"{' '.join(command[:4])} … ended with code {process.returncode}: {complaint}")
    return Sent(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
