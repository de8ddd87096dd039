"""Who gets how much when many send at once: one upload of one address against many of another, and how long a small
request takes beside large uploads. curl sends; the bodies have no end within the time, so what is compared is bytes.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from loadtest.clients import SendFailed
from loadtest.peers import Peer

FIRST, SECOND = "127.0.0.1", "127.0.0.2"
_BODY_BYTES = 16 << 30
"""Sparse: nobody sends all of it, and a disk has to have room for one."""
_TIMED_OUT, _RESET = 28, 92
"""curl's exit codes. When its time is over it ends the body, which is shorter than announced then: that is reset, and
sometimes curl hears of it before it ends."""


def endless(path: Path) -> Path:
    """A file of zeros that no transfer ends."""
    with path.open("wb") as file:
        file.truncate(_BODY_BYTES)
    return path


class Crowd:
    """`n_uploads` from `address` to `peer` for `seconds`, by one curl: on one connection, or on one each."""

    def __init__(
        self,
        peer: Peer,
        source: Path,
        address: str,
        n_uploads: int,
        seconds: float,
        *,
        connections: bool = False,
        fields: Sequence[str] = (),
    ) -> None:
        name = address.replace(".", "-")
        command = ["curl", "--silent", "--http2", "--noproxy", "*", "--cacert", str(peer.certificates.ca)]
        command += ["--interface", address, "--parallel", "--parallel-max", str(n_uploads)]
        command += ["--parallel-immediate"] * connections
        for number in range(n_uploads):
            command += ["--next"] * (number > 0)
            command += ["--http2", "--cacert", str(peer.certificates.ca), "--interface", address]
            command += [
                "--max-time",
                str(seconds),
                "--output",
                "/dev/null",
                "--write-out",
                "%{size_upload} %{time_total}\\n",
            ]
            command += [each for field in fields for each in ("--header", field)]
            command += ["--upload-file", str(source), peer.url(f"{name}-{number}")]
        self._seconds = seconds
        self._limit = seconds + 30
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def sent_bytes(self) -> int:
        """Once the time is over: what all of them have sent. Raises `SendFailed`."""
        try:
            said, _ = self._process.communicate(timeout=self._limit)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise SendFailed("curl did not end in time") from None
        if self._process.returncode not in (0, _TIMED_OUT, _RESET):
            raise SendFailed(f"curl ended with code {self._process.returncode}")
        uploads = [line.split() for line in said.splitlines()]
        if any(float(took) < 0.9 * self._seconds for _, took in uploads):
            raise SendFailed("an upload ended before its time")
        return sum(int(size) for size, _ in uploads)


@dataclass(frozen=True, slots=True)
class Waits:
    """Of requests one after the other, in seconds."""

    count: int
    median: float
    p99: float
    most: float


def health_waits(peer: Peer, seconds: float, *, pause_seconds: float = 0.02) -> Waits:
    """GET /healthz on a connection of its own, again and again for `seconds`."""
    found: list[float] = []
    context = peer.certificates.ca
    end_at = time.monotonic() + seconds
    with httpx.Client(http2=True, verify=str(context), trust_env=False, timeout=30) as client:
        url = peer.url("").rsplit("/files", 1)[0] + "/healthz"
        client.get(url)
        while time.monotonic() < end_at:
            began = time.perf_counter()
            answer = client.get(url)
            found.append(time.perf_counter() - began)
            if answer.status_code != 200:
                raise SendFailed(f"/healthz answered {answer.status_code}")
            time.sleep(pause_seconds)
    cuts = statistics.quantiles(found, n=100)
    return Waits(len(found), statistics.median(found), cuts[98], max(found))
