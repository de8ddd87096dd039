"""The senders, neither of them ours: curl for large files, h2load for many small ones. Each call is bounded in time."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.peers import Peer

LIMIT_SECONDS = 300.0
"""No single transfer may take longer."""
STREAMS = 100

Wrap = Callable[[Sequence[str]], list[str]]
"""Makes a command line run somewhere else, e.g. `Link.far`."""


class SendFailed(RuntimeError):
    """The sender did not get the answer it should have; the message says what it got instead."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How long it took, from starting to connect to the last answer."""

    seconds: float


def curl_put(peer: Peer, source: Path, name: str, http: str, wrap: Wrap = list) -> Sent:
    """PUT one file on a connection of its own over HTTP `http` ("2" or "1.1"). Raises `SendFailed`."""
    said = _run(
        wrap(
            [
                *("curl", "--silent", "--show-error", f"--http{http}", "--noproxy", "*"),
                *("--cacert", str(peer.certificates.ca), "--max-time", str(LIMIT_SECONDS)),
                *("--write-out", "%{http_code} %{http_version} %{size_upload} %{time_total}"),
                *("--output", "/dev/null", *peer.curl_upload(source, name, source.stat().st_size)),
            ]
        )
    )
    code, version, size, seconds = said.split()
    if (code, version, int(size)) != ("201", http, source.stat().st_size):
        raise SendFailed(f"{peer.name}: curl got {code} over HTTP/{version} for {size} bytes")
    return Sent(float(seconds))


def h2load_put(peer: Peer, body: Path, urls: Path, count: int) -> Sent:
    """PUT the body once to each of `count` URLs: one HTTP/2 connection, 100 streams at once. Raises `SendFailed`."""
    said = _run(
        [
            *("h2load", "--clients=1", f"--max-concurrent-streams={STREAMS}", f"--requests={count}"),
            *("--header=:method: PUT", f"--data={body}", f"--input-file={urls}"),
            *([f"--header=authorization: {peer.authorization}"] if peer.authorization else ()),
        ]
    )
    statuses = re.search(r"status codes: (\d+) 2xx", said)
    finished = re.search(r"finished in ([\d.]+)(us|ms|s),", said)
    if statuses is None or finished is None or int(statuses[1]) != count:
        raise SendFailed(f"{peer.name}: h2load did not get {count} good answers: {' | '.join(said.splitlines()[-9:])}")
    return Sent(float(finished[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[finished[2]])


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_SECONDS + 10, check=False
        )
    except FileNotFoundError:
        raise SendFailed(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise SendFailed(f"{command[0]} had not ended after {LIMIT_SECONDS + 10:g} s") from None
    if done.returncode:
        raise SendFailed(
            f"{command[0]} ended with code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
        )
    return done.stdout
