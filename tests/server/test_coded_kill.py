"""kill -9 while a coded upload is decoded at its end: the next start has the file whole, and nothing of the rest."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.codec.coders import encoded
from tests.conftest import Process, Spawn, staged
from tests.server.raw import RawClient, eventually

MIB = 1 << 20
BODY = os.urandom(4 * MIB) + bytes(96 * MIB)
CODED = encoded(BODY, ["zstd", "gzip"])
SHA256 = hashlib.sha256(BODY).digest()


def decoded_bytes(process: Process) -> int:
    """How far the decoding is."""
    with suppress(FileNotFoundError):  # renamed since it was listed
        return max((each.stat().st_size for each in _partial(process) if each.suffix), default=0)
    return 0


def _partial(process: Process) -> list[Path]:
    return list((process.data / "partial").iterdir())


def is_shown(process: Process) -> bool:
    return (process.data / "files/a").exists()


POINTS: dict[str, Callable[[Process], bool]] = {
    "before its end": lambda process: any(each.stat().st_size >= MIB for each in _partial(process)),
    "decoding begins": lambda process: any(each.suffix for each in _partial(process)),
    "some is decoded": lambda process: decoded_bytes(process) >= 10 * MIB,
    "most is decoded": lambda process: decoded_bytes(process) >= 90 * MIB,
    "all is decoded": lambda process: decoded_bytes(process) >= len(BODY),
    "it is shown": is_shown,
}
"""Each lasts for some milliseconds: who looks too late finds the next, and at last the file."""


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_its_end_a_coded_upload_is_a_whole_file_after_the_next_start_or_goes_on(
    spawn: Spawn, point: str
) -> None:
    process = spawn("--progress-seconds", "0")
    client = RawClient(process.url, process.ca)
    fields = {"content-encoding": "zstd, gzip", "upload-complete": "?1", "upload-draft-interop-version": "8"}
    stream = client.open("PUT", "/files/a", ("content-length", str(len(CODED))), *fields.items())
    client.until(lambda: bool(client.answers[stream].informational))
    url = client.answers[stream].informational[0]["location"]
    half = 2 * MIB
    client.push(stream, CODED[:half], end=False)
    if point != "before its end":
        client.push(stream, CODED[half:])
    try:
        eventually(lambda: POINTS[point](process) or is_shown(process), point)
    finally:
        process.signal(signal.SIGKILL)
        process.wait()
        client.sock.close()
    process = spawn()
    with RawClient(process.url, process.ca) as client:
        head = client.answer(client.open("HEAD", url, end=True)).headers
        if head["upload-complete"] == "?0":
            assert not (process.data / "files/a").exists()
            offset = int(head["upload-offset"])
            end = {"content-type": "application/partial-upload", "upload-offset": str(offset), "upload-complete": "?1"}
            stream = client.open("PATCH", url, *end.items())
            client.push(stream, CODED[offset:])
            assert client.answer(stream).status == 201
        found = client.get("/files/a")
        assert hashlib.sha256(found.body).digest() == SHA256
        assert "content-encoding" not in found.headers
        state = json.loads(client.get(url).body)
    assert (state["state"], state["offset"], state["length"]) == ("complete", len(CODED), len(CODED))
    assert _partial(process) == []
    assert staged(process.data) == []
