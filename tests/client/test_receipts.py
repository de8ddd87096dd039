"""Receipts: kept for small files, bundled files and large ones, and good for whoever has the gateway's public key."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from h2gate.auth import keys
from h2gate.cli import cli
from h2gate.client import Client
from h2gate.client.listener import Listener, Outcome
from tests.conftest import Serve, Served

FILES = {"small": 100, "middle": 200_000, "large": 9 << 20}


@pytest.fixture
def headers(tmp_path: Path) -> dict[str, str]:
    secret, digest = keys.make("lab")
    rights = "storage.modify:/ storage.read:/"
    text = f'[[keys]]\nid = "lab"\nsha256 = "{digest}"\nrights = "{rights}"\n[audit]\nreads = false\n'
    (tmp_path / "auth.toml").write_text(text)
    return {"authorization": f"Bearer {secret}"}


class Notes(Listener):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def noted(self, text: str) -> None:
        self.texts.append(text)


def put(served: Served, headers: dict[str, str], source: Path, receipts: Path, listener: Listener) -> list[Outcome]:
    async def run() -> list[Outcome]:
        async with Client(served.url, ca=[served.ca], headers=headers, receipts=receipts, listener=listener) as client:
            return await client.put(source, "in/")

    return asyncio.run(run())


def verify(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["audit", "verify", *map(str, arguments)], standalone_mode=False)
    return int(result.return_value), result.output


def test_each_file_that_was_stored_has_a_receipt_that_checks_offline(
    tmp_path: Path, headers: dict[str, str], serve: Serve
) -> None:
    served = serve(auth=tmp_path / "auth.toml")
    source = tmp_path / "source"
    source.mkdir()
    for name, size in FILES.items():
        (source / name).write_bytes(os.urandom(size))
    for number in range(5):
        (source / f"tiny{number}").write_bytes(b"x")
    notes = Notes()
    outcomes = put(served, headers, source, tmp_path / "kept", notes)
    assert [each.error for each in outcomes] == 8 * [None]
    assert notes.texts == []
    found = sorted((tmp_path / "kept").rglob("*.receipt"))
    assert [each.relative_to(tmp_path / "kept").as_posix() for each in found] == sorted(
        f"in/source/{name}.receipt" for name in (*FILES, *(f"tiny{n}" for n in range(5)))
    )
    key = served.data / "audit" / "receipt.pub"
    receipts = [argument for each in found for argument in ("--receipt", each)]
    assert verify(served.data / "audit", "--key", key, *receipts)[0] == 0
    text = found[0].read_text()
    found[0].write_text(text[:80] + ("A" if text[80] != "A" else "B") + text[81:])
    code, output = verify("--key", key, *receipts)
    assert code == 1
    assert f"{found[0]}: the signature is not good" in output


def test_a_gateway_that_signs_nothing_is_told_of(tmp_path: Path, serve: Serve) -> None:
    served = serve()
    (tmp_path / "a").write_bytes(b"a")
    notes = Notes()
    assert put(served, {}, tmp_path / "a", tmp_path / "kept", notes)[0].error is None
    assert notes.texts == [f"{tmp_path / 'a'}: came without a receipt"]
