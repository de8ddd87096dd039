"""Programs that send files, and what each costs: ours, curl, h2load, rclone, and tar on one disk.

Each sends a folder (of one file or of many) to any server that speaks its language. What arrived is compared, byte for
byte. A sender may be cut when its time is up: then what is whole by that time counts.
"""

from __future__ import annotations

import filecmp
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loadtest.clients import LIMIT_SECONDS, STREAMS, SendFailed, Wrap
from loadtest.peers import REPOSITORY, Peer
from loadtest.workloads import BytesLost, Folder

RCLONE_TRANSFERS = 16


@dataclass(frozen=True, slots=True)
class Sent:
    seconds: float
    cpu_seconds: float
    """The sender's own, and its children's."""
    peak_bytes: int
    """Highest resident memory; at least that of the process which measures, from which it was forked."""
    cut: bool = False
    """Its time was up before it had sent everything."""


@dataclass(frozen=True, slots=True)
class Sender:
    """`command(folder, name)` puts the files below `name`; `stored` is where they then are. A copy has no `peer`."""

    label: str
    peer: Peer | None
    command: Callable[[Folder, str], list[str]]
    stored: Callable[[Folder, str], Path]

    def send(self, folder: Folder, name: str, cut_seconds: float | None = None) -> Sent:
        """Raises `SendFailed`."""
        if self.peer is not None:
            for place in {file.parent.relative_to(folder.path) for file in folder.files()}:
                self.peer.make_folder(f"{name}/{place}")
        return _timed(self.command(folder, name), cut_seconds)

    def verify(self, folder: Folder, name: str) -> None:
        """Raises `BytesLost` unless every file is there, byte for byte."""
        right = self.whole(folder, name)[0]
        if right != folder.count:
            raise BytesLost(f"{self.label}: {right} of {folder.count} files arrived")

    def whole(self, folder: Folder, name: str) -> tuple[int, int]:
        """How many files, and how many bytes in them, are there as they were sent."""
        try:
            place = self.stored(folder, name)
        except LookupError:
            return 0, 0
        right = [
            file
            for file in folder.files()
            if (copy := place / file.relative_to(folder.path)).is_file() and filecmp.cmp(file, copy, shallow=False)
        ]
        return len(right), sum(file.stat().st_size for file in right)


def _below(peer: Peer) -> Callable[[Folder, str], Path]:
    return lambda _, name: peer.stored(name)


def ours(peer: Peer, wrap: Wrap = list, options: Sequence[str] = ()) -> Sender:
    """`h2gate put`, as shipped."""

    def command(folder: Folder, name: str) -> list[str]:
        words = [sys.executable, "-m", "h2gate", "put", "--quiet", "--ca", str(peer.certificates.ca), *options]
        return wrap([*words, str(folder.path), peer.url(f"{name}/")])

    label = " ".join(["h2gate put", *options])
    return Sender(label, peer, command, lambda folder, name: peer.stored(name) / folder.path.name)


def singles(peer: Peer, wrap: Wrap = list) -> Sender:
    """h2gate's client with a request for each file, over one HTTP/2 connection."""

    def command(folder: Folder, name: str) -> list[str]:
        words = [sys.executable, "-m", "loadtest.singles", "--ca", str(peer.certificates.ca)]
        return wrap([*words, str(folder.path), peer.url(f"{name}/")])

    label = "h2gate client, single PUTs"
    return Sender(label, peer, command, lambda folder, name: peer.stored(name) / folder.path.name)


def curl(peer: Peer, wrap: Wrap = list, http: str = "2", at_once: int = STREAMS) -> Sender:
    """curl, a request for each file: `at_once` streams of one HTTP/2 connection, or as many connections of HTTP/1.1."""

    def command(folder: Folder, name: str) -> list[str]:
        words = ["curl", "--silent", "--show-error", "--fail", f"--http{http}", "--noproxy", "*"]
        words += ["--cacert", str(peer.certificates.ca)]
        files = folder.files()
        if len(files) == 1:
            path = f"{name}/{files[0].relative_to(folder.path)}"
            return wrap([*words, "--output", "/dev/null", *peer.curl_upload(files[0], path, folder.size)])
        settings = peer.data.parent / "curl.txt"
        settings.write_text(
            "".join(
                f'upload-file = "{file}"\nurl = "{peer.url(f"{name}/{file.relative_to(folder.path)}")}"\n'
                'output = "/dev/null"\n'
                for file in files
            )
        )
        many = ["--parallel", "--parallel-max", str(at_once)] if at_once > 1 else []
        return wrap([*words, *many, "--config", str(settings)])

    shown = f"{at_once} streams" if http == "2" else f"{at_once} connection{'s' * (at_once > 1)}"
    return Sender(f"curl -Z, {shown}" if at_once > 1 else "curl", peer, command, _below(peer))


