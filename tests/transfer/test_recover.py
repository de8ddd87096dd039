"""After a start: what nobody was told of is dropped, what somebody was told of is kept, whatever lies in the folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from h2gate.config import Settings
from h2gate.gateway import Gateway, recover
from h2gate.storage.small import place
from h2gate.upload import Batch, Identity, Upload
from tests.conftest import staged


class Whole:
    trailers: tuple[tuple[bytes, bytes], ...] = ()

    def __init__(self, body: bytes) -> None:
        self.length: int | None = len(body)
        self._body = body

    async def pull(self) -> Batch:
        return Batch([self._body], len(self._body), True)


async def put(gateway: Gateway, path: str, body: bytes, **options: Any) -> Upload:
    given: dict[str, Any] = {"fields": {"meta-a": "1"}, "expected": {}, "modified_ns": None}
    file, _ = await gateway.uploads.put(path, Whole(body), **given | options)
    assert file.upload is not None
    return file.upload


def after_a_start(data: Path, before: Callable[[Gateway], Coroutine[Any, Any, None]]) -> tuple[int, int, int]:
    """Do something in a gateway, end it, and recover; what `recover` counted."""
    settings = Settings(data=data)

    async def first() -> None:
        async with Gateway(settings) as gateway:
            await before(gateway)

    asyncio.run(first())
    return asyncio.run(recover(settings))


def found(data: Path, path: str) -> tuple[int, str | None, bool] | None:
    """Size, digest and whether the fields are known."""

    async def look() -> tuple[int, str | None, bool] | None:
        async with Gateway(Settings(data=data)) as gateway:
            file = await gateway.uploads.find(path)
            return None if file is None else (file.size, file.repr_digest, bool(file.fields))

    return asyncio.run(look())


def appending(upload: Upload, data: Path, more: bytes) -> Upload:
    """As it is in the middle of an append: bytes behind the recorded size."""
    with (data / "files" / upload.path).open("ab") as file:
        file.write(more)
    return Upload(
        id=upload.id,
        path=upload.path,
        state="appending",
        identity=upload.identity,
        sha256=upload.sha256,
        fields=upload.fields,
    )


def test_start_in_a_new_folder_finds_nothing_to_do(tmp_path: Path) -> None:
    assert asyncio.run(recover(Settings(data=tmp_path / "new"))) == (0, 0, 0)


def test_staged_file_is_dropped_with_its_record_and_a_shown_one_kept(tmp_path: Path) -> None:
    async def before(gateway: Gateway) -> None:
        await put(gateway, "kept", b"kept")
        (tmp_path / "staging" / place("k")).write_bytes(b"half")
        await gateway._ledger.add(Upload(id="k", path="half", identity=Identity(inode=1, size=4, modified_ns=0)))

    assert after_a_start(tmp_path, before) == (1, 0, 0)
    assert not staged(tmp_path)
    assert [each.name for each in (tmp_path / "files").iterdir()] == ["kept"]
    size, digest, known = found(tmp_path, "kept") or (0, None, False)
    assert (size, digest is not None, known) == (4, True, True)


def test_file_that_was_linked_but_not_yet_unstaged_keeps_its_record(tmp_path: Path) -> None:
    async def before(gateway: Gateway) -> None:
        upload = await put(gateway, "a", b"abc")
        (tmp_path / "staging" / place(upload.id)).hardlink_to(tmp_path / "files" / "a")

    assert after_a_start(tmp_path, before) == (1, 0, 0)
    assert not staged(tmp_path)
    size, digest, known = found(tmp_path, "a") or (0, None, False)
    assert (size, digest is not None, known) == (3, True, True)


def test_append_is_cut_back_to_what_was_acknowledged(tmp_path: Path) -> None:
    async def before(gateway: Gateway) -> None:
        upload = await put(gateway, "d/a", b"old")
        await gateway._ledger.save(appending(upload, tmp_path, b"more"))

    assert after_a_start(tmp_path, before) == (0, 1, 0)
    assert (tmp_path / "files/d/a").read_bytes() == b"old"
    size, digest, known = found(tmp_path, "d/a") or (0, None, False)
    assert (size, digest is not None, known) == (3, True, True)
    assert asyncio.run(recover(Settings(data=tmp_path))) == (0, 0, 0)


def test_append_to_what_is_another_thing_by_now_touches_nothing(tmp_path: Path) -> None:
    async def before(gateway: Gateway) -> None:
        files = tmp_path / "files"
        for path in ("gone", "folder", "link", "parent/a", "shorter", "other"):
            upload = await put(gateway, path, b"old")
            await gateway._ledger.save(appending(upload, tmp_path, b"more"))
            (files / path).rename(tmp_path / "moved")
            if path == "shorter":
                (tmp_path / "moved").rename(files / path)
                os.truncate(files / path, 1)
        (files / "folder").mkdir()
        (files / "link").symlink_to(tmp_path / "moved")
        (files / "parent").rmdir()
        (files / "parent").write_text("a file")
        (files / "other").write_text("another")

    assert after_a_start(tmp_path, before) == (0, 6, 0)
    assert (tmp_path / "moved").read_bytes() == b"oldmore"
    assert (tmp_path / "files/other").read_text() == "another"
    assert (tmp_path / "files/shorter").read_bytes() == b"o"
    assert found(tmp_path, "other") == (7, None, False)
    assert asyncio.run(recover(Settings(data=tmp_path))) == (0, 0, 0)
