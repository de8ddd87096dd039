"""Small files that change while they are read are noticed, alone and in bundles."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from h2gate.client import Client
from h2gate.client.failures import FileChanged
from h2gate.client.local import read_small
from tests.conftest import Serve


class Changing(io.FileIO):
    """Somebody writes to it while it is read."""

    def read(self, size: int | None = -1, /) -> Any:
        data = super().read(size)
        path = Path(os.fsdecode(self.name))
        if path.name.startswith("touched"):
            os.utime(path, ns=(1, 1))
        elif path.name.startswith("grown"):
            os.truncate(path, path.stat().st_size + 1)
        return data


@pytest.fixture
def changing(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def open_(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        return Changing(path) if (path.parent.name, mode) == ("tree", "rb") else opened(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_)


@pytest.mark.parametrize("name", ["touched", "grown"])
def test_small_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path, changing: None, name: str) -> None:
    path = tmp_path / "tree" / name
    path.parent.mkdir()
    path.write_bytes(b"abc")
    with pytest.raises(FileChanged):
        read_small(path)


@pytest.mark.parametrize("bundles", [True, False])
async def test_small_file_that_changes_fails_and_is_not_stored(
    serve: Serve, tmp_path: Path, changing: None, bundles: bool
) -> None:
    served = serve()
    (tmp_path / "tree").mkdir()
    for name in ["touched", "grown", *map(str, range(30))]:
        (tmp_path / "tree" / name).write_bytes(b"abc")
    async with Client(served.url, ca=[served.ca], bundles=bundles) as gate:
        outcomes = await gate.put([tmp_path / "tree"])
    failed = {Path(each.item.name).name: each.error for each in outcomes if each.error}
    assert failed.keys() == {"touched", "grown"}
    assert all(isinstance(error, FileChanged) for error in failed.values())
    assert {path.name for path in served.path("tree").iterdir()} == set(map(str, range(30)))
