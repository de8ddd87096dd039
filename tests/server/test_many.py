"""Thousands of small uploads over one connection: each is there, with its bytes."""

from __future__ import annotations

import shutil
import subprocess
from itertools import islice
from pathlib import Path

import pytest

from tests.conftest import Serve, Spawn
from tests.server.conftest import Connect

UPLOADS = 5000
BYTES = 10 << 10
AT_ONCE = 100


def content(name: int) -> bytes:
    return b"%08d" % name * (BYTES // 8)


def expect_all(folder: Path) -> None:
    found = {path.name: path for path in folder.iterdir()}
    assert len(found) == UPLOADS
    wrong = [name for name in range(UPLOADS) if found[str(name)].read_bytes() != content(name)]
    assert wrong == []


def test_no_upload_of_thousands_on_one_connection_is_lost(spawn: Spawn, connect: Connect) -> None:
    process = spawn()
    client = connect(process)
    names = iter(range(UPLOADS))
    open_streams: set[int] = set()
    statuses: list[int] = []

    def over() -> set[int]:
        return {stream for stream in open_streams if client.answers[stream].over}

    while len(statuses) < UPLOADS:
        for name in islice(names, AT_ONCE - len(open_streams)):
            fields = client.fields("PUT", f"/files/many/{name}", ("content-length", str(BYTES)))
            open_streams.add(client.open_raw(fields, then=content(name)))
        client.until(lambda: bool(over()))
        ended = over()
        open_streams -= ended
        statuses += [client.answers.pop(stream).status for stream in ended]
    assert statuses == [201] * UPLOADS
    assert not client.goaways
    expect_all(process.data / "files" / "many")


@pytest.mark.skipif(not shutil.which("h2load"), reason="NOT TESTED: no h2load")
def test_h2load_loses_no_upload_on_one_connection(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    (tmp_path / "body").write_bytes(content(7))
    targets = tmp_path / "targets"
    targets.write_text("".join(f"{served.url}/files/{n}\n" for n in range(UPLOADS)))
    command = ["h2load", "-n", str(UPLOADS), "-c", "1", "-m", str(AT_ONCE), "-d", str(tmp_path / "body")]
    done = subprocess.run(
        [*command, "-H", ":method: PUT", "-i", str(targets)], capture_output=True, text=True, timeout=100, check=True
    )
    assert f"{UPLOADS} succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout
    assert f"status codes: {UPLOADS} 2xx" in done.stdout
    files = list((served.data / "files").iterdir())
    assert len(files) == UPLOADS
    assert [path for path in files if path.read_bytes() != content(7)] == []
    assert served.staged() == []
