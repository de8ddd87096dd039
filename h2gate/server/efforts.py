"""Whose requests take more CPU time than is usual waits before it gets more, while others are at work.

The event loop is one thread: a header of a thousand fields, or a folder of many thousand names, is paid by everybody.
What is usual for a request and its bytes is next to free. What goes beyond it is owed by the address, and worked off at
a tenth of a second a second; until then its connections are not read and its requests not begun. Alone, nobody waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from functools import partial
from types import coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from h2gate import effort
from h2gate.effort import SMALL_SECONDS, charge_to

if TYPE_CHECKING:
    from h2gate.server.exchange import App, Exchange, Message

REQUEST_SECONDS = 300e-6
"""Usual for a request; a small upload takes 100 to 200 µs."""
BYTE_SECONDS = 2e-3 / (1 << 20)
"""Usual for a byte that comes or goes; of a large body one takes a quarter of it."""
READ_SECONDS = 100e-6
"""Usual for a read of `READ_BYTES` or more, beyond its bytes; of a smaller one as much of it as it brought."""
READ_BYTES = 16 << 10
REFUSAL_SECONDS = 150e-6
"""For a request that came to nothing (4xx, 5xx), however little it took: five hundred in a second are enough."""
HANDSHAKE_SECONDS = 1e-3
"""Of a TLS handshake, beyond what is usual for the request that follows it."""
WORKED_OFF = 0.1
"""Seconds in a second."""
_WORTH_SECONDS = 2e-3
"""Owing less, nobody waits."""
_MAX_SECONDS = 0.3
"""Nobody owes more, so nobody waits longer than three seconds."""
_OTHERS_SECONDS = 0.25
"""Others are at work if something came from them within this time."""
_MAX_DEBTORS = 10_000
"""So many are remembered; beyond that, all are forgotten."""


@dataclass(slots=True)
class _Debt:
    seconds: float
    at: float


class Efforts:
    """One per worker."""

    def __init__(self, waits: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`waits` is called with an address that is told to."""
        self._waits = waits
        self._clock = clock
        self._debts: dict[str, _Debt] = {}
        self._latest = ("", -_OTHERS_SECONDS)
        self._other = ("", -_OTHERS_SECONDS)
        """The last address that was at work, and when; and the last other one."""

    def at_work(self, address: str) -> None:
        """Something came from there."""
        if self._latest[0] != address:
            self._other = self._latest
        self._latest = (address, self._clock())

    def spent(self, address: str, seconds: float, usual: float = 0.0) -> None:
        """CPU seconds that this address took, of which so many are usual for what came of it."""
        if seconds <= usual:
            return
        now = self._clock()
        debt = self._debts.get(address)
        if debt is None:
            if len(self._debts) >= _MAX_DEBTORS:
                self._debts.clear()
            debt = self._debts[address] = _Debt(0.0, now)
        debt.seconds = min(self._left(debt, now) + seconds - usual, _MAX_SECONDS)
        debt.at = now

    def _took(self, address: str, seconds: float) -> None:
        self.spent(address, SMALL_SECONDS + max(0.0, seconds - REQUEST_SECONDS / 2))

    def pause(self, address: str) -> float:
        """Seconds that this address has to wait now; 0.0 for almost everybody."""
        debt = self._debts.get(address)
        if debt is None:
            return 0.0
        now = self._clock()
        left = self._left(debt, now)
        if left <= 0:
            del self._debts[address]
            return 0.0
        other = self._other if self._latest[0] == address else self._latest
        if left < _WORTH_SECONDS or now - other[1] >= _OTHERS_SECONDS:
            return 0.0
        self._waits(address)
        return left / WORKED_OFF

    @staticmethod
    def _left(debt: _Debt, now: float) -> float:
        return max(0.0, debt.seconds - (now - debt.at) * WORKED_OFF)

    async def serve(self, address: str, exchange: Exchange, app: App, scope: Message) -> None:
        """A request of this address: begun when it may be, and what is dear of it charged."""
        if seconds := self.pause(address):
            await asyncio.sleep(seconds)
        charge_to(_Payer(self, address))
        await _first_step(exchange.run(app, scope), partial(self._took, address))
        if exchange.is_refused:
            self.spent(address, REFUSAL_SECONDS)


class _Payer(NamedTuple):
    """See `effort.Payer`."""

    efforts: Efforts
    address: str

    def spent(self, seconds: float) -> None:
        self.efforts.spent(self.address, seconds)

    def pause(self) -> float:
        return self.efforts.pause(self.address)


@coroutine
def _first_step(work: Coroutine[Any, Any, None], tell: Callable[[float], None]) -> Generator[Any, Any, None]:
    """`work`; the CPU seconds to its first wait are told: a request's fields are looked at on that way.

    The steps after it are cheap, and not worth what timing them would cost.
    """
    began = effort.clock()
    try:
        waited_for = work.send(None)
    except StopIteration:
        return
    finally:
        tell(effort.clock() - began)
    while True:
        try:
            yield waited_for
            break
        except BaseException as error:  # noqa: BLE001 - a cancellation, most of all: `work` is to hear of it
            try:
                waited_for = work.throw(error)
            except StopIteration:
                return
    yield from work  # what a task sends is None, so this is its next step, and those after it cost nothing
