"""A disk that is full, for real: a small file system under the gateway. Nothing half is shown; freed space is used."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from h2gate.client import Transport
from h2gate.config import Settings
from h2gate.front.app import create_app
from h2gate.gateway import open_storage
from h2gate.server.certificates import Certificates
from tests.conftest import Served, _Thread

MIB = 1 << 20
ROOM = 24 * MIB


@pytest.fixture(params=["tmpfs", "ext4"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The folder of a small file system: tmpfs (which may have no O_DIRECT), or ext4 on a file."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    if request.param == "tmpfs":
        mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    else:
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("there is no mkfs.ext4")
        image = tmp_path / "image"
        image.touch()
        os.truncate(image, ROOM)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(image)], check=True)
        mount = ["mount", "-o", "loop", str(image), str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def served(small: Path, certificates: Certificates) -> Iterator[Served]:
    """A gateway on it, stopped before the file system goes."""
    settings = Settings(data=small / "data", grace_seconds=5.0)
    with _Thread(settings, certificates, open_storage, create_app) as running:
        yield running


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def slowly(body: bytes, go: asyncio.Event) -> AsyncIterator[bytes]:
    """The first half, and the other after a word."""
    yield body[: len(body) // 2]
    await go.wait()
    yield body[len(body) // 2 :]


async def endless() -> AsyncIterator[bytes]:
    for _ in range(4 * ROOM // MIB):
        yield bytes(MIB)


def test_upload_that_fills_the_disk_is_507_and_its_neighbours_on_the_connection_finish(served: Served) -> None:
    async def main() -> None:
        trust = ssl.create_default_context(cafile=served.ca)
        go = asyncio.Event()
        transport = Transport(verify=trust, http="2")
        async with httpx.AsyncClient(transport=transport, base_url=served.url, timeout=30) as http:
            neighbours = [
                asyncio.create_task(http.put(f"/files/n{number}", content=slowly(b"n" * 400_000, go)))
                for number in range(3)
            ]
            while len(served.staged()) < 3:  # noqa: ASYNC110 - a folder tells nobody
                await asyncio.sleep(0.005)
            full = await http.put("/files/full", content=endless())
            assert (full.status_code, full.json()["code"]) == (507, "storage_full")
            assert len(served.staged()) == 3
            go.set()
            assert [answer.status_code for answer in await asyncio.gather(*neighbours)] == [201] * 3
            assert transport.connections_made == 1
        assert served.staged() == []
        assert names(served.data / "files") == ["n0", "n1", "n2"]
        assert all(served.path(f"n{number}").read_bytes() == b"n" * 400_000 for number in range(3))

    asyncio.run(main())


@pytest.mark.parametrize(("method", "name"), [("PUT", "b"), ("PATCH", "a")])
def test_length_that_does_not_fit_is_507_before_the_first_byte(served: Served, method: str, name: str) -> None:
    length = {"content-length": str(2 * ROOM)}

    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def over_http2() -> httpx.Response:
        transport = Transport(verify=ssl.create_default_context(cafile=served.ca), http="2")
        async with httpx.AsyncClient(transport=transport, base_url=served.url, timeout=20) as http:
            await http.put("/files/a", content=b"old")
            return await http.request(method, f"/files/{name}", content=never(), headers=length)

    full = asyncio.run(over_http2())
    assert (full.status_code, full.json()["code"]) == (507, "storage_full")
    with socket.create_connection(("127.0.0.1", served.plain_port), timeout=20) as sock:
        head = (
            f"{method} /files/{name} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {2 * ROOM}\r\n\r\n"
        )
        sock.sendall(head.encode())
        assert sock.recv(12) == b"HTTP/1.1 507"
    assert served.path("a").read_bytes() == b"old"
    assert names(served.data / "files") == ["a"]
    assert served.staged() == []


def fill(served: Served, leave: int = 0) -> Path:
    """Fill the file system by hand but for some bytes."""
    filler = served.data / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 4096):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
            os.sync()  # what the file system had set aside for its own use may be free now
        os.truncate(filler, max(0, filler.stat().st_size - leave))
    return filler


def test_full_disk_takes_nothing_shows_all_it_had_and_works_again_when_there_is_room(served: Served) -> None:
    with httpx.Client(base_url=served.plain_url, timeout=30) as http:
        old = http.put("/files/old", content=b"old" * 1000)
        http.put("/files/gone", content=b"x")
        filler = fill(served)
        for size in (5_000, 100_000, 3 * MIB):
            for headers in ({}, {"if-none-match": "*"}):
                full = http.put("/files/new", content=bytes(size), headers=headers)
                assert (full.status_code, full.json()["code"]) == (507, "storage_full"), size
        full = http.patch("/files/old", content=bytes(100_000))
        assert full.status_code == 507
        found = http.get("/files/old")
        assert (found.content, found.headers["etag"]) == (b"old" * 1000, old.headers["etag"])
        assert served.staged() == []
        assert http.get("/files/new").status_code == 404
        assert http.delete("/files/gone").status_code == 204
        filler.unlink()
        assert http.put("/files/new", content=bytes(3 * MIB)).status_code == 201
        patched = http.patch("/files/old", content=b"er", headers={"upload-offset": "3000"})
        assert patched.status_code == 204
        assert http.get("/files/old").content == b"old" * 1000 + b"er"
        assert http.get("/files/new").content == bytes(3 * MIB)


def test_append_that_fills_the_disk_is_507_and_the_old_file_stays(served: Served) -> None:
    with httpx.Client(base_url=served.plain_url, timeout=30) as http:
        http.put("/files/a", content=b"old")
        before = served.path("a").stat()

        def body() -> Iterator[bytes]:
            for _ in range(2 * ROOM // MIB):
                yield bytes(MIB)

        with contextlib.suppress(httpx.WriteError):  # stock httpx may miss an answer before its body's end
            full = http.patch("/files/a", content=body())
            assert (full.status_code, full.json()["code"]) == (507, "storage_full")
        after = served.path("a").stat()
        assert (after.st_size, after.st_mtime_ns) == (3, before.st_mtime_ns)
        assert http.patch("/files/a", content=b"er").status_code == 204
        assert http.get("/files/a").content == b"older"


def test_large_files_are_whole_on_any_file_system(served: Served) -> None:
    body = os.urandom(5 * MIB + 4097)
    with httpx.Client(base_url=served.plain_url, timeout=30) as http:
        stored = http.put("/files/a", content=body)
        assert stored.status_code == 201
        assert http.get("/files/a").content == body
