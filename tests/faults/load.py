"""Uploads of every kind over one HTTP/2 connection, and what was promised of them.

Each answer is kept, and whatever was acknowledged can be asked for again.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import random
import ssl
import tarfile
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field

import httpx

from h2gate.client import Transport
from tests.faults.faults import Gateway

N_LARGE, N_SMALL, N_RESUMABLE = 20, 30, 4
LARGE_BYTES, SMALL_BYTES, RESUMABLE_BYTES = 600_001, 10_007, 1_400_003
_PIECE_BYTES = 64 << 10
_PATIENCE_SECONDS = 100.0


@dataclass(frozen=True)
class Answer:
    """What somebody was told. `code` is "" for what went well, and for HEAD, which has no document."""

    kind: str
    status: int
    code: str
    retry_after: str


@dataclass
class Resumable:
    """An upload that is sent in two requests, and again from where it is, until it is whole."""

    path: str
    body: bytes
    is_moving: asyncio.Event
    url: str = ""
    told: int = 0
    """The largest offset that anybody was told."""
    is_whole: bool = False

    def heard(self, _: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """An interim answer."""
        found = {bytes(name).lower(): bytes(value).decode() for name, value in headers}
        self.url = found.get(b"location", self.url)
        self.told = max(self.told, int(found.get(b"upload-offset", 0)))
        if self.told:
            self.is_moving.set()


@dataclass
class Load:
    """One connection. `acknowledged` has the content of every file that was said to be stored, by its path."""

    gateway: Gateway
    http: httpx.AsyncClient = field(init=False)
    transport: Transport = field(init=False)
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    unanswered: dict[str, bytes] = field(default_factory=dict)
    """What was appended to a file by a request that nobody has answered."""
    answers: list[Answer] = field(default_factory=list)
    resumables: list[Resumable] = field(default_factory=list)
    is_moving: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when somebody was told where a resumable upload is that is not whole yet, while others are under way."""
    _n_paths: int = 0

    async def __aenter__(self) -> Load:
        trust = ssl.create_default_context(cafile=self.gateway.process.ca)
        self.transport = Transport(verify=trust, http="2", silence_seconds=_PATIENCE_SECONDS)
        url = self.gateway.process.url
        self.http = httpx.AsyncClient(transport=self.transport, base_url=url, timeout=_PATIENCE_SECONDS)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.http.aclose()
        assert self.transport.connections_made <= 1, "nothing that failed took the connection with it"

    async def round(self, n_large: int = N_LARGE, n_small: int = N_SMALL, n_resumable: int = N_RESUMABLE) -> None:
        """So many of each at once, an append and the reading of a file."""
        work: list[Awaitable[object]] = [self._put("large", LARGE_BYTES) for _ in range(n_large)]
        work += [self._put("small", SMALL_BYTES) for _ in range(n_small)]
        new = [Resumable(self._path("r"), self._content(RESUMABLE_BYTES), self.is_moving) for _ in range(n_resumable)]
        self.resumables += new
        work += [self._send_twice(each) for each in new]
        work.append(self._bundle(n_small))
        if "/files/log" in self.acknowledged:
            work += [self._append(), self._get("/files/log")]
        await asyncio.gather(*work)

    async def begin(self) -> None:
        """The file that is read and appended to, before any trouble."""
        await self._put("small", 5_000, "/files/log")

    async def finish(self) -> None:
        """Whatever is not whole is sent again until it is: the trouble is over."""
        for each in self.resumables:
            if not each.is_whole:
                await self._send_twice(each)
            assert each.is_whole, each.path

    async def check(self) -> None:
        """All that was acknowledged is there, and is what was sent. Only an append that was not answered may be there
        as well, whole. Behind it may be what one has written whose record could not be: nobody is shown that."""
        for path, body in self.acknowledged.items():
            found = (self.gateway.data / path[1:]).read_bytes()
            answer = await self.http.head(path)
            shown = found[: int(answer.headers["content-length"])]
            assert shown in (body, body + self.unanswered.get(path, b"")), path
            digest = base64.b64encode(hashlib.sha256(shown).digest()).decode()
            assert answer.headers["repr-digest"] == f"sha-256=:{digest}:", path

    def told(self, kind: str) -> set[tuple[int, str]]:
        """The answers to requests of a kind."""
        return {(each.status, each.code) for each in self.answers if each.kind == kind}

    def _path(self, kind: str) -> str:
        self._n_paths += 1
        return f"/files/{kind}{self._n_paths}"

    def _content(self, n_bytes: int) -> bytes:
        return random.Random(self._n_paths).randbytes(n_bytes)  # noqa: S311 - not a secret

    def _note(self, kind: str, answer: httpx.Response) -> bool:
        code = "" if answer.is_success or not answer.content else str(answer.json()["code"])
        self.answers.append(Answer(kind, answer.status_code, code, answer.headers.get("retry-after", "")))
        return answer.is_success

    async def _put(self, kind: str, n_bytes: int, path: str = "") -> None:
        path = path or self._path(kind[0])
        body = self._content(n_bytes)
        answer = await self.http.put(path, content=_paced(body), headers={"content-length": str(n_bytes)})
        if self._note(kind, answer):
            self.acknowledged[path] = body

    async def _bundle(self, n_files: int) -> None:
        """A tar archive of so many small files; a line that tells of one is an answer."""
        folder, sent = self._path("b"), {}
        with io.BytesIO() as body, tarfile.open(fileobj=body, mode="w") as archive:
            for number in range(n_files):
                sent[f"{folder}/{number}"] = content = self._content(SMALL_BYTES + number)
                member = tarfile.TarInfo(str(number))
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            archive.close()
            data = body.getvalue()
        fields = {"content-type": "application/x-tar"}
        answer = await self.http.put(f"{folder}/", content=_paced(data), headers=fields)
        if not answer.is_success:
            self._note("bundle", answer)
            return
        for line in map(json.loads, answer.text.splitlines()):
            if "name" in line:
                self.answers.append(Answer("bundle", line["status"], line.get("code", ""), ""))
                if line["status"] == 201:
                    self.acknowledged[line["path"]] = sent[line["path"]]

    async def _append(self) -> None:
        more = self._content(50_000)
        self.unanswered["/files/log"] = more
        answer = await self.http.patch("/files/log", content=more)
        del self.unanswered["/files/log"]
        if self._note("append", answer):
            self.acknowledged["/files/log"] += more

    async def _get(self, path: str) -> None:
        before = self.acknowledged[path]
        answer = await self.http.get(path)
        if self._note("get", answer):
            assert answer.content in (before, self.acknowledged[path]) or answer.content.startswith(before)

    async def _send_twice(self, upload: Resumable) -> None:
        if not upload.url:
            await self._send(upload, "PUT", upload.path, 0, len(upload.body) // 2)
        if upload.url:
            await self._go_on(upload)

    async def _go_on(self, upload: Resumable) -> None:
        answer = await self.http.head(upload.url, headers={"upload-draft-interop-version": "8"})
        if answer.headers.get("upload-complete") == "?1":
            upload.is_whole = True
            self.acknowledged[upload.path] = upload.body
            return
        if not self._note("head", answer):
            return
        offset = int(answer.headers["upload-offset"])
        assert offset >= upload.told, "an offset that was told fell"
        upload.told = offset
        await self._send(upload, "PATCH", upload.url, offset, len(upload.body))

    async def _send(self, upload: Resumable, method: str, url: str, start: int, stop: int) -> None:
        fields = {"upload-draft-interop-version": "8", "content-length": str(stop - start)}
        fields["upload-complete"] = "?1" if stop == len(upload.body) else "?0"
        if method == "PATCH":
            fields |= {"upload-offset": str(start), "content-type": "application/partial-upload"}
        heard = {"h2gate.informational": upload.heard}
        body = _paced(upload.body[start:stop])
        answer = await self.http.request(method, url, content=body, headers=fields, extensions=heard)
        if self._note("resumable", answer):
            upload.told = max(upload.told, stop)
            self.is_moving.set()
            upload.url = upload.url or answer.headers["location"]
            if stop == len(upload.body):
                upload.is_whole = True
                self.acknowledged[upload.path] = upload.body


async def _paced(body: bytes) -> AsyncIterator[bytes]:
    """Pieces with turns between them, so that all uploads are under way together."""
    for at in range(0, len(body), _PIECE_BYTES):
        yield body[at : at + _PIECE_BYTES]
        await asyncio.sleep(0.005)