def curl_unknown(peer: Peer, wrap: Wrap = list, http: str = "2") -> Sender:
    """curl with one file from a pipe, so that nobody knows its length."""

    def command(folder: Folder, name: str) -> list[str]:
        (file,) = folder.files()
        url = peer.url(f"{name}/{file.relative_to(folder.path)}")
        options = f"--silent --show-error --fail --http{http} --noproxy '*' --output /dev/null"
        script = f"cat '{file}' | curl {options} --cacert '{peer.certificates.ca}' --upload-file - '{url}'"
        return wrap(["sh", "-c", script])

    return Sender("curl from a pipe", peer, command, _below(peer))


def h2load(peer: Peer, wrap: Wrap = list, at_once: int = STREAMS) -> Sender:
    """h2load with a folder of files that are all alike: one HTTP/2 connection, `at_once` streams."""

    def command(folder: Folder, name: str) -> list[str]:
        files, urls = folder.files(), peer.data.parent / "urls.txt"
        urls.write_text("".join(f"{peer.url(f'{name}/{file.relative_to(folder.path)}')}\n" for file in files))
        words = ["h2load", "--clients=1", f"--max-concurrent-streams={at_once}", f"--requests={folder.count}"]
        return wrap([*words, "--header=:method: PUT", f"--data={files[0]}", f"--input-file={urls}"])

    return Sender(f"h2load, {at_once} streams", peer, command, _below(peer))


def rclone(peer: Peer, wrap: Wrap = list) -> Sender:
    """`rclone copy` to `rclone serve webdav`."""

    def command(folder: Folder, name: str) -> list[str]:
        remote = f":webdav,url='https://{peer.host}:{peer.port}/files':{name}"
        words = ["rclone", "copy", "--config", "/dev/null", "--transfers", str(RCLONE_TRANSFERS), "--ca-cert"]
        return wrap([*words, str(peer.certificates.ca), str(folder.path), remote])

    return Sender(f"rclone copy, {RCLONE_TRANSFERS} transfers", peer, command, _below(peer))


def tar(place: Path) -> Sender:
    """`tar c | tar x` on the disk where the servers store; nothing is sent, nothing synced."""

    def command(folder: Folder, name: str) -> list[str]:
        (place / name).mkdir()
        return ["sh", "-c", f"tar c -C '{folder.path}' . | tar x -C '{place / name}'"]

    return Sender("tar c, tar x", None, command, lambda _, name: place / name)


def _timed(command: list[str], cut_seconds: float | None) -> Sent:
    """What the command and the children that it waited for have used. Raises `SendFailed`."""
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            start_new_session=True,
        )

        def give_up() -> None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        watchdog = threading.Timer(cut_seconds or LIMIT_SECONDS, give_up)
        watchdog.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            give_up()
            process.wait()
            raise
        finally:
            watchdog.cancel()
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        cut = cut_seconds is not None and process.returncode == -signal.SIGKILL and seconds >= cut_seconds
        if process.returncode and not cut:
            said.seek(0)
            complaint = said.read()[-500:].decode(errors="replace").strip()
            raise SendFailed(f"{' '.join(command[:4])} … ended with code {process.returncode}: {complaint}")
        if "h2load" in command:
            said.seek(0)
            _check_h2load(said.read().decode(errors="replace"), cut=cut)
    return Sent(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, cut)


def _check_h2load(said: str, *, cut: bool) -> None:
    """It ends with code 0 whatever it was answered."""
    if not cut and " 0 failed, 0 errored, 0 timeout" not in said:
        raise SendFailed(f"h2load: {' | '.join(said.strip().splitlines()[-9:])}")
