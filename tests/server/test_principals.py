"""Who is recognised shares with the others under that name, wherever the uploads come from."""

from __future__ import annotations

import time
from pathlib import Path

from h2gate.auth import keys
from tests.conftest import Serve, Served
from tests.server.raw import RawClient


async def names(served: Served) -> dict[object, int]:
    """Everybody who has a place among those who are served, and how many connections."""
    return {key: len(node.children) for key, node in served.worker.fairness._root.children.items()}


def await_names(served: Served, wanted: dict[object, int]) -> None:
    end_at = time.monotonic() + 20
    while (found := served.inside(names(served))) != wanted:
        assert time.monotonic() < end_at, found


def test_uploads_of_one_connection_are_shared_by_the_principals_that_send_them(tmp_path: Path, serve: Serve) -> None:
    secrets = {}
    with (tmp_path / "auth.toml").open("w") as policy:
        for name in ("one", "two"):
            secrets[name], lines = keys.written(name, "storage.modify:/", None, None)
            policy.write(lines)
    served = serve(auth=tmp_path / "auth.toml")
    with RawClient(served.url, served.ca) as client, RawClient(served.url, served.ca) as other:
        for number, (name, where) in enumerate((("one", client), ("two", client), ("two", other))):
            who = ("authorization", f"Bearer {secrets[name]}")
            where.open("PUT", f"/files/{number}", who, ("content-length", str(8 << 20)))
        await_names(served, {"key:one": 1, "key:two": 2})
    await_names(served, {})
    assert served.path("0").exists() is False


def test_uploads_of_nobody_are_shared_by_their_addresses(serve: Serve) -> None:
    served = serve()
    with RawClient(served.url, served.ca) as client:
        client.open("PUT", "/files/a", ("content-length", str(8 << 20)))
        await_names(served, {"127.0.0.1": 1})
