"""Bombs of content codings, thrown at a gateway that is a process of its own: each is refused within the limit, its
memory stays flat, and what others send beside it is stored."""

from __future__ import annotations

import gzip
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import brotli
import pytest

from h2gate.codec import tar
from tests.codec.coders import encoded, zstd
from tests.conftest import Process, Spawn, staged
from tests.front.test_bundles import archive_of
from tests.front.test_forms_large import peak_kib
from tests.server.raw import Answer, RawClient

MIB = 1 << 20
GROWTH_KIB = 40 << 10
"""What one bomb may cost at its peak: the window of a coding, batches on their way, and the allocator's slack."""


def zeros(mebibytes: int, wbits: int = 31) -> bytes:
    compressor = zlib.compressobj(9, wbits=wbits)
    return b"".join(compressor.compress(bytes(MIB)) for _ in range(mebibytes)) + compressor.flush()


def rle_frames(n_frames: int) -> bytes:
    """zstd frames with a window of 8 MiB, each of 64 blocks of 128 Ki times the same byte: 4 bytes a block."""
    head = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([13 << 3])
    blocks = [struct.pack("<I", 128 * 1024 << 3 | 1 << 1 | (number == 63))[:3] + b"x" for number in range(64)]
    return (head + b"".join(blocks)) * n_frames


def huge_window() -> bytes:
    compressor = zstd.ZstdCompressor(options={int(zstd.CompressionParameter.window_log): 27})
    return b"".join(compressor.compress(bytes(MIB)) for _ in range(256)) + compressor.flush()


def brotli_zeros(mebibytes: int) -> bytes:
    compressor = brotli.Compressor(quality=5, lgwin=24)
    return b"".join(compressor.process(bytes(MIB)) for _ in range(mebibytes)) + bytes(compressor.finish())


def empty_in_the_middle() -> bytes:
    """A quarter of a gigabyte of zstd frames that are to be skipped, and a byte; gzip makes little of it."""
    skippable = struct.pack("<II", 0x184D2A50, MIB) + bytes(MIB)
    return encoded(skippable * 256 + zstd.compress(b"x"), ["gzip"])


BOMBS: dict[str, tuple[str, Callable[[], bytes], int, str]] = {
    "gzip of zeros": ("gzip", lambda: zeros(256), 413, "expands_too_much"),
    "gzip of gzip": ("gzip, gzip", lambda: gzip.compress(zeros(256)), 413, "expands_too_much"),
    "three times gzip": (
        "gzip, gzip, gzip",
        lambda: gzip.compress(gzip.compress(zeros(256))),
        413,
        "expands_too_much",
    ),
    "zstd of zeros": ("zstd", lambda: zstd.compress(bytes(256 * MIB)), 413, "expands_too_much"),
    "zstd of repeated bytes": ("zstd", lambda: rle_frames(100), 413, "expands_too_much"),
    "zstd with a huge window": ("zstd", huge_window, 400, "bad_coding"),
    "br of zeros": ("br", lambda: brotli_zeros(256), 413, "expands_too_much"),
    "br in gzip": ("br, gzip", lambda: gzip.compress(brotli_zeros(256)), 413, "expands_too_much"),
    "nothing, by way of a lot": ("zstd, gzip", empty_in_the_middle, 413, "expands_too_much"),
    "empty gzip members, in gzip": ("gzip, gzip", lambda: gzip.compress(gzip.compress(b"") * 10**6), 400, "bad_coding"),
    "tiny gzip members": ("gzip", lambda: gzip.compress(b"") * 500_000, 400, "bad_coding"),
    "tiny zstd frames": ("zstd", lambda: zstd.compress(b"") * 500_000, 400, "bad_coding"),
}


@cache
def bomb(name: str) -> bytes:
    return BOMBS[name][1]()


@pytest.fixture
def process(spawn: Spawn) -> Process:
    """A gateway that has met each coding before, and a large file."""
    process = spawn()
    with RawClient(process.url, process.ca) as client:
        for name in ("gzip", "zstd", "br"):
            body = encoded(os.urandom(MIB) + bytes(range(256)) * (32 << 10), [name])
            assert client.put("/files/warm", body, ("content-encoding", name)).status in (201, 204)
        assert client.put("/files/warm", bytes(32 * MIB)).status == 204
        assert client.put("/files/file", b"old").status == 201
    return process


