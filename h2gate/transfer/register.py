"""The records of resumable uploads as the rest of this room uses them: every change is dated, and told to who waits."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from h2gate.errors import CompletedUpload, Conflict, Gone, NotFound
from h2gate.ledger.base import Ledger
from h2gate.upload import Resumable, Upload

CHANGED = "changed"
_LOOK_SECONDS = 2.0
_REASONS = {"expired": "it was not gone on with in time", "cancelled": "it was cancelled"}


class Register:
    """`tell_others` tells the other processes of an upload that has changed its state."""

    def __init__(self, ledger: Ledger, tell_others: Callable[[str], None], keep_seconds: float) -> None:
        self.keep_seconds = keep_seconds
        self._ledger = ledger
        self._tell_others = tell_others
        self._listeners: list[Callable[[Resumable], None]] = []
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def listen(self, listener: Callable[[Resumable], None]) -> None:
        """Have `listener` called with every upload whose state was changed here, once that is durable."""
        self._listeners.append(listener)

    async def begin(self, resumable: Resumable) -> Resumable:
        """Keep a new one."""
        now = time.time()
        resumable = replace(resumable, created_at=now, changed_at=now, expires_at=now + self.keep_seconds)
        await self._ledger.begin(resumable)
        return resumable

    async def change(self, resumable: Resumable, *, showing: Upload | None = None, **changes: Any) -> Resumable:
        """Keep it with some changes (see `Ledger.keep`). It is alive: it expires that much later."""
        now = time.time()
        changed = replace(resumable, changed_at=now, expires_at=now + self.keep_seconds, **changes)
        changed = await self._ledger.keep(changed, showing=showing)
        if changed.state != resumable.state:
            self.notify(changed.id)
            self._tell_others(changed.id)
            for listener in self._listeners:
                listener(changed)
        return changed

    async def mend(self, resumable: Resumable, **changes: Any) -> Resumable:
        """Keep what was found out about its bytes. That is no sign of life: it expires when it would have."""
        return await self._ledger.keep(replace(resumable, **changes))

    async def prolong(self, resumable: Resumable, expires_at: float) -> None:
        """Keep it until then, unless it is changed. It must be held, or be complete."""
        await self._ledger.keep(replace(resumable, expires_at=expires_at))

    async def completed(self, resumable: Resumable, **changes: Any) -> Resumable:
        """Say that it is complete. Another process that found its file shown may have said so first."""
        try:
            return await self.change(resumable, state="complete", hash_state=None, **changes)
        except Conflict:
            found = await self.known(resumable.id)
            if found.state != "complete":
                raise
            return found

    async def known(self, upload_id: str) -> Resumable:
        """The record. Raises `NotFound`."""
        found = await self._ledger.resumable(upload_id)
        if found is None:
            raise NotFound("there is no such upload")
        return found

    async def not_over(self, upload_id: str) -> Resumable:
        """The record, unless the upload is over. Raises `NotFound`, `Gone`."""
        found = await self.known(upload_id)
        if found.is_over:
            raise over(found)
        return found

    async def open(self, upload_id: str) -> Resumable:
        """The record, if the upload can be gone on with. Raises `NotFound`, `Gone`, `CompletedUpload`."""
        found = await self.not_over(upload_id)
        if found.state == "complete":
            raise CompletedUpload("the upload is complete", offset=found.offset)
        return found

    def notify(self, upload_id: str) -> None:
        """Its state has changed, here or in another process."""
        for event in self._waiting.get(upload_id, ()):
            event.set()

    async def settled(self, upload_id: str, seconds: float) -> Resumable:
        """Wait until the upload is complete or over, but not longer. Raises `NotFound`."""
        event = asyncio.Event()
        self._waiting[upload_id].add(event)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while (await self.known(upload_id)).is_open:
                        with suppress(TimeoutError):  # a word of another process may have been lost
                            async with asyncio.timeout(_LOOK_SECONDS):
                                await event.wait()
                        event.clear()
            return await self.known(upload_id)
        finally:
            self._waiting[upload_id].discard(event)
            if not self._waiting[upload_id]:
                del self._waiting[upload_id]


def over(resumable: Resumable) -> Gone:
    """The error that says why an upload cannot be gone on with."""
    reason = resumable.reason or _REASONS.get(resumable.state, resumable.state)
    return Gone(f"the upload is over: {reason}", state=resumable.state)
