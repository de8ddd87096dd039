"""Who is connected, by address: how many connections each has, how much of the memory budget is held for it, and how
often it was cut off of late: who comes back at once to be cut off again would make handshakes a flood of their own.

One address may hold as much as is left for all others, so it can never take everything, however many there are of it.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

from h2gate.budget import Budget

OFFENCE_SECONDS = 10.0
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
        self._offences: dict[str, tuple[float, int]] = {}
        """When the count began, and how many there were since."""
        self._callers: dict[str, Caller] = {}

    def offended(self, address: str) -> None:
        """A connection of this `Caller.address` was ended for what it sent."""
        now = self._clock()
        since, n_offences = self._offences.get(address, (now, 0))
        if len(self._offences) >= _MAX_OFFENDERS:
            self._offences.clear()
        if now - since >= OFFENCE_SECONDS:
            since, n_offences = now, 0
        if n_offences + 1 == self._max_offences:
            since = now  # from here on none is let in, and so none is counted, until this time is over
        self._offences[address] = since, n_offences + 1

    def is_barred(self, host: str) -> bool:
        """Whether this address was cut off so often that it has to wait."""
        if not (self._max_offences and self._offences):
            return False
        since, n_offences = self._offences.get(_site(host), (0.0, 0))
        return n_offences >= self._max_offences and self._clock() - since < OFFENCE_SECONDS

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