@contextmanager
def neighbour(process: Process) -> Iterator[RawClient]:
    """A connection with a plain upload that is slow, and must be well at the end."""
    with RawClient(process.url, process.ca) as client:
        stream = client.open("PUT", "/files/neighbour")
        client.data(stream, b"one")
        yield client
        client.data(stream, b"two", end=True)
        assert client.answer(stream).status in (201, 204)
        assert client.get("/files/neighbour").body == b"onetwo"


def send(client: RawClient, method: str, path: str, body: bytes, **fields: str) -> Answer:
    stream = client.open(method, path, *((name.replace("_", "-"), value) for name, value in fields.items()))
    client.push(stream, body)
    return client.answer(stream)


@pytest.mark.parametrize("how", ["put", "patch", "resumable"])
def test_bombs_are_refused_in_flat_memory_and_nothing_of_them_is_kept(process: Process, how: str) -> None:
    first = peak_kib(process.popen.pid)
    with neighbour(process) as client:
        for name, (codings, _, status, code) in BOMBS.items():
            body, before = bomb(name), peak_kib(process.popen.pid)
            more = {"upload_complete": "?1"} if how == "resumable" else {}
            method = "PATCH" if how == "patch" else "PUT"
            refused = send(client, method, "/files/file", body, content_encoding=codings, **more)
            assert (refused.status, json.loads(refused.body)["code"]) == (status, code), name
            grown = peak_kib(process.popen.pid) - before
            print(f"{how}: {name}: {len(body):,} bytes, peak {before:,} + {grown:,} KiB")
            assert grown < GROWTH_KIB, name
        assert client.get("/files/file").body == b"old"
    assert peak_kib(process.popen.pid) - first < GROWTH_KIB
    assert [*staged(process.data), *(process.data / "partial").iterdir()] == []


def test_bundles_that_are_bombs_or_hold_one_are_refused_in_flat_memory(process: Process) -> None:
    before = peak_kib(process.popen.pid)
    compressor = zlib.compressobj(9, wbits=31)
    pieces = [archive_of(("small", b"1"), end=b""), tar.header("large", 256 * MIB, 0), *[bytes(MIB)] * 256]
    member = b"".join(map(compressor.compress, pieces)) + compressor.flush()
    padding = gzip.compress(archive_of(("b", b"1"))) + zeros(256)  # behind the end of the archive
    with neighbour(process) as client:
        for body in (member, padding):
            answer = send(client, "PUT", "/files/in/", body, content_encoding="gzip", content_type="application/x-tar")
            *found, summary = [json.loads(line) for line in answer.body.splitlines()]
            assert (found[0]["status"], found[-1]["code"], summary["stored"]) == (201, "expands_too_much", 1)
    assert sorted(path.name for path in (process.data / "files/in").iterdir()) == ["b", "small"]
    assert staged(process.data) == []
    assert peak_kib(process.popen.pid) - before < GROWTH_KIB


def test_crowd_of_large_windows_holds_no_more_than_the_budget(spawn: Spawn) -> None:
    process = spawn("--memory-budget", "128M")
    body = rle_frames(1)
    with RawClient(process.url, process.ca) as client:
        assert client.put("/files/a", body, ("content-encoding", "zstd")).status == 201
        before = peak_kib(process.popen.pid)
        streams = [client.open("PUT", f"/files/{number}", ("content-encoding", "zstd")) for number in range(64)]
        for stream in streams:
            client.data(stream, body[:-1])
        client.quiet()
        for stream in streams:
            client.data(stream, body[-1:], end=True)
        assert {client.answer(stream).status for stream in streams} == {201}
    assert {path.stat().st_size for path in (process.data / "files").iterdir()} == {8 * MIB}
    grown = peak_kib(process.popen.pid) - before
    print(f"64 at once: {grown:,} KiB")
    assert grown < (32 << 10) + GROWTH_KIB
