"""Who is connected, by address: how many connections each has, how much of the memory budget is held for it, and how
often it was cut off of late: who comes back at once to be cut off again, is let in slowly.

One address may hold as much as is left for all others, so it can never take everything, however many there are of it.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass

from h2gate.budget import Budget

OFFENCE_SECONDS = 10.0
OFFENDER_PAUSE_SECONDS = 0.5
"""From one connection of an offender to the next."""
MAX_DELAY_SECONDS = 2.0
"""Honest neighbours behind the same address wait no longer than this."""
_MAX_OFFENDERS = 10_000
"""So many are remembered; beyond that, all are forgotten."""
_IPV6_SITE = 64
"""Whoever has one IPv6 address has as many as this prefix leaves (RFC 6177)."""


class Caller:
    """One address. An `Account` for windows."""

    __slots__ = ("_budget", "_callers", "address", "held", "n_connections")

    def __init__(self, address: str, budget: Budget, callers: dict[str, Caller]) -> None:
        self.address = address
        self.n_connections = 0
        self.held = 0
        """Bytes of the budget."""
        self._budget = budget
        self._callers = callers

    @property
    def share(self) -> int:
        return self._budget.share

    def take(self, n_bytes: int) -> bool:
        return self._take(n_bytes, self._budget.left - n_bytes)

    def take_more(self, n_bytes: int) -> bool:
        """Half as much as `take` allows: its next requests are to find room as well."""
        return self._take(n_bytes, (self._budget.left - n_bytes) // 3)

    def take_little(self, n_bytes: int) -> bool:
        """For what is not a body: a connection, a question. There is room for it where there is none for uploads."""
        return self._take(n_bytes, 2 * (self._budget.left - n_bytes))

    def _take(self, n_bytes: int, most: int) -> bool:
        if self.held + n_bytes > most or not self._budget.take(n_bytes):
            return False
        self.held += n_bytes
        return True

    def give_back(self, n_bytes: int) -> None:
        self.held -= n_bytes
        self._budget.give_back(n_bytes)
        self._forget_if_gone()

    def leave(self) -> None:
        """One connection has ended."""
        self.n_connections -= 1
        self._forget_if_gone()

    def _forget_if_gone(self) -> None:
        if not (self.n_connections or self.held):
            self._callers.pop(self.address, None)


@dataclass(slots=True)
class _Offender:
    since: float
    """When the count began; once it is full, the last offence."""
    n_offences: int = 0
    next_at: float = 0.0
    """When the next connection may begin."""


class Callers:
    """All addresses of one worker that have a connection, or for which something is still held."""

    def __init__(
        self,
        budget: Budget,
        max_connections: int,
        max_offences: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_connections` of one address, and `max_offences` in `OFFENCE_SECONDS`; 0 is no limit."""
        self._budget = budget
        self._max = max_connections
        self._max_offences = max_offences
        self._clock = clock
        self._offenders: dict[str, _Offender] = {}
        self._callers: dict[str, Caller] = {}

    def offended(self, address: str) -> None:
        """A connection of this `Caller.address` was ended for what it sent."""
        now = self._clock()
        offender = self._offenders.get(address)
        if offender is None or now - offender.since >= OFFENCE_SECONDS:
            if len(self._offenders) >= _MAX_OFFENDERS:
                self._offenders.clear()
            offender = self._offenders[address] = _Offender(now)
        offender.n_offences += 1
        if offender.n_offences >= self._max_offences:
            offender.since = now

    def delay(self, host: str) -> float:
        """Seconds that the next connection of this address has to wait, because many before it were cut off."""
        if not (self._max_offences and self._offenders):
            return 0.0
        now, offender = self._clock(), self._offenders.get(_site(host))
        if offender is None or offender.n_offences < self._max_offences or now - offender.since >= OFFENCE_SECONDS:
            return 0.0
        offender.next_at = min(max(offender.next_at, now) + OFFENDER_PAUSE_SECONDS, now + MAX_DELAY_SECONDS)
        return offender.next_at - now

    def admit(self, host: str) -> Caller | None:
        """Whoever this address is, with one connection more; None if it has too many."""
        address = _site(host)
        caller = self._callers.get(address)
        if caller is None:
            caller = self._callers[address] = Caller(address, self._budget, self._callers)
        elif self._max and caller.n_connections >= self._max:
            return None
        caller.n_connections += 1
        return caller


def _site(host: str) -> str:
    if ":" not in host:
        return host
    found = ipaddress.IPv6Address(host.partition("%")[0])
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, _IPV6_SITE), strict=False))
