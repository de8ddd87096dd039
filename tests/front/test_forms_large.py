"""Forms that are large in some way, cut, or split anywhere: memory stays flat and nothing half is shown."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2gate.front.form import Form
from h2gate.front.multipart import MAX_PARTS
from h2gate.upload import Batch
from tests.conftest import Serve, Served, Spawn
from tests.front.conftest import files_under, wait_until
from tests.front.parts import END, TYPE, part, statuses

MIB = 1 << 20


def peak_kib(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("http2", [True, False])
def test_large_file_of_a_form_streams_through_flat_memory(spawn: Spawn, trust: object, http2: bool) -> None:
    process = spawn()
    block = bytes(MIB)

    def form(size: int) -> Iterator[bytes]:
        head, tail = part(f"f{size}", b"|").split(b"|")
        yield head
        for _ in range(size):
            yield block
        yield tail + part("after") + END

    with httpx.Client(http1=not http2, http2=http2, verify=trust, base_url=process.url, timeout=60) as http:  # type: ignore[arg-type]
        assert statuses(http.post("/files/", content=form(8), headers=TYPE)) == [201, 201]
        before = peak_kib(process.popen.pid)
        answer = http.post("/files/", content=form(120), headers=TYPE)
    assert (answer.status_code, statuses(answer)) == (201, [201, 204])
    assert (process.data / "files/f120").stat().st_size == 120 * MIB
    assert peak_kib(process.popen.pid) - before < 48 * 1024


def test_form_of_many_tiny_parts_is_stored_and_one_more_is_refused(serve: Serve) -> None:
    served: Served = serve(fsync=False)
    fields = [part(None, b"", name="k") for _ in range(MAX_PARTS - 300)]
    files = [part(f"{number}") for number in range(300)]
    with httpx.Client(base_url=served.plain_url, timeout=60) as http:
        answer = http.post("/files/", content=b"".join([*fields, *files, END]), headers=TYPE)
        assert (answer.status_code, statuses(answer)) == (201, [201] * 300)
        over = http.post("/files/", content=b"".join([*fields, *files, part("over"), END]), headers=TYPE)
        assert (over.status_code, over.json()["code"]) == (400, "bad_form")
    assert len(files_under(served.data / "files")) == 300
    assert served.staged() == []


def test_form_cut_in_the_middle_keeps_what_was_whole_and_shows_nothing_half(
    gateway: Served, place: str, folder: Path
) -> None:
    whole = part("a", bytes(200_000)) + part("b", bytes(400_000))
    head = f"POST {place}/ HTTP/1.1\r\nhost: x\r\ncontent-type: {TYPE['content-type']}\r\n"
    with socket.create_connection(("127.0.0.1", gateway.plain_port)) as sock:
        sock.sendall(f"{head}content-length: {len(whole)}\r\n\r\n".encode() + whole[:450_000])
        wait_until(lambda: folder.exists() and gateway.staged() != [], "the second file did not begin")
    wait_until(lambda: gateway.staged() == [], "the second file is still staged")
    assert files_under(folder) == ["a"]


class Pieces:
    """A body that comes in given pieces."""

    length: int | None = None
    trailers: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._left = list(pieces)

    async def pull(self) -> Batch:
        piece = self._left.pop(0)
        return Batch([piece] if piece else [], len(piece), not self._left)


async def walked(pieces: Sequence[bytes]) -> tuple[dict[str, str], list[tuple[str, bytes]]]:
    form = Form(Pieces(pieces), TYPE["content-type"])
    found = []
    while (each := await form.next_part()) is not None:
        body = b""
        while not each.over:
            body += b"".join((await each.body.pull()).chunks)
        found.append((each.filename, body))
    return form.fields, found


TRICKY = [
    b"",
    b"\r",
    b"\n",
    b"\r\n",
    b"--",
    b"--x-boundar",
    b"\r\n--x-boundar",
    b"-",
    b"\r\n--",
    b"x" * 40,
    b"--x-boundary-",
]


@settings(max_examples=300, deadline=None)
@given(
    bodies=st.lists(st.lists(st.sampled_from(TRICKY) | st.binary(max_size=30), max_size=6).map(b"".join), max_size=4),
    cuts=st.lists(st.integers(0, 600), max_size=12),
)
def test_parts_are_the_same_however_the_body_is_split(bodies: list[bytes], cuts: list[int]) -> None:
    bodies = [body for body in bodies if b"\r\n--x-boundary" not in b"\r\n" + body]
    whole = b"".join([part(None, b"v", name="k"), *(part(str(n), body) for n, body in enumerate(bodies)), END, b"end"])
    ends = sorted({min(cut, len(whole)) for cut in cuts} | {len(whole)})
    pieces = [whole[start:stop] for start, stop in zip([0, *ends], ends, strict=False)]
    assert asyncio.run(walked(pieces)) == ({"k": "v"}, [(str(n), body) for n, body in enumerate(bodies)])


def test_parts_are_the_same_at_every_single_split() -> None:
    whole = part("a", b"\r\n--x-bound\r\n") + part(None, b"v", name="k") + part("b", b"") + END
    told = {"k": "v"}, [("a", b"\r\n--x-bound\r\n"), ("b", b"")]
    for cut in range(len(whole)):
        assert asyncio.run(walked([whole[:cut], whole[cut:]])) == told
    assert asyncio.run(walked([bytes([each]) for each in whole])) == told
