"""tus-js-client: created, paused, resumed, in parts, without a length, taken back."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import Served, Spawn, staged
from tests.front.conftest import wait_until
from tests.tus.conftest import MIB, SIZE, Client, Result

Arrived = Callable[[str, Path], bool]


def went_on_where_it_was_cut(result: Result) -> bool:
    """The bytes before the cut were not sent again."""
    assert 0 < result.resumed_at < SIZE
    first = result.answers.index(result.of("HEAD")[0])
    patches = [answer for answer in result.answers[first:] if answer.method == "PATCH" and answer.status != 409]
    return min(answer.at or 0 for answer in patches) == result.resumed_at


def kept(data: Path) -> dict[str, int]:
    """The sizes of what is unfinished."""
    return {file.name: file.stat().st_size for file in [*staged(data), *(data / "partial").iterdir()]}


def test_whole_file_arrives_with_its_name_and_type(
    client: Client, large: Path, arrived: Arrived, gateway: Served
) -> None:
    result = client.run("whole", large, metadata={"filename": "größer als 1.bin", "filetype": "video/mp4"})
    assert [answer.method for answer in result.answers] == ["POST", "PATCH"]
    assert arrived("größer als 1.bin", large)
    got = httpx.get(f"{gateway.plain_url}/files/größer als 1.bin")
    assert got.headers["content-type"] == "video/mp4"
    assert got.content == large.read_bytes()


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"path": "deep/er/a.bin", "filename": "b.bin"}, "deep/er/a.bin"),
        ({"path": "deep/er/", "filename": "b.bin"}, "deep/er/b.bin"),
    ],
    ids=["of-a-file", "of-a-folder"],
)
def test_path_decides_the_folder(
    client: Client, tmp_path: Path, arrived: Arrived, metadata: dict[str, str], name: str
) -> None:
    (tmp_path / "small").write_bytes(b"small")
    client.run("whole", tmp_path / "small", metadata=metadata)
    assert arrived(name, tmp_path / "small")


def test_empty_file_arrives_by_its_creation(client: Client, tmp_path: Path, arrived: Arrived) -> None:
    (tmp_path / "empty").touch()
    result = client.run("whole", tmp_path / "empty", metadata={"filename": "empty"})
    assert [(answer.method, answer.status) for answer in result.answers] == [("POST", 201)]
    assert arrived("empty", tmp_path / "empty")


def test_file_arrives_with_its_creation(client: Client, large: Path, arrived: Arrived) -> None:
    result = client.run("whole", large, uploadDataDuringCreation=True, metadata={"filename": "a"})
    assert [(answer.method, answer.offset) for answer in result.answers] == [("POST", SIZE)]
    assert arrived("a", large)


def test_post_is_taken_for_the_patch_it_names(client: Client, large: Path, arrived: Arrived) -> None:
    result = client.run("whole", large, overridePatchMethod=True, metadata={"filename": "a"})
    assert [(answer.method, answer.status) for answer in result.answers] == [("POST", 201), ("POST", 204)]
    assert arrived("a", large)


def test_stream_arrives_although_its_length_is_told_last(client: Client, large: Path, arrived: Arrived) -> None:
    result = client.run(
        "whole", large, source="stream", uploadLengthDeferred=True, chunkSize=4 * MIB, metadata={"filename": "a"}
    )
    assert len(result.of("PATCH")) > SIZE // (4 * MIB)
    assert arrived("a", large)


def test_paused_upload_goes_on_where_it_was_cut(client: Client, large: Path, arrived: Arrived) -> None:
    result = client.cut("pause", large, metadata={"filename": "a"})
    assert went_on_where_it_was_cut(result)
    assert arrived("a", large)


@pytest.mark.parametrize("by", ["reload", "url"], ids=["stored-url", "url"])
def test_upload_goes_on_in_another_page_or_process(client: Client, large: Path, arrived: Arrived, by: str) -> None:
    result = client.cut(by, large, metadata={"filename": "a"})
    assert went_on_where_it_was_cut(result)
    assert arrived("a", large)


def test_parts_sent_in_parallel_become_one_file(client: Client, large: Path, arrived: Arrived) -> None:
    result = client.run("whole", large, parallelUploads=3, metadata={"filename": "a"})
    assert [answer.status for answer in result.of("POST")] == [201] * 4
    assert arrived("a", large)


@pytest.mark.parametrize(
    ("client", "scenario"),
    # In Node the URLs of parts are stored while they are sent: what is stored when it is killed is chance.
    [("node", "pause"), ("chromium", "pause"), ("chromium", "reload")],
    indirect=["client"],
)
def test_parts_go_on_where_they_were_cut(client: Client, large: Path, arrived: Arrived, scenario: str) -> None:
    result = client.cut(scenario, large, parallelUploads=3, chunkSize=2 * MIB, metadata={"filename": "a"})
    assert len(result.of("HEAD")) == 3 + len([each for each in result.of("PATCH") if each.status == 409])
    assert 0 < result.resumed_at < SIZE
    assert arrived("a", large)


def test_upload_taken_back_leaves_nothing(client: Client, large: Path, gateway: Served) -> None:
    result = client.cut("terminate", large, metadata={"filename": "a"})
    assert [answer.status for answer in result.of("DELETE")] == [204]
    assert result.of("HEAD")[-1].status in {404, 410}
    assert not gateway.path("a").exists()
    assert kept(gateway.data) == {}


DRAFTS = pytest.mark.parametrize("protocol", ["ietf-draft-03", "ietf-draft-05"])


@DRAFTS
def test_file_arrives_with_its_creation_by_a_draft(
    client: Client, large: Path, arrived: Arrived, protocol: str
) -> None:
    result = client.run("whole", large, endpoint="/files/deep/a", uploadDataDuringCreation=True, protocol=protocol)
    assert [(answer.method, answer.offset) for answer in result.answers] == [("POST", SIZE)]
    assert arrived("deep/a", large)


# In Node a buffer is sent: of a file in several requests this client never says that it is complete.
@DRAFTS
@pytest.mark.parametrize("scenario", ["pause", "reload"])
def test_upload_by_a_draft_goes_on_where_it_was_cut(
    client: Client, large: Path, arrived: Arrived, protocol: str, scenario: str
) -> None:
    result = client.cut(scenario, large, endpoint="/files/deep/a", source="buffer", protocol=protocol)
    assert went_on_where_it_was_cut(result)
    assert arrived("deep/a", large)


@DRAFTS
def test_upload_by_a_draft_taken_back_leaves_nothing(
    client: Client, large: Path, gateway: Served, protocol: str
) -> None:
    result = client.cut("terminate", large, endpoint="/files/a", protocol=protocol)
    assert [answer.status for answer in result.of("DELETE")] == [204]
    assert result.of("HEAD")[-1].status in {404, 410}
    assert not gateway.path("a").exists()
    assert kept(gateway.data) == {}


@pytest.mark.parametrize("client", ["chromium"], indirect=True)
def test_upload_goes_on_after_the_gateway_was_killed(client: Client, large: Path, spawn: Spawn) -> None:
    killed = spawn()
    client = client.facing(killed.url)
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(
            client.run, "whole", large, pace=16 * MIB, retryDelays=[100] * 100, metadata={"filename": "a"}
        )
        wait_until(lambda: sum(kept(killed.data).values()) > 4 * MIB, "nothing arrives")
        killed.signal(signal.SIGKILL)
        killed.wait()
        spawn(listen=killed.urls[0].removeprefix("https://"))
        result = sending.result()
    assert went_on_where_it_was_cut(result)
    assert (killed.data / "files" / "a").read_bytes() == large.read_bytes()
