"""One file on its way from the gateway: when the answer breaks off, the rest is asked for (Range and If-Range)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import httpx

from h2gate.client.asking import Asker, refusal
from h2gate.client.failures import LocalFile
from h2gate.client.journal import KEEP_SECONDS, Claim
from h2gate.client.listener import Item, Listener, Outcome
from h2gate.client.local import PIECE, in_thread, local_failure
from h2gate.client.pacing import EXPECTED
from h2gate.client.sink import FileSink, Sink, StandardOutput
from h2gate.errors import DigestMismatch, RangeNotSatisfiable
from h2gate.fields import digests, parse_date

RESUMABLE_BYTES = 1 << 20
"""Files below it are fetched again."""
_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


class Fetching:
    """A `retrying.Move`. `claim` is None where another process fetches this file to the same place, or it is small."""

    on_sent: Callable[[], None] | None = None

    def __init__(self, item: Item, asker: Asker, listener: Listener, claim: Claim | None) -> None:
        self.item = item
        self._asker = asker
        self._listener = listener
        self._claim = claim
        self._etag = str(claim.entry.get("etag", "")) if claim is not None else ""
        self._sink: Sink | None = None
        self._kept = 0

    @property
    def at(self) -> int:
        return self._sink.n_bytes if self._sink is not None else 0

    async def attempt(self) -> Outcome:
        sink = self._sink = self._sink or await self._begun()
        if sink.n_bytes and not self._etag:
            await self._restart(sink)
        left = {EXPECTED: self.item.size - sink.n_bytes if self.item.size is not None else None}
        request = self._asker.request("GET", self.item.url, self._fields(sink), extensions=left)
        response = await self._asker.stream(request)
        try:
            await self._check(response, sink)
            await self._remember(response, sink)
            await self._save(response, sink)
            return await self._done(response, sink)
        finally:
            await response.aclose()

    async def _begun(self) -> Sink:
        if self.item.local is None:
            return StandardOutput()
        sink = FileSink(self.item.local, alone=self._claim is not None)
        if self._etag:
            try:
                await sink.go_on()
            except OSError:  # it is gone, or was never made
                self._etag = ""
        self._kept = sink.n_bytes
        return sink

    def _fields(self, sink: Sink) -> dict[str, str]:
        fields = {"accept-encoding": "identity"}
        if sink.n_bytes:  # from the last byte that is there: of none that is left there is no range
            fields |= {"range": f"bytes={sink.n_bytes - 1}-", "if-range": self._etag}
        return fields

    async def _restart(self, sink: Sink) -> None:
        """Raises `LocalFile` where what went out cannot be taken back."""
        self._etag, self._kept = "", 0
        try:
            await sink.restart()
        except OSError as error:
            raise LocalFile(f"{self.item.url} is another file by now: {error}") from error

    async def _check(self, response: httpx.Response, sink: Sink) -> None:
        """A 200 is the whole file, whatever was asked for. Raises what the gateway refused."""
        found = _RANGE.match(response.headers.get("content-range", ""))
        if response.status_code == 206 and found is not None and int(found[1]) == sink.n_bytes - 1:
            return
        if response.status_code not in (200, 206, 416):
            await response.aread()
            raise refusal(response)
        await self._restart(sink)
        if response.status_code != 200:
            again = RangeNotSatisfiable(f"{self.item.url}: another range than was asked for")
            again.retry = True
            raise again

    async def _remember(self, response: httpx.Response, sink: Sink) -> None:
        """With what tells that it is the same file (a strong entity tag), the rest can be asked for later."""
        etag = response.headers.get("etag", "")
        self._etag = etag if etag.startswith('"') else ""
        length = int(response.headers.get("content-length", 0)) + sink.n_bytes
        if self._claim is None or self._claim.entry.get("etag") == etag or not self._etag or length < RESUMABLE_BYTES:
            return
        now = time.time()
        entry = {"etag": etag, "url": self.item.url, "path": self.item.name, "started": now}
        try:
            await in_thread(self._claim.write, {**entry, "expires": now + KEEP_SECONDS})
        except OSError as error:
            self._listener.noted(f"{self.item.name}: another run could not go on with it: {error}")

    async def _save(self, response: httpx.Response, sink: Sink) -> None:
        skipped = 1 if response.status_code == 206 else 0
        self._listener.resumed(self.item, sink.n_bytes)
        pieces: list[bytes] = []
        waiting = 0
        try:
            async for data in response.aiter_raw():
                fresh = data[skipped:]
                skipped -= len(data) - len(fresh)
                pieces.append(fresh)
                waiting += len(fresh)
                self._listener.moved(self.item, len(fresh))
                if waiting >= PIECE:
                    taken, pieces, waiting = pieces, [], 0
                    await sink.write(b"".join(taken))
        finally:  # what has come before it broke need not come again
            await sink.write(b"".join(pieces))

    async def _done(self, response: httpx.Response, sink: Sink) -> Outcome:
        expected = digests(response.headers.get("repr-digest", ""), "Repr-Digest").get("sha-256")
        if expected is not None and expected != sink.digest:
            wrong = DigestMismatch(f"{self.item.url}: what came does not have the digest the gateway stated")
            wrong.retry = self._kept > 0  # by another run, and whatever happened to it since
            await self._restart(sink)
            raise wrong
        modified = response.headers.get("last-modified")
        try:
            await sink.commit(parse_date(modified, "Last-Modified") if modified else None)
        except OSError as error:
            raise local_failure(self.item.name, error) from error
        return Outcome(self.item, sink.n_bytes, sha256=sink.digest.hex(), status=response.status_code, kept=self._kept)

    async def close(self, outcome: Outcome | None) -> None:
        stays = self._claim is not None and self._claim.stays(outcome)
        if self._sink is not None:
            await self._sink.close(keep=stays)
        if stays:
            self._listener.left(self.item)
        if self._claim is not None:
            await in_thread(self._claim.release)
