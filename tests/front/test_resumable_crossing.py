"""One upload, several protocols: what one begins the others go on with, cuts in between, and the digest is right."""

from __future__ import annotations

import base64
import itertools
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.conftest import Served
from tests.front.conftest import wait_until
from tests.front.test_resumable import APPEND, begin, digest_of

BODY = os.urandom(1_500_007)
TUS = {"tus-resumable": "1.0.0"}
TUS_APPEND = {**TUS, "content-type": "application/offset+octet-stream"}

Begin = Callable[[httpx.Client, str], str]
Way = Callable[[str, int], tuple[str, dict[str, str]]]
"""URL and fields of an append, by id and offset."""


def by_draft(http: httpx.Client, path: str) -> str:
    """The id of a new upload."""
    created = begin(http, path, upload_length=str(len(BODY)), repr_digest=digest_of(BODY))
    return created.headers["location"].removeprefix("/uploads/")


def by_tus(http: httpx.Client, path: str) -> str:
    name = base64.b64encode(path.removeprefix("/files/").encode()).decode()
    headers = {**TUS, "upload-length": str(len(BODY)), "upload-metadata": f"filename {name}"}
    created = http.post("/tus/", headers=headers)
    assert created.status_code == 201, created.text
    return created.headers["location"].rpartition("/")[2]


def cut_append(http: httpx.Client, partial: Path, url: str, headers: dict[str, str], content: bytes) -> None:
    """An append whose sender fails in the middle, when something of it has arrived in `partial`."""

    class Gone(Exception):
        pass

    def pieces() -> object:
        yield content
        wait_until(lambda: partial.stat().st_size > 0, "nothing of it came")
        raise Gone

    announced = {"content-length": str(len(content) + 1)}
    with pytest.raises(Gone):
        http.patch(url, content=pieces(), headers=headers | announced)  # type: ignore[arg-type]


def offset_by_draft(http: httpx.Client, upload_id: str) -> int:
    return int(http.head(f"/uploads/{upload_id}").headers["upload-offset"])


def offset_by_tus(http: httpx.Client, upload_id: str) -> int:
    return int(http.head(f"/tus/{upload_id}", headers=TUS).headers["upload-offset"])


def append_by_draft(upload_id: str, offset: int) -> tuple[str, dict[str, str]]:
    complete = {"upload-complete": "?0"}
    return f"/uploads/{upload_id}", {**APPEND, **complete, "upload-offset": str(offset)}


def append_by_tus(upload_id: str, offset: int) -> tuple[str, dict[str, str]]:
    return f"/tus/{upload_id}", {**TUS_APPEND, "upload-offset": str(offset)}


def append_plainly(upload_id: str, offset: int) -> tuple[str, dict[str, str]]:
    return f"/uploads/{upload_id}", {"upload-offset": str(offset)}


WAYS = [append_by_draft, append_by_tus, append_plainly]


@pytest.mark.parametrize("create", [by_draft, by_tus])
@pytest.mark.parametrize("order", [*itertools.permutations(WAYS)], ids=lambda order: order[0].__name__)
def test_whoever_goes_on_with_it_finds_all_that_was_acknowledged(
    http: httpx.Client, place: str, folder: Path, create: Begin, order: tuple[Way, ...]
) -> None:
    upload_id = create(http, f"{place}/a")
    offset = 0
    for way in order:
        assert offset_by_tus(http, upload_id) == offset_by_draft(http, upload_id) == offset
        url, headers = way(upload_id, offset)
        assert http.patch(url, content=BODY[offset : offset + 300_001], headers=headers).status_code == 204
        offset += 300_001
    last = order[-1]
    url, headers = last(upload_id, offset)
    headers |= {"upload-complete": "?1"} if last is append_by_draft else {}
    done = http.patch(url, content=BODY[offset:], headers=headers)
    assert done.status_code == (204 if last is append_by_tus else 201)
    assert (folder / "a").read_bytes() == BODY
    assert http.head(f"{place}/a").headers["repr-digest"] == digest_of(BODY)
    assert http.get(f"/uploads/{upload_id}").json()["state"] == "complete"


@pytest.mark.parametrize(("cut", "rest"), [(append_by_draft, append_by_tus), (append_by_tus, append_by_draft)])
def test_what_one_protocol_was_cut_in_another_ends(
    http: httpx.Client,
    trust: ssl.SSLContext,
    gateway: Served,
    place: str,
    folder: Path,
    cut: Way,
    rest: Way,
) -> None:
    upload_id = by_draft(http, f"{place}/a")
    with httpx.Client(http2=False, verify=trust, base_url=http.base_url) as other:
        cut_append(other, gateway.data / "partial" / upload_id, *cut(upload_id, 0), BODY[:700_001])
    wait_until(lambda: http.get(f"/uploads/{upload_id}").json()["offset"] > 0, "nothing of it is kept")
    offset = offset_by_draft(http, upload_id)
    assert 0 < offset <= 700_001
    url, headers = rest(upload_id, offset)
    headers |= {"upload-complete": "?1"} if rest is append_by_draft else {}
    assert http.patch(url, content=BODY[offset:], headers=headers).status_code in (201, 204)
    assert http.head(f"{place}/a").headers["repr-digest"] == digest_of(BODY)
    assert (folder / "a").read_bytes() == BODY
