"""What every storage promises (`storage.base.Storage`)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from h2gate.errors import (
    BadPath,
    BodyCut,
    Conflict,
    DigestMismatch,
    Locked,
    NotFound,
    PreconditionFailed,
    StorageFull,
)
from h2gate.storage.base import Storage
from h2gate.storage.disk import SMALL_BYTES, DiskStorage
from h2gate.upload import Batch, Identity, Tap

Open = Callable[[], AbstractAsyncContextManager[Storage]]
IMPLEMENTATIONS: dict[str, Callable[[Path], Storage]] = {
    "disk": DiskStorage,
    "disk-page-cache": lambda folder: DiskStorage(folder, direct_io=False),
    "disk-no-fsync": lambda folder: DiskStorage(folder, fsync=False),
}


@pytest.fixture(params=list(IMPLEMENTATIONS.values()), ids=list(IMPLEMENTATIONS))
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """`async with opened() as storage`; opened again, it is the same one."""

    @asynccontextmanager
    async def open_() -> AsyncIterator[Storage]:
        storage = request.param(tmp_path)
        yield storage
        await storage.close()

    return open_


class Given:
    """A body of these pieces, each a pull; an exception among them is raised."""

    trailers: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self, *pieces: bytes | Exception, length: int | None = None) -> None:
        self.length = length
        self._left = list(pieces)

    async def pull(self) -> Batch:
        piece = self._left.pop(0)
        if isinstance(piece, Exception):
            raise piece
        chunks = [piece[start : start + 16384] for start in range(0, len(piece), 16384)]
        return Batch(chunks, len(piece), not self._left)


def nothing() -> None:
    return


async def put(storage: Storage, path: str, *pieces: bytes, key: str = "k", may_replace: Any = True) -> Identity | None:
    await storage.stage(key, Given(*pieces), (), modified_ns=None)
    return await storage.commit(key, path, may_replace=may_replace)


async def read(storage: Storage, path: str, start: int = 0, stop: int | None = None) -> bytes:
    identity = await storage.stat(path)
    stop = identity.size if stop is None else stop
    return b"".join([chunk async for chunk in storage.read(path, identity.inode, start, stop)])


@pytest.mark.parametrize("size", [0, 1, 4097, SMALL_BYTES, SMALL_BYTES + 1, (1 << 20) + 1, (3 << 20) + 4097])
@pytest.mark.parametrize("pulls", [1, 3])
async def test_staged_file_is_shown_by_commit_only_with_its_bytes_and_time(opened: Open, size: int, pulls: int) -> None:
    body = (bytes(range(251)) * (size // 251 + 1))[:size]
    third = size // pulls
    pieces = [body[third * number : third * (number + 1)] for number in range(pulls - 1)]
    sha256 = hashlib.sha256()
    taps: list[Tap] = [sha256]
    async with opened() as storage:
        staged = await storage.stage("k", Given(*pieces, body[third * (pulls - 1) :]), taps, modified_ns=123 * 10**9)
        assert (staged.size, staged.modified_ns) == (size, 123 * 10**9)
        assert sha256.digest() == hashlib.sha256(body).digest()
        assert await storage.staged() == ["k"]
        with pytest.raises(NotFound):
            await storage.stat("a/b")
        assert await storage.commit("k", "a/b", may_replace=True) is None
        assert await storage.staged() == []
    async with opened() as storage:
        assert await storage.stat("a/b") == staged
        assert await read(storage, "a/b") == body
        fed = hashlib.sha256()
        await storage.feed("a/b", size, fed)
        assert fed.digest() == sha256.digest()


@pytest.mark.parametrize("before", [[], [b"x" * 10], [bytes(SMALL_BYTES + 1), b"y"]])
async def test_body_that_breaks_off_leaves_nothing(opened: Open, before: list[bytes]) -> None:
    async with opened() as storage:
        with pytest.raises(BodyCut):
            await storage.stage("k", Given(*before, BodyCut()), (), modified_ns=None)
        assert await storage.staged() == []


async def test_discard_forgets_what_was_staged_and_is_content_when_it_is_gone(opened: Open) -> None:
    async with opened() as storage:
        await storage.stage("k", Given(b"x"), (), modified_ns=None)
        fed = hashlib.sha256()
        await storage.feed_staged("k", fed)
        assert fed.digest() == hashlib.sha256(b"x").digest()
        await storage.discard("k")
        await storage.discard("k")
        assert await storage.staged() == []


async def test_commit_tells_the_file_it_replaced(opened: Open) -> None:
    async with opened() as storage:
        await put(storage, "a", b"one")
        one = await storage.stat("a")
        assert await put(storage, "a", b"two") == one
        assert await read(storage, "a") == b"two"


async def test_commit_replaces_nothing_or_one_file_only_when_told_so(opened: Open) -> None:
    async with opened() as storage:
        assert await put(storage, "a", b"one", may_replace=False) is None
        one = await storage.stat("a")
        for key, may_replace in (("n", False), ("o", replace(one, size=4)), ("p", replace(one, inode=1))):
            with pytest.raises(PreconditionFailed):
                await put(storage, "a", b"two", key=key, may_replace=may_replace)
        assert await read(storage, "a") == b"one"
        with pytest.raises(PreconditionFailed):
            await put(storage, "b", b"two", key="q", may_replace=one)
        assert await put(storage, "a", b"three", key="r", may_replace=one) == one
        assert await read(storage, "a") == b"three"


async def test_commit_conflicts_with_a_folder_and_below_a_file(opened: Open) -> None:
    async with opened() as storage:
        await put(storage, "d/a", b"x")
        for key, path, may_replace in (("1", "d", True), ("2", "d", False), ("3", "d/a/b", True)):
            with pytest.raises(Conflict):
                await put(storage, path, b"y", key=key, may_replace=may_replace)
        assert [entry.name for entry in await storage.entries("d")] == ["a"]


async def test_entries_are_sorted_and_know_folders_from_files(opened: Open) -> None:
    async with opened() as storage:
        for number, path in enumerate(("d/c", "d/a/x", "d/b")):
            await put(storage, path, b"12", key=str(number))
        entries = await storage.entries("d")
        assert [(each.name, each.is_folder) for each in entries] == [("a", True), ("b", False), ("c", False)]
        assert entries[1].identity == await storage.stat("d/b")
        for path in ("missing", "d/b", "d/b/c"):
            with pytest.raises(NotFound):
                await storage.entries(path)


async def test_stat_of_a_folder_and_of_nothing_is_not_found(opened: Open) -> None:
    async with opened() as storage:
        await put(storage, "d/a", b"x")
        for path in ("", "d", "d/b", "x/y", "d/a/b"):
            with pytest.raises(NotFound):
                await storage.stat(path)


async def test_reader_keeps_the_file_it_began_and_does_not_begin_another(opened: Open) -> None:
    body = bytes(600_000)
    async with opened() as storage:
        await put(storage, "a", body)
        identity = await storage.stat("a")
        begun = storage.read("a", identity.inode, 0, identity.size)
        got = await anext(begun)
        await put(storage, "a", b"new")
        got += b"".join([chunk async for chunk in begun])
        assert got == body
        with pytest.raises(Conflict):
            await anext(storage.read("a", identity.inode, 0, 3))
        assert await read(storage, "a", 1, 2) == b"e"


async def test_remove_takes_a_file_or_an_empty_folder(opened: Open) -> None:
    async with opened() as storage:
        await put(storage, "d/a", b"x")
        identity = await storage.stat("d/a")
        for path in ("d", ""):
            with pytest.raises(Conflict):
                await storage.remove(path)
        assert await storage.remove("d/a") == identity
        await storage.remove("d")
        for path in ("d", "d/a"):
            with pytest.raises(NotFound):
                await storage.remove(path)


async def test_extension_writes_behind_the_end_at_any_size(opened: Open) -> None:
    whole = b""
    async with opened() as storage:
        await put(storage, "a", b"")
        for size in (0, 5, 4091, 4096, 4097, 2 << 20, 3):
            more = bytes([size % 251]) * size
            whole += more
            async with storage.extending("a") as extension:
                assert extension.identity == await storage.stat("a")
                identity = await extension.write(Given(more[:7], more[7:]), (), nothing)
            assert identity == await storage.stat("a")
            assert await read(storage, "a") == whole


@pytest.mark.parametrize("size", [0, 5, 4096, 200_000])
@pytest.mark.parametrize("broken", ["body", "check"])
async def test_extension_that_failed_is_cut_back_to_size_and_time(opened: Open, size: int, broken: str) -> None:
    def check() -> None:
        raise DigestMismatch

    async with opened() as storage:
        await put(storage, "a", bytes(size))
        old = await storage.stat("a")
        async with storage.extending("a") as extension:
            if broken == "body":
                with pytest.raises(BodyCut):
                    await extension.write(Given(bytes(2 << 20), BodyCut()), (), nothing)
            else:
                with pytest.raises(DigestMismatch):
                    await extension.write(Given(bytes(300_000)), (), check)
            await extension.cut(old)
        assert await storage.stat("a") == old
        assert await read(storage, "a") == bytes(size)


async def test_second_extension_of_a_file_is_locked_out_until_the_first_is_over(opened: Open, tmp_path: Path) -> None:
    async with opened() as storage, opened() as other:
        await put(storage, "a", b"x")
        async with storage.extending("a"):
            for each in (storage, other):
                with pytest.raises(Locked):
                    await each.extending("a").__aenter__()
        async with other.extending("a") as extension:
            assert extension.identity.size == 1


async def test_extension_of_what_is_no_file_is_refused(opened: Open) -> None:
    async with opened() as storage:
        await put(storage, "d/a", b"x")
        for path, error in (("b", NotFound), ("d/b/c", NotFound), ("d", Conflict), ("d/a/b", Conflict)):
            with pytest.raises(error):
                await storage.extending(path).__aenter__()


async def test_restore_cuts_the_same_file_and_leaves_any_other(opened: Open) -> None:
    async with opened() as storage:
        await put(storage, "d/a", b"old")
        old = await storage.stat("d/a")
        async with storage.extending("d/a") as extension:
            await extension.write(Given(b"more"), (), nothing)
        assert await storage.restore("d/a", old) == old
        assert await read(storage, "d/a") == b"old"
        others = [("d/a", replace(old, inode=1)), ("d/a", replace(old, size=4)), ("b", old), ("d", old), ("d/a/b", old)]
        assert [await storage.restore(*other) for other in others] == [None] * 5
        assert await read(storage, "d/a") == b"old"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("folder", Conflict),
        ("file/x", Conflict),
        ("file/x/y", Conflict),
        ("link", BadPath),
        ("link/x", BadPath),
        ("folder/link/x", BadPath),
    ],
)
async def test_place_that_no_file_can_have_is_known_ahead(
    opened: Open, tmp_path: Path, path: str, error: type[Exception]
) -> None:
    async with opened() as storage:
        await put(storage, "file", b"x")
        await put(storage, "folder/file", b"x")
        (tmp_path / "files" / "link").symlink_to("folder")
        (tmp_path / "files" / "folder" / "link").symlink_to("/")
        with pytest.raises(error):
            await storage.look_ahead(path, None)
        for fine in ("file", "folder/file", "folder/new", "new/er/file", None):
            await storage.look_ahead(fine, 100)


async def test_more_than_there_is_room_for_is_known_ahead(opened: Open) -> None:
    async with opened() as storage:
        for path in ("a", None):
            with pytest.raises(StorageFull):
                await storage.look_ahead(path, 1 << 60)
            await storage.look_ahead(path, None)
