"""What becomes of uploads when no request is to be answered for it: they expire, are joined, or complete after a crash.

It is told to the audit log; whoever began them is named, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import logging

from h2gate.audit.event import Event
from h2gate.audit.log import AuditLog
from h2gate.errors import GateError
from h2gate.ledger.base import Ledger
from h2gate.transfer.undoing import upload_of
from h2gate.upload import Resumable

log = logging.getLogger("h2gate.audit")

_LOOK_SECONDS = 60.0
_LATEST = 10_000


class Reporting:
    """A listener of `Register.listen`. To be closed before the log is."""

    def __init__(self, audit: AuditLog, *, recovering: bool) -> None:
        """`recovering`: after a crash, when nobody is served."""
        self._audit = audit
        self._recovering = recovering
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, record: Resumable) -> None:
        """Its state has changed."""
        event = self._word(record)
        if event:
            task = asyncio.create_task(self._report(event, record))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _word(self, record: Resumable) -> str:
        """ "" where it is a request's to tell."""
        if record.state in ("expired", "failed"):
            return {"expired": "expire", "failed": "fail"}[record.state]
        if record.state != "complete":
            return ""
        return "join" if record.parts else "complete" if self._recovering and record.path else ""

    async def _report(self, event: str, record: Resumable) -> None:
        sha256 = record.sha256.hex() if record.sha256 is not None and event in ("join", "complete") else ""
        try:
            await self._audit.record(
                Event(
                    event=event,
                    who=record.owner,
                    via="gateway",
                    path=record.path,
                    upload_id=record.id,
                    size=record.offset,
                    sha256=sha256,
                    detail=record.reason,
                )
            )
        except GateError as error:
            log.error("upload %s: %s, and that is written nowhere: %s", record.id, event, error)

    async def tell_untold(self, ledger: Ledger) -> int:
        """After a crash: of files that were shown and acknowledged to nobody, since their lines were still to come;
        how many."""
        told = await self._audit.told(_LOOK_SECONDS)
        if told is None:
            return 0
        since, known = told
        untold = [
            each
            for each in reversed(await ledger.latest(_LATEST))
            if each.completed_at >= since and (upload_of(each.id), each.identity.size) not in known
        ]
        for each in untold:
            sha256 = each.sha256.hex() if each.sha256 is not None else ""
            size, detail = each.identity.size, "recorded before a crash, and acknowledged to nobody"
            await self._audit.record(
                Event(
                    event="found",
                    via="gateway",
                    path=each.path,
                    upload_id=upload_of(each.id),
                    size=size,
                    sha256=sha256,
                    detail=detail,
                )
            )
        return len(untold)

    async def close(self) -> None:
        """All is written."""
        await asyncio.gather(*self._tasks)
