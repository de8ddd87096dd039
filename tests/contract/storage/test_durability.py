"""The order that makes an acknowledgement good: bytes synced, then the name, then its folder, and only then told."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from h2gate.errors import GateError, StorageFailed, StorageFull
from h2gate.storage.disk import SMALL_BYTES, DiskStorage
from h2gate.storage.small import place
from tests.contract.storage.test_storage import Given, nothing, put

SIZES = [10, SMALL_BYTES * 20]


class Calls:
    """Records what is asked of the kernel, and asks it; may fail one kind of call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.seen: list[str] = []
        self.failing: dict[str, int] = {}
        self._root = str(root)
        for name in ("fsync", "rename", "link", "mkdir", "ftruncate", "pwrite", "write"):
            monkeypatch.setattr(os, name, self._recording(name, getattr(os, name)))

    def _recording(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *rest: Any, **named: Any) -> Any:
            shown = self._shown(first, named)
            if shown is None:
                return real(first, *rest, **named)
            self.seen.append(f"{name} {shown}")
            if name in self.failing:
                raise OSError(self.failing[name], os.strerror(self.failing[name]))
            return real(first, *rest, **named)

        return call

    def _shown(self, first: Any, named: dict[str, Any]) -> str | None:
        """The path below the root of what the call is about; None if it is about something else."""
        fd = first if isinstance(first, int) else named.get("src_dir_fd", named.get("dir_fd"))
        try:
            path = str(Path(f"/proc/self/fd/{fd}").readlink()).removesuffix(" (deleted)")
        except OSError:
            return None
        if not path.startswith(self._root):
            return None
        path = path.removeprefix(self._root).lstrip("/")
        return path if isinstance(first, int) else f"{path}/{first}"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    return Calls(monkeypatch, tmp_path)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("may_replace", [True, False])
async def test_file_is_synced_before_it_is_named_and_its_folders_after(
    calls: Calls, tmp_path: Path, size: int, may_replace: bool
) -> None:
    storage = DiskStorage(tmp_path)
    calls.seen.clear()
    await storage.stage("k", Given(bytes(size)), (), modified_ns=None)
    assert calls.seen[-1] == f"fsync staging/{place('k')}"
    calls.seen.clear()
    await storage.commit("k", "a/b/c", may_replace=may_replace)
    naming = f"{'rename' if may_replace else 'link'} staging/{place('k')}"
    folders = ["mkdir files/a", "fsync files", "mkdir files/a/b", "fsync files/a"]
    assert calls.seen == [*folders, naming, "fsync files/a/b"]
    await storage.close()


async def test_append_and_its_undoing_and_a_removal_are_synced(calls: Calls, tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path)
    await put(storage, "a", b"x")
    calls.seen.clear()
    async with storage.extending("a") as extension:
        await extension.write(Given(b"y"), (), nothing)
        assert calls.seen == ["pwrite files/a", "fsync files/a"]
        calls.seen.clear()
        await extension.cut(extension.identity)
        assert calls.seen == ["ftruncate files/a", "fsync files/a"]
    calls.seen.clear()
    await storage.remove("a")
    assert calls.seen == ["fsync files"]
    await storage.close()


async def test_storage_without_fsync_asks_for_none(calls: Calls, tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path, fsync=False)
    for size in SIZES:
        await put(storage, "a/b", bytes(size))
    assert not [call for call in calls.seen if call.startswith("fsync")]
    await storage.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.EIO, StorageFailed), (errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EFBIG, StorageFull)],
)
@pytest.mark.parametrize("failing", ["fsync", "write"])
async def test_file_that_cannot_be_written_or_synced_is_told_and_not_kept(
    calls: Calls, tmp_path: Path, size: int, failing: str, number: int, error: type[GateError]
) -> None:
    storage = DiskStorage(tmp_path)
    names = ("write", "pwrite") if failing == "write" else ("fsync",)
    calls.failing = dict.fromkeys(names, number)
    with pytest.raises(error):
        await storage.stage("k", Given(bytes(size)), (), modified_ns=None)
    assert await storage.staged() == []
    calls.failing = {}
    assert await put(storage, "a", bytes(size)) is None
    await storage.close()


@pytest.mark.parametrize("failing", ["rename", "fsync"])
async def test_commit_that_cannot_be_made_durable_is_told_to_each_of_the_batch(
    calls: Calls, tmp_path: Path, failing: str
) -> None:
    storage = DiskStorage(tmp_path)
    for key in ("1", "2"):
        await storage.stage(key, Given(b"x"), (), modified_ns=None)
    calls.failing = {failing: errno.EIO}
    for key in ("1", "2"):
        with pytest.raises(StorageFailed):
            await storage.commit(key, f"f{key}", may_replace=True)
    await storage.close()
