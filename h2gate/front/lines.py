"""An answer of many lines of JSON (application/x-ndjson, which no RFC defines), sent while the request still comes in.

The first line begins it. Several go in one write, and no more are held than a peer that reads slowly may cost: whoever
makes them waits for `room` first.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from h2gate.budget import Budget
from h2gate.front import problem
from h2gate.front.request import Request

MEDIA_TYPE = "application/x-ndjson"
UNREAD_BYTES = 4 << 20
"""Lines of some 16,000 files, for clients that read nothing before they have sent all."""

_STEP_BYTES = 64 << 10


class Lines:
    """`async with`; it sends by itself. What was not sent when the block is left by an error never is."""

    def __init__(self, request: Request, budget: Budget) -> None:
        self.is_empty = True
        self._request = request
        self._budget = budget
        self._charged = 0
        self._lines: list[bytes] = []
        self._n_bytes = 0
        self._some = asyncio.Event()
        self._less = asyncio.Event()
        self._is_over = False
        self._writer: asyncio.Task[None]

    async def __aenter__(self) -> Lines:
        self._writer = asyncio.create_task(self._write())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._budget.give_back(self._charged)
        self._writer.cancel()
        await asyncio.wait([self._writer])
        if not self._writer.cancelled():
            self._writer.exception()  # `end` has raised it, or something went wrong before

    def tell(self, line: Mapping[str, Any]) -> None:
        """One more line."""
        self.is_empty = False
        self._lines.append(json.dumps(line).encode() + b"\n")
        self._n_bytes += len(self._lines[-1])
        self._some.set()

    def tell_error(self, line: Mapping[str, Any], error: Exception) -> None:
        """A line with what was raised."""
        known = problem.of(error, f"line of {line.get('name', 'the whole')}")
        self.tell({**line, "status": known.status, "code": known.code, "detail": known.detail})

    async def room(self) -> None:
        """Returns when the peer has read so much that more may be told, or has left: then `end` raises."""
        while not (self._writer.done() or self._may_tell()):
            self._less.clear()
            await self._less.wait()

    def _may_tell(self) -> bool:
        """What is unread is in the budget, with as much as comes next; or nothing is."""
        more = self._n_bytes + _STEP_BYTES - self._charged
        if more > 0 and more <= self._budget.share and self._budget.take(more):
            self._charged += more
            more = 0
        return self._n_bytes <= UNREAD_BYTES and (more <= 0 or not self._n_bytes)

    async def end(self, line: Mapping[str, Any]) -> None:
        """The last line. Returns when all is sent; raises `PeerGone`."""
        self._is_over = True
        self.tell(line)
        await self._writer

    async def _write(self) -> None:
        try:
            is_last = False
            while not is_last:
                await self._some.wait()
                self._some.clear()
                lines, self._lines, is_last = self._lines, [], self._is_over
                await self._request.answer_more(200, [("content-type", MEDIA_TYPE)], b"".join(lines), last=is_last)
                self._n_bytes -= sum(map(len, lines))
                self._less.set()
        finally:
            self._less.set()
