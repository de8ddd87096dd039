"""The audit log as the event loop sees it: whoever has done something awaits its line, and is answered after that.

Lines that come in one turn of the loop share a write and a sync, as files do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from h2gate.audit import listing
from h2gate.audit.chain import Link
from h2gate.audit.event import Event
from h2gate.audit.excess import SECONDS, Excess
from h2gate.audit.file import LogFile
from h2gate.audit.settings import AuditSettings
from h2gate.audit.signing import Signer, signer
from h2gate.errors import GateError
from h2gate.fields import timestamp
from h2gate.lane import Lane
from h2gate.metrics import Metrics

log = logging.getLogger("h2gate.audit")

HEAD = "h2gate-head"
RECEIPT = "h2gate-receipt"
"""What is signed, each with its own `typ`."""
RECEIPT_CLAIMS = ("path", "size", "sha256", "upload_id", "who", "tenant")


class AuditLog:
    """One process's. To be made in the loop that uses it. Raises `ConfigError` for a file that cannot be used."""

    def __init__(self, settings: AuditSettings, metrics: Metrics) -> None:
        self.reads = settings.reads
        """Whether reading is recorded as well."""
        self._path = settings.path
        self._signer: Signer = signer(settings.receipt_key)
        self._file = LogFile(
            settings.path, max_bytes=settings.max_bytes, durable=settings.durable, write_head=self._head
        )
        self._lane: Lane[Mapping[str, Any], Link] = Lane("h2gate-audit", self._file.append)
        self._metrics = metrics
        self._excess = Excess()
        self._has_failed = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._telling: set[asyncio.Task[None]] = set()

    def _head(self, link: Link, moment: str) -> str:
        return self._signer.sign(HEAD, {"seq": link.seq, "hash": link.hash, "time": moment})

    async def record(self, event: Event) -> Link:
        """Write it down. Raises `AuditFailed`, `StorageFull`: nothing of it may be acknowledged then."""
        try:
            link = await self._lane.submit(event.members())
        except GateError:
            self._metrics.count("audit_failures")
            self._has_failed = True
            raise
        self._has_failed = False
        self._metrics.count("audit_lines", event.event)
        return link

    async def check(self) -> None:
        """Whether there could be a line now. Raises what is in the way: after a failure, only a line can tell."""
        if self._has_failed:
            await self.record(Event(event="check"))

    async def refused(self, event: Event) -> None:
        """Write down what was not done, or count it where there are too many. Where that fails, nothing was done."""
        if not self._excess.passes(event):
            if self._timer is None:
                self._timer = self._loop.call_later(SECONDS, self._on_timer)
            return
        with suppress(GateError):  # counted
            await self.record(event)

    def _on_timer(self) -> None:
        self._timer = None
        task = self._loop.create_task(self._tell_left_out())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell_left_out(self) -> None:
        for event in self._excess.left_out():
            try:
                await self.record(event)
            except GateError as error:
                what = "%s lines (%s, %s) were left out, and that is written nowhere: %s"
                log.warning(what, event.count, event.detail, event.code, error)

    def receipt(self, link: Link, event: Event) -> str:
        """What was done, signed, for whoever it was done for: a compact JWS."""
        members = event.members()
        claims = {name: members[name] for name in RECEIPT_CLAIMS if name in members}
        return self._signer.sign(
            RECEIPT, {**claims, "time": timestamp(time.time()), "seq": link.seq, "hash": link.hash}
        )

    async def told(self, seconds: float) -> tuple[float, set[tuple[str, int]]] | None:
        """Of the last `seconds` before the last line: when they began (seconds since the epoch), and of which uploads
        there is a line, with the size that it tells. None where there is no line at all."""
        return await asyncio.to_thread(listing.told, self._path, seconds)

    async def close(self) -> None:
        """Write what is left, and let go."""
        if self._timer is not None:
            self._timer.cancel()
        await self._tell_left_out()
        await asyncio.gather(*self._telling)
        await self._lane.close()
        self._file.close()
