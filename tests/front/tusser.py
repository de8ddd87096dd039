"""A client of tus that says exactly what a test wants: `tus.create(…)`, `tus.patch(url, offset, body)`, …

Fields are keywords with underscores: `upload_length=5`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

VERSION = {"tus-resumable": "1.0.0"}
BYTES = "application/offset+octet-stream"


def encoded(metadata: Mapping[str, str | bytes]) -> str:
    """`Upload-Metadata`."""
    pairs = {key: value.encode() if isinstance(value, str) else value for key, value in metadata.items()}
    return ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in pairs.items())


class Tus:
    def __init__(self, http: httpx.Client, place: str = "/files/x") -> None:
        self.http = http
        self.folder = place.removeprefix("/files/")

    def request(
        self, method: str, url: str, content: bytes | Iterator[bytes] | None = None, **fields: Any
    ) -> httpx.Response:
        """A request that names the version, unless `tus_resumable` says something else; None leaves it out."""
        given = VERSION | {name.replace("_", "-"): value for name, value in fields.items()}
        lines = {name.encode(): str(value).encode("latin1") for name, value in given.items() if value is not None}
        return self.http.request(method, url, content=content, headers=lines)

    def post(self, content: bytes | None = None, **fields: Any) -> httpx.Response:
        return self.request("POST", "/tus/", content, **fields)

    def create(self, length: int | None = None, *, name: str = "a", **fields: Any) -> str:
        """The URL of a new upload of `name` in the folder of this test."""
        if length is not None:
            fields["upload_length"] = length
        fields.setdefault("upload_metadata", self.named(name))
        answer = self.post(**fields)
        assert answer.status_code == 201, answer.text
        return answer.headers["location"]

    def named(self, name: str) -> str:
        """The metadata that put a file into the folder of this test."""
        return encoded({"path": f"{self.folder}/{name}"})

    def part(self, content: bytes = b"", length: int | None = None, **fields: Any) -> str:
        """The URL of a part of a concatenation; with its content, unless a length alone is given."""
        if not fields.get("upload_defer_length"):
            fields["upload_length"] = len(content) if length is None else length
        if content:
            fields["content_type"] = BYTES
        answer = self.post(content, upload_concat="partial", **fields)
        assert answer.status_code == 201, answer.text
        return answer.headers["location"]

    def patch(self, url: str, offset: object, content: bytes, **fields: Any) -> httpx.Response:
        return self.request("PATCH", url, content, **{"content_type": BYTES, "upload_offset": offset} | fields)

    def head(self, url: str) -> httpx.Response:
        return self.request("HEAD", url)

    def offset(self, url: str) -> int:
        answer = self.head(url)
        assert answer.status_code == 200
        return int(answer.headers["upload-offset"])

    def get(self, name: str = "a") -> httpx.Response:
        """The file that an upload has become."""
        return self.http.get(f"/files/{self.folder}/{name}")


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and stable code of an error."""
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["tus-resumable"] == "1.0.0"
    return answer.status_code, answer.json()["code"]
