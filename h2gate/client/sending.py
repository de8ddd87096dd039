"""One file on its way to the gateway, over as many attempts as it takes: does what `resuming` says.

Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload, interop version 8), but any server that takes PUT will
do: to one that knows nothing of resuming the fields mean nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from h2gate.client.asking import Asker
from h2gate.client.begun import Begun, uploads_at
from h2gate.client.coded import CodedSource
from h2gate.client.compressing import Compression
from h2gate.client.exchange import INFORMATIONAL, SENT, TRAILERS
from h2gate.client.failures import FileChanged, ReadTimedOut
from h2gate.client.journal import KEEP_SECONDS, Claim
from h2gate.client.listener import Item, Listener, Outcome
from h2gate.client.local import in_thread
from h2gate.client.resuming import Resuming, Step
from h2gate.client.source import FileSource, Source
from h2gate.errors import (
    CompletedUpload,
    ConnectFailed,
    DigestMismatch,
    ExpandsTooMuch,
    Forbidden,
    GateError,
    Gone,
    InconsistentLength,
    NotFound,
    OffsetConflict,
    Superseded,
    TooLarge,
    UnsupportedMediaType,
)
from h2gate.fields import boolean, digest_field, digests, http_date, integer

_VERSION = {"upload-draft-interop-version": "8"}
LOOK_FOR_BYTES = 8 << 20
"""From so many on it is worth asking for an upload that an earlier run began and nobody remembers."""


class Sending:
    """A `retrying.Move`. `headers` describe the file."""

    on_sent: Callable[[], None] | None = None

    def __init__(
        self,
        item: Item,
        source: Source,
        headers: dict[str, str],
        asker: Asker,
        listener: Listener,
        *,
        digest: bool,
        claim: Claim | None,
        compression: Compression | None = None,
        begun: Begun | None = None,
    ) -> None:
        """`digest`: send it behind the file. `claim` is None where it is not to be remembered, or another process sends
        the same file. With `compression` the source is a file, which may be sent with a coding. `begun`: what
        is known of uploads that an earlier run began."""
        self.item = item
        self._source = source
        self._headers = headers
        self._asker = asker
        self._listener = listener
        self._digest = digest
        self._claim = claim
        self._compression = compression
        self._kept: int | None = None
        """Bytes that were there before this run."""
        remembered = str(claim.entry.get("upload", "")) if claim is not None else ""
        find = claim is not None and claim.is_kept and not remembered and (source.length or 0) >= LOOK_FOR_BYTES
        self._resuming = Resuming(url=remembered, find=find)
        self._begun = begun if find else None  # for the first look only: it does not know what this run begins
        if claim is None or source.length is None:
            self._resuming.cannot_find()
        self._saving: asyncio.Task[None] | None = None

    def whole(self) -> Sending:
        """Send it without a word of resuming."""
        self._resuming.plain()
        return self

    @property
    def at(self) -> int:
        return self._resuming.offset

    async def attempt(self) -> Outcome:
        await self._choose_coding()
        await self._look()
        try:
            while True:
                match self._resuming.step:
                    case Step.FIND:
                        await self._find()
                    case Step.ASK:
                        await self._ask()
                    case Step.CHECK:
                        if (outcome := await self._check()) is not None:
                            return outcome
                    case _:
                        if (outcome := await self._send()) is not None:
                            return outcome
        except GateError as error:
            if error.retry:
                self._resuming.broke()
            raise

    async def close(self, outcome: Outcome | None) -> None:
        await self._source.close()
        if outcome is not None and isinstance(outcome.error, FileChanged):
            await self._cancel()
        if self._claim is not None:
            if self._claim.stays(outcome):
                self._listener.left(self.item)
            await in_thread(self._claim.release)

    # -- before it

    async def _choose_coding(self) -> None:
        """Once. How long it is with a coding nobody knows, so it cannot be found by its length."""
        compression, self._compression = self._compression, None
        if compression is not None and isinstance(self._source, FileSource) and self.item.local is not None:
            self._source = await compression.source(self.item.url, self.item.local, self._source)
            if self._source.coding:
                self._resuming.cannot_find()

    async def _without_coding(self, source: CodedSource) -> None:
        """The gateway does not take the coding, or it makes too much of too little."""
        await self._cancel()
        self._source = source.plain
        self._resuming.anew()

    async def _look(self) -> None:
        """An upload of what the file was before is of no use."""
        await self._source.look()
        entry = self._claim.entry if self._claim is not None else {}
        if self._kept is None and entry and any(entry.get(k) != v for k, v in self._source.known.items()):
            await self._cancel()
            self._resuming.anew()
        self._kept = self._kept or 0

    async def _find(self) -> None:
        """Any other answer than a list is no list."""
        begun, self._begun = self._begun, None
        if begun is not None and not await begun.may_be(self.item.url):
            self._resuming.found("")
            return
        try:
            found = await uploads_at(self._asker, self.item.url)
            urls = [each["url"] for each in found if each["length"] == self._source.length and not each["complete"]]
        except GateError as error:
            if not isinstance(error, ReadTimedOut) and (isinstance(error, ConnectFailed) or error.status == 503):
                raise
            self._resuming.cannot_find()
        except (ValueError, KeyError, TypeError):
            self._resuming.cannot_find()
        else:
            self._resuming.found(self._upload_url(urls[0]) if urls else "")

    def _upload_url(self, location: object) -> str:
        """Where an upload is; "" if that is on another server, which shall not get the file."""
        found = urljoin(self.item.url, str(location))
        return found if urlsplit(found)[:2] == urlsplit(self.item.url)[:2] else ""

    async def _ask(self) -> None:
        resuming = self._resuming
        wanted = {} if resuming.is_sure else {"want-repr-digest": "sha-256=9"}
        try:
            fields = (await self._asker.ask("HEAD", resuming.url, {**_VERSION, **wanted})).headers
        except GateError as error:
            error.retry = _again(error)
            if error.retry:
                raise
            resuming.anew()
            return
        offset, complete = integer(fields.get("upload-offset")), boolean(fields.get("upload-complete"))
        if offset is None or not await self._is_same(fields, offset):
            resuming.anew()
            return
        if not resuming.is_sure:
            resuming.is_sure, self._kept = True, offset
        resuming.asked(offset, complete=bool(complete))

    async def _is_same(self, fields: httpx.Headers, offset: int) -> bool:
        """Whether the bytes that are there are those of the file. What was only found must prove it."""
        if self._resuming.is_sure or self.item.size is None:
            return True
        if self._source.length is not None and offset > self._source.length:
            return False
        there = digests(fields.get("repr-digest", ""), "Repr-Digest").get("sha-256")
        here = await self._source.digest_at(offset)
        is_same = there == here if there is not None else self._resuming.is_mine
        if not is_same and self._resuming.is_mine:
            await self._cancel()
        return is_same

    # -- the bytes

    async def _send(self) -> Outcome | None:
        """None: there is something else to do first."""
        step, offset = self._resuming.step, self._resuming.offset if self._resuming.step is Step.APPEND else 0
        try:
            response = await self._request(step, offset)
        except (NotFound, Gone):
            if step is not Step.APPEND:
                raise
            self._resuming.anew()
        except (UnsupportedMediaType, ExpandsTooMuch):
            if not isinstance(self._source, CodedSource):
                raise
            await self._without_coding(self._source)
        except TooLarge as error:
            limits = _limits(str(error.members.get("upload_limit", "")))
            if "max-append-size" not in limits or self._source.n_bytes > limits.get("max-size", self._source.n_bytes):
                raise
            await self._cancel()
            self._resuming.plain()
        except (CompletedUpload, InconsistentLength):
            if step is not Step.APPEND or self._resuming.step is not step:
                raise
            self._resuming.broke()
        except Forbidden:
            if (outcome := await self._there()) is None:
                raise
            return outcome
        except GateError as error:
            error.retry = _again(error)
            raise
        else:
            if boolean(response.headers.get("upload-complete")) is not False:
                return self._done(response.headers, response.status_code, await self._source.file_digest())
            self._resuming.broke()
        return None

    async def _request(self, step: Step, offset: int) -> httpx.Response:
        if offset:
            await self._hashed(offset)
        body = self._source.body(offset)
        headers = self._fields(step, offset)
        extensions: dict[str, Any] = {SENT: self.on_sent}
        if step is not Step.PLAIN:
            extensions[INFORMATIONAL] = self._told
        if self._digest:
            headers["trailer"] = "repr-digest, unencoded-digest" if self._source.coding else "repr-digest"
            extensions[TRAILERS] = self._last_words
        self._listener.resumed(self.item, self._source.read_from(offset))
        method, url = ("PATCH", self._resuming.url) if step is Step.APPEND else ("PUT", self.item.url)
        try:
            return await self._asker.ask(method, url, headers, stream=body, extensions=extensions)
        finally:
            if self._saving is not None:
                await asyncio.shield(self._saving)

    def _last_words(self) -> list[tuple[str, str]]:
        found = [("repr-digest", digest_field("sha-256", self._source.digest))]
        if self._source.coding:
            found.append(("unencoded-digest", digest_field("sha-256", self._source.unencoded)))
        return found

    async def _hashed(self, offset: int) -> None:
        """Now, while nobody waits for bytes."""
        if self.item.size is not None:
            await self._source.digest_at(offset)

    def _fields(self, step: Step, offset: int) -> dict[str, str]:
        if step is Step.APPEND:
            headers = {"content-type": "application/partial-upload", "upload-offset": str(offset)}
        else:
            headers = dict(self._headers) | ({"content-encoding": self._source.coding} if self._source.coding else {})
            if self._source.modified_ns is not None:
                headers["last-modified"] = http_date(self._source.modified_ns)
        if step is not Step.PLAIN:
            headers |= {"upload-complete": "?1", **_VERSION}
        if self._source.length is not None:
            return headers | {"content-length": str(self._source.length - offset)}
        return headers | {"transfer-encoding": "chunked"}

    def _told(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """104 Upload Resumption Supported."""
        if status != 104:
            return
        fields = httpx.Headers(list(headers))
        is_new = "location" in fields and not self._resuming.url
        self._resuming.told(
            self._upload_url(fields["location"]) if "location" in fields else "",
            integer(fields.get("upload-offset")) or 0,
        )
        self._source.durable(self._resuming.offset)
        if is_new and self._resuming.url and self._claim is not None:
            self._saving = asyncio.create_task(self._remember(fields.get("upload-limit", "")))

    async def _remember(self, limits: str) -> None:
        """For another run of the same command. That it cannot be written down is no reason not to send."""
        assert self._claim is not None
        now, age = time.time(), _limits(limits).get("max-age", KEEP_SECONDS)
        entry = {"upload": self._resuming.url, "url": self.item.url, "path": self.item.name, "started": now}
        entry |= {"expires": now + age, **self._source.known}
        try:
            await in_thread(self._claim.write, entry)
        except OSError as error:
            self._listener.noted(f"{self.item.name}: another run could not go on with it: {error}")

    # -- behind it

    async def _check(self) -> Outcome | None:
        """All had come and the answer was lost."""
        try:
            fields = (await self._asker.ask("HEAD", self.item.url, {})).headers
        except NotFound:
            self._resuming.anew()
            return None
        stated = digests(fields.get("repr-digest", ""), "Repr-Digest").get("sha-256")
        digest = await self._source.file_digest()
        if stated == digest:
            return self._done(fields, 201, digest)
        self._resuming.anew()
        return None

    async def _there(self) -> Outcome | None:
        """Who may create and not replace is refused what is there; that is no failure where it is this very file, of an
        earlier run or of an answer that was lost."""
        size = self.item.size
        if size is None or not await self._asker.holds(self.item.url, size, self._source.file_digest):
            return None
        await self._cancel()
        return Outcome(self.item, size, sha256=(await self._source.file_digest()).hex(), status=200)

    def _done(self, fields: httpx.Headers, status: int, digest: bytes) -> Outcome:
        stated = digests(fields.get("repr-digest", ""), "Repr-Digest").get("sha-256")
        if stated is not None and stated != digest:
            raise DigestMismatch(f"{self.item.url}: what the gateway stored does not have the digest of what was sent")
        kept, receipt = self._kept or 0, fields.get("upload-receipt", "")
        return Outcome(self.item, self._source.n_bytes, sha256=digest.hex(), status=status, kept=kept, receipt=receipt)

    async def _cancel(self) -> None:
        """Nobody is going to go on with it; if that cannot be told it will expire."""
        if self._resuming.url and self._resuming.is_mine:
            with suppress(GateError):
                await self._asker.ask("DELETE", self._resuming.url, {})


def _limits(field: str) -> dict[str, int]:
    """`Upload-Limit`."""
    parts = [part.strip().partition("=") for part in field.split(",")]
    return {name: int(value) for name, _, value in parts if value.isascii() and value.isdigit()}


def _again(error: GateError) -> bool:
    """Whether an upload may be gone on with after it. Another request may have got in between (409), or have it."""
    return error.retry or error.status in (500, 502, 503, 504) or isinstance(error, OffsetConflict | Superseded)
