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
from h2gate.upload import Resumable, Upload

log = logging.getLogger("h2gate.audit")

_GATEWAY = "gateway"
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
            sha256 = _hex(record.sha256) if event in ("join", "complete") else ""
            self._plan(
                Event(
                    event=event,
                    who=record.owner,
                    via=_GATEWAY,
                    path=record.path,
                    upload_id=record.id,
                    size=record.offset,
                    sha256=sha256,
                    detail=record.reason,
                )
            )

    def removed(self, upload: Upload) -> None:
        """A file was kept for as long as its tenant keeps files."""
        self._plan(_of_file("expire", upload, "kept for as long as the tenant keeps files"))

    def _word(self, record: Resumable) -> str:
        """Of its line; none where it is a request's to tell."""
        if record.state in ("expired", "failed"):
            return {"expired": "expire", "failed": "fail"}[record.state]
        if record.state != "complete":
            return ""
        return "join" if record.parts else "complete" if self._recovering and record.path else ""

    def _plan(self, event: Event) -> None:
        task = asyncio.create_task(self._report(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report(self, event: Event) -> None:
        try:
            await self._audit.record(event)
        except GateError as error:
            what = "%s of /%s (upload %s), and that is written nowhere: %s"
            log.error(what, event.event, event.path, event.upload_id, error)

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
            await self._audit.record(_of_file("found", each, "recorded before a crash, and acknowledged to nobody"))
        return len(untold)

    async def close(self) -> None:
        """All is written."""
        await asyncio.gather(*self._tasks)


def _of_file(event: str, upload: Upload, detail: str) -> Event:
    return Event(
        event=event,
        via=_GATEWAY,
        path=upload.path,
        upload_id=upload_of(upload.id),
        size=upload.identity.size,
        sha256=_hex(upload.sha256),
        detail=detail,
    )


def _hex(sha256: bytes | None) -> str:
    return sha256.hex() if sha256 is not None else ""
