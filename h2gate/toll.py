"""Before something expensive that many want: of each who pays, so many at once, and of who owes a few at a time.

What is let in is done, and no waiting helps any more. So a backlog is kept here, where it can still be told to wait
when somebody else comes, and not behind: with 16,000 files in the queue of a thread, that would take it a minute.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from h2gate import effort
from h2gate.effort import Payer

_FEW = 16


@dataclass(slots=True)
class _Line:
    """Of one who pays."""

    n_inside: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None


class Toll:
    """At most `most` are inside of each who pays. To be used in one loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: dict[Payer, _Line] = {}

    async def enter(self) -> Payer | None:
        """Returns when the task may go in; then it must `leave`."""
        who = effort.payer()
        if who is None:
            return None
        line = self._lines.get(who)
        if line is None:
            line = self._lines[who] = _Line()
        if not line.waiting and line.n_inside < self._most and not who.pause():
            line.n_inside += 1
            return who
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting.append(turn)
        self._go_on(who, line)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(who)
            raise
        return who

    def leave(self, who: Payer | None) -> None:
        """`who` is what `enter` returned."""
        if who is None:
            return
        line = self._lines[who]
        line.n_inside -= 1
        if line.waiting:
            self._go_on(who, line)
        elif not line.n_inside:
            del self._lines[who]

    def _go_on(self, who: Payer, line: _Line) -> None:
        if line.timer is not None or line.n_inside >= self._most:
            return
        if seconds := who.pause():
            line.timer = asyncio.get_running_loop().call_later(seconds, self._let_in, who, line)
        else:
            self._let_in(who, line)

    def _let_in(self, who: Payer, line: _Line) -> None:
        line.timer = None
        n_left = min(_FEW, self._most - line.n_inside)
        while line.waiting and n_left:
            turn = line.waiting.popleft()
            if not turn.done():  # else it was cancelled
                turn.set_result(None)
                line.n_inside += 1
                n_left -= 1
        if not line.n_inside and not line.waiting:
            del self._lines[who]
