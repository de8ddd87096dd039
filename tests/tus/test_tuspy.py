"""tuspy: uploads with checksums, resumed by their URL, over cleartext and TLS."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed
from tusclient.storage.filestorage import FileStorage
from tusclient.uploader import Uploader

from tests.conftest import Served
from tests.tus.conftest import MIB, SIZE

Arrived = Callable[[str, Path], bool]
CHUNK = 4 * MIB


@pytest.fixture(params=["cleartext", "tls"])
def client(request: pytest.FixtureRequest, gateway: Served, monkeypatch: pytest.MonkeyPatch) -> TusClient:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(gateway.ca))
    return TusClient((gateway.plain_url if request.param == "cleartext" else gateway.url) + "/tus/")


@pytest.fixture
def opened(large: Path) -> Iterator[IO[bytes]]:
    with large.open("rb") as file:
        yield file


@pytest.mark.parametrize("chunk_size", [CHUNK, SIZE], ids=["chunks", "one-request"])
@pytest.mark.parametrize("upload_checksum", [True, False], ids=["checksum", "no-checksum"])
def test_file_arrives(
    client: TusClient, opened: IO[bytes], large: Path, arrived: Arrived, upload_checksum: bool, chunk_size: int
) -> None:
    client.uploader(
        file_stream=opened, metadata={"filename": "a"}, chunk_size=chunk_size, upload_checksum=upload_checksum
    ).upload()
    assert arrived("a", large)


def test_upload_is_resumed_by_its_url(client: TusClient, opened: IO[bytes], large: Path, arrived: Arrived) -> None:
    first = client.uploader(file_stream=opened, metadata={"filename": "a"}, chunk_size=CHUNK, upload_checksum=True)
    first.upload(stop_at=2 * CHUNK + 1)
    second = client.uploader(file_stream=opened, url=first.url, upload_checksum=True)
    assert second.offset == 2 * CHUNK + 1
    second.upload()
    assert arrived("a", large)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # tuspy opens the path again for each request
def test_upload_is_resumed_by_its_stored_url(client: TusClient, large: Path, arrived: Arrived, tmp_path: Path) -> None:
    offsets = []
    for stop_at in (CHUNK, SIZE):
        storage = FileStorage(str(tmp_path / "stored.json"))
        uploader = client.uploader(str(large), metadata={"filename": "a"}, store_url=True, url_storage=storage)
        offsets.append(uploader.offset)
        uploader.upload(stop_at=stop_at)
        storage.close()
    assert offsets == [0, CHUNK]
    assert arrived("a", large)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_chunk_that_is_not_what_its_checksum_says_is_refused_and_can_be_sent_again(
    client: TusClient, opened: IO[bytes], large: Path, arrived: Arrived, algorithm: str
) -> None:
    class Wrong(Uploader):  # type: ignore[misc]
        CHECKSUM_ALGORITHM_PAIR = (algorithm, lambda chunk: hashlib.new(algorithm, chunk[1:]))

    class Right(Uploader):  # type: ignore[misc]
        CHECKSUM_ALGORITHM_PAIR = (algorithm, lambda chunk: hashlib.new(algorithm, chunk))

    right = Right(client=client, file_stream=opened, metadata={"filename": "a"}, upload_checksum=True)
    right.upload(stop_at=CHUNK)
    wrong = Wrong(client=client, file_stream=opened, url=right.url, upload_checksum=True)
    with pytest.raises(TusUploadFailed) as refused:
        wrong.upload()
    assert refused.value.status_code == 460
    assert right.get_offset() == CHUNK
    right.upload()
    assert arrived("a", large)


def test_empty_file_arrives(client: TusClient, tmp_path: Path, arrived: Arrived) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as file:
        client.uploader(file_stream=file, metadata={"filename": "empty"}).upload()
    assert arrived("empty", tmp_path / "empty")


def test_file_arrives_from_asyncio(gateway: Served, opened: IO[bytes], large: Path, arrived: Arrived) -> None:
    client = TusClient(f"{gateway.plain_url}/tus/")
    uploader = client.async_uploader(
        file_stream=opened, metadata={"filename": "a"}, chunk_size=MIB, upload_checksum=True
    )
    asyncio.run(uploader.upload())
    assert arrived("a", large)
