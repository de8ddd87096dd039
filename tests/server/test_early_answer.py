"""An answer that comes before the body is whole: the sender sees it, and the other streams never notice."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from hyperframe.frame import DataFrame, RstStreamFrame

from h2gate.storage.disk import DiskStorage
from tests.conftest import Serve, Served
from tests.server.conftest import Connect, FullStorage
from tests.server.raw import RawClient

SMALL = 100_000
LARGE = 12 << 20


class Case(NamedTuple):
    method: str
    status: int
    code: str
    max_body: int
    storage: type[DiskStorage] | None
    announced: bool = True


CASES = {
    "413": Case("PUT", 413, "too_large", 1 << 19, None),
    "413-in-the-middle": Case("PUT", 413, "too_large", 1 << 19, None, announced=False),
    "507": Case("PUT", 507, "storage_full", 0, FullStorage),
    "404": Case("PATCH", 404, "not_found", 0, None),
}


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def start(serve: Serve, case: Case) -> Served:
    return serve(max_body=case.max_body, **({"open_storage": case.storage} if case.storage else {}))


def check_stored(served: Served) -> None:
    assert sorted(path.name for path in (served.data / "files").iterdir()) == [f"small{n}" for n in range(7)]
    assert {path.stat().st_size for path in (served.data / "files").iterdir()} == {SMALL}
    assert served.staged() == []


def check_problem(case: Case, status: int, document: bytes) -> None:
    assert status == case.status
    problem = json.loads(document)
    assert (problem["status"], problem["code"]) == (case.status, case.code)


@pytest.mark.skipif(not shutil.which("curl"), reason="NOT TESTED: no curl")
@pytest.mark.parametrize("version", ["--http2", "--http1.1"])
def test_curl_sees_the_answer_and_the_other_seven_of_its_uploads_are_stored(
    serve: Serve, case: Case, version: str, tmp_path: Path
) -> None:
    served = start(serve, case)
    (tmp_path / "small").write_bytes(os.urandom(SMALL))
    (tmp_path / "large").write_bytes(bytes(LARGE))
    # A first request alone, so that all others find a connection they can share.
    command = ["curl", "-sSv", "--cacert", str(served.ca), version, f"{served.url}/healthz"]
    command += ["-Z", "--parallel-max", "8"]
    names = [f"small{n}" for n in range(3)] + ["large"] + [f"small{n}" for n in range(3, 7)]
    for name in names:
        body = tmp_path / name[:5]
        method = case.method if name == "large" else "PUT"
        chunked = [] if case.announced or version == "--http2" else ["-H", "transfer-encoding: chunked"]
        command += ["--next", "-sS", "--cacert", str(served.ca), version, "-X", method, *chunked]
        command += ["-T", str(body), "-o", str(tmp_path / f"{name}.answer"), "-w", f"{name} %{{http_code}}\\n"]
        command.append(f"{served.url}/files/{name}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    statuses = dict(line.split() for line in done.stdout.splitlines() if re.fullmatch(r"(small.|large) \d+", line))
    assert statuses == {name: str(case.status) if name == "large" else "201" for name in names}, done.stderr[-3000:]
    check_problem(case, int(statuses["large"]), (tmp_path / "large.answer").read_bytes())
    if version == "--http2":
        assert len(re.findall(r"Connected to|SSL connection using", done.stderr)) == 2, "one connection for all"
    check_stored(served)


@pytest.mark.parametrize("http2", [True, False], ids=["http2", "http1.1"])
def test_httpx_sees_the_answer_and_the_other_seven_of_its_uploads_are_stored(
    serve: Serve, case: Case, http2: bool
) -> None:
    served = start(serve, case)
    trust = ssl.create_default_context(cafile=served.ca)
    # httpx writes the whole body before it looks for an answer, and two of its uploads that both wait for windows may
    # wait forever: so the body fits the first window.
    large = 900_000

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield bytes(large // 9)

    async def send(client: httpx.AsyncClient, name: str) -> httpx.Response:
        url = f"{served.url}/files/{name}"
        if name != "large":
            return await client.put(url, content=os.urandom(SMALL))
        length = {"content-length": str(large)} if case.announced else {}
        return await client.request(case.method, url, content=chunks(), headers=length)

    async def main() -> list[httpx.Response]:
        async with httpx.AsyncClient(http1=not http2, http2=http2, verify=trust, timeout=20) as client:
            await client.get(f"{served.url}/healthz")
            names = ["large", *(f"small{n}" for n in range(7))]
            answers = await asyncio.gather(*(send(client, name) for name in names))
            after = await client.get(f"{served.url}/healthz")
            assert after.status_code == 200
            return answers

    first, *others = asyncio.run(main())
    check_problem(case, first.status_code, first.content)
    assert [answer.status_code for answer in others] == [201] * 7
    check_stored(served)


def refused(client: RawClient) -> int:
    """A stream that is answered early, with its body still open."""
    stream = client.open("PATCH", "/files/missing", ("content-length", str(64 << 20)))
    client.until(lambda: client.answers[stream].ended)
    assert client.answers[stream].status == 404
    return stream


def test_late_frames_on_answered_and_reset_streams_harm_nobody(serve: Serve, connect: Connect) -> None:
    served = serve(drain_bytes=1 << 16, drain_seconds=30)
    client = connect(served)
    upload = client.open("PUT", "/files/neighbour", ("content-length", "2000000"))
    client.push(upload, bytes(1_000_000), end=False)
    drained, cancelled, ended = refused(client), refused(client), refused(client)
    client.data(drained, bytes(200_000))  # over drain_bytes: the gateway resets it
    client.until(lambda: client.answers[drained].reset is not None)
    client.reset(cancelled)
    client.data(ended, b"", end=True)
    finished = client.open("GET", "/healthz", end=True)
    client.answer(finished)
    for stream in (drained, cancelled, ended, finished):
        client.write(DataFrame(stream, bytes(1000)))
        client.write(RstStreamFrame(stream, error_code=8))
    client.write(client.headers(drained, [("late", "trailer")], end=True))
    client.push(upload, bytes(1_000_000))
    assert client.answer(upload).status == 201
    assert client.get("/healthz").status == 200
    assert not client.goaways


def test_after_drain_bytes_the_stream_is_reset_with_no_error(serve: Serve, connect: Connect) -> None:
    client = connect(serve(drain_bytes=4 << 20, drain_seconds=60))
    stream = refused(client)
    answer = client.answers[stream]
    answer.ended = False  # so that `push` goes on
    client.push(stream, bytes(64 << 20))
    assert answer.reset == 0
    print(f"{answer.sent} bytes were taken and dropped before the reset")
    assert 4 << 20 <= answer.sent <= 6 << 20


def test_answer_is_whole_though_more_than_drain_bytes_had_come_before_it(serve: Serve, connect: Connect) -> None:
    """What is dropped together with the answer ends the drain at once: the reset must not overtake the answer."""
    client = connect(serve(max_body=1 << 19, drain_bytes=1 << 14, drain_seconds=60))
    stream = client.open("PUT", "/files/large")
    answer = client.answers[stream]
    client.push(stream, bytes(4 << 20), end=False)
    client.until(lambda: answer.reset is not None)
    assert (answer.status, answer.ended, answer.reset) == (413, True, 0)
    assert json.loads(answer.body)["code"] == "too_large"
    assert client.get("/healthz").status == 200


def test_header_that_is_too_long_is_told_so_before_its_body(serve: Serve, connect: Connect) -> None:
    client = connect(serve(max_header_list=4096))
    stream = client.open("PUT", "/files/a", ("x-long", "y" * 5000))
    answer = client.answers[stream]
    client.until(lambda: answer.reset is not None)
    assert (answer.status, answer.ended, answer.reset) == (431, True, 0)
    assert client.get("/healthz").status == 200


def test_after_drain_seconds_the_stream_is_reset_with_no_error(serve: Serve, connect: Connect) -> None:
    client = connect(serve(drain_seconds=0.2))
    stream = refused(client)
    client.until(lambda: client.answers[stream].reset is not None, seconds=5)
    assert client.answers[stream].reset == 0


def test_a_body_that_ends_in_the_drain_is_not_reset(serve: Serve, connect: Connect) -> None:
    served = serve(drain_seconds=30)
    client = connect(served)
    stream = refused(client)
    client.data(stream, bytes(100_000), end=True)
    client.quiet()
    assert client.answers[stream].reset is None or client.answers[stream].reset == 1  # content-length was another
    assert not any(each.streams for each in served.worker.connections)
