"""Who may create and not replace (`storage.create`): the same command again is no failure, another file is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from h2gate.auth import keys
from h2gate.client import Client, Outcome
from h2gate.errors import Forbidden
from tests.conftest import Serve, Served

MIB = 1 << 20


@pytest.fixture
def secret() -> tuple[str, str]:
    return keys.make("instrument")


@pytest.fixture
def served(serve: Serve, tmp_path: Path, secret: tuple[str, str]) -> Served:
    policy = f'[[keys]]\nid = "instrument"\nsha256 = "{secret[1]}"\nrights = "storage.create:/in"\n'
    (tmp_path / "auth.toml").write_text(policy)
    return serve(auth=tmp_path / "auth.toml")


def client(served: Served, secret: tuple[str, str], **options: Any) -> Client:
    return Client(served.url, ca=[served.ca], token=secret[0], **options)


def refused(outcomes: list[Outcome]) -> list[str]:
    assert {type(each.error) for each in outcomes} <= {Forbidden, type(None)}
    return sorted(each.item.name.rpartition("/")[2] for each in outcomes if each.error is not None)


@pytest.mark.parametrize("compare", ["never", "time", "checksum"])
@pytest.mark.parametrize("bundles", [True, False])
async def test_what_is_there_already_is_no_failure_and_what_differs_is(
    served: Served, secret: tuple[str, str], tmp_path: Path, compare: Any, bundles: bool
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(20):
        (tree / f"{number:02}").write_bytes(b"%d" % number)
    (tree / "middle").write_bytes(os.urandom(MIB // 2))
    (tree / "large").write_bytes(os.urandom(3 * MIB))
    async with client(served, secret, bundles=bundles) as gate:
        assert refused(await gate.put(tree, "in/", compare=compare)) == []
        before = {path.name: path.stat().st_ino for path in served.path("in/tree").iterdir()}
        assert refused(await gate.put(tree, "in/", compare=compare)) == []
        (tree / "07").write_bytes(b"another")
        large = bytearray((tree / "large").read_bytes())
        large[MIB] ^= 1
        (tree / "large").write_bytes(large)
        assert refused(await gate.put(tree, "in/", compare=compare)) == ["07", "large"]
        assert refused(await gate.put(tree, "elsewhere/", compare=compare)) == sorted(before)
    assert {path.name: path.stat().st_ino for path in served.path("in/tree").iterdir()} == before
    assert served.path("in/tree/07").read_bytes() == b"7"


async def test_stream_that_meets_a_file_is_refused(served: Served, secret: tuple[str, str]) -> None:
    async with client(served, secret) as gate:
        assert refused(await gate.put(iter([b"abc"]), "in/stream")) == []
        assert refused(await gate.put(iter([b"abc"]), "in/stream")) == ["stream"]
