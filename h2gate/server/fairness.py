"""When disk or CPU are the limit, who is given credit next: deficit round robin over principals, connections, streams.

Whoever has been served a quantum more than the slowest beside him waits for his credit, until that one has caught up or
shows that he cannot: then the server falls idle, and waiting helps nobody. It is not idle while what the slowest has
sent is worked on, unless that takes long: his sink is what is slow then. More urgent uploads (RFC 9218) go first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable

TICK_SECONDS = 0.004
QUANTUM_BYTES = 4 << 20
MAX_STRIDE_BYTES = 128 << 20
CLAIM_BYTES = 64 << 20
"""Of what the slowest did not use he may still have so much, where those beside him go on without him: a sender that
had to wait for a processor is no slow sender."""
_NO_LIMIT = 1 << 62
_ACTIVE_TICKS = 60
"""Who has brought nothing for so long is waited for no more."""
_WORK_TICKS = 60
"""What the server does takes no longer, as long as nothing has stalled. Where it did, less is waited for the next."""
_USUAL_SECONDS = 0.5
_IDLE = 0.25
"""Below this part of its usual pace the server is not what holds back."""


class Node:
    """Somebody who is served beside others; those below him share what he gets."""

    __slots__ = (
        "addresses",
        "children",
        "grace",
        "is_active",
        "is_waited_in",
        "key",
        "lag",
        "limit",
        "n_idle",
        "parent",
        "recent",
        "seen",
        "served",
        "stride",
        "urgency",
    )

    def __init__(self, key: Hashable, parent: Node | None, urgency: int = 0) -> None:
        self.key = key
        self.parent = parent
        self.urgency = urgency
        self.children: dict[Hashable, Node] = {}
        self.addresses: set[Hashable] = set()
        """Of a principal: where its uploads come from."""
        self.is_active = False
        self.served = 0
        """Bytes, of those that were active together the same for all, as far as they can use it."""
        self.lag = 0
        """Of who was made to step back: how far he was behind the slowest of the others."""
        self.limit = _NO_LIMIT
        """How far `served` may go."""
        self.recent = 0
        """Bytes since the last tick."""
        self.seen = 0
        """The tick in which it was served last."""
        self.stride = QUANTUM_BYTES
        """How far those below may go on without the slowest: more where waiting was for nothing again and again."""
        self.grace = 0
        """How far those below may go in any case: waiting longer was for nothing."""
        self.is_waited_in = False
        """Somebody below has waited since he was last looked at."""
        self.n_idle = 0
        """Ticks, for which those below have waited while the server was idle."""
        if parent is not None:
            parent.children[key] = self

    def active(self) -> list[Node]:
        return [each for each in self.children.values() if each.is_active]

    def is_worked_on(self) -> bool:
        """The server has to do something before more can come."""
        return any(each.is_worked_on() for each in self.active())


class Share(Node):
    """One upload's. `release` is called when it may have the credit that it waits for."""

    __slots__ = ("_fairness", "_worked_on", "is_held", "release")

    def __init__(
        self,
        fairness: Fairness,
        parent: Node,
        urgency: int,
        release: Callable[[], None],
        worked_on: Callable[[], bool],
    ) -> None:
        super().__init__(self, parent, urgency)
        self._fairness = fairness
        self._worked_on = worked_on
        self.is_held = False
        self.release = release

    def is_worked_on(self) -> bool:
        return not self.is_held and self._worked_on()

    def consumed(self, n_bytes: int) -> bool:
        """So many bytes were taken. False if their credit has to wait for `release`."""
        ticks = self._fairness.ticks
        is_within = True
        node: Node | None = self
        while node is not None:
            if not node.is_active:
                _activate(node)
            node.seen = ticks
            node.recent += n_bytes
            node.served += n_bytes
            if node.served > node.limit and node.parent is not None:
                is_within = False
            node = node.parent
        if not is_within:
            self.is_held = True
            self._fairness.held.add(self)
        return is_within

    def leave(self) -> None:
        """The upload is over."""
        self.is_held = False
        self._fairness.held.discard(self)
        node: Node = self
        while node.parent is not None and not node.children:
            node.parent.children.pop(node.key, None)
            node = node.parent


def _activate(node: Node) -> None:
    """It begins where the slowest of the others is: it has no claim to the time before."""
    node.is_active = True
    if node.parent is not None:
        others = _others(node)
        node.served = max(node.served, min(others) - node.lag if others else node.parent.grace)
        node.lag = 0
        node.limit = node.served + QUANTUM_BYTES if others else _NO_LIMIT


def _others(node: Node) -> list[int]:
    """How far those are who are served beside him."""
    beside = node.parent.children.values() if node.parent is not None else ()
    return [each.served for each in beside if each.is_active and each is not node]


class Fairness:
    """One per worker."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ticks = 0
        self.held: set[Share] = set()
        self._loop = loop
        self._root = Node("root", None)
        self._pace = 0.0
        """Bytes a second, of late."""
        self._usual = 0.0
        """Over a longer time."""
        self._timer: asyncio.TimerHandle | None = None
        self._ticked_at = 0.0

    def join(
        self,
        principal: Hashable,
        connection: Hashable,
        urgency: int,
        release: Callable[[], None],
        address: Hashable = None,
        worked_on: Callable[[], bool] = lambda: False,
    ) -> Share:
        """A place for one upload, of a `principal` at some `address`; `urgency` from 0, most urgent, to 7. `worked_on`
        says whether its sender can do nothing before something is done here."""
        above = self._root.children.get(principal) or Node(principal, self._root)
        above.addresses.add(address)
        here = above.children.get(connection) or Node(connection, above)
        if self._timer is None:
            self._ticked_at = self._loop.time()
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
        return Share(self, here, urgency, release, worked_on)

    def step_back(self, address: Hashable) -> None:
        """Whoever is there is made to wait for another reason: nobody waits for them meanwhile. They come back half as
        far behind as they were: who has to step back again and again is soon not waited for at all."""
        for principal in self._root.children.values():
            if address in principal.addresses and principal.is_active:
                principal.is_active = False
                behind = min(_others(principal), default=principal.served) - principal.served
                principal.lag = min(max(0, behind) // 2, CLAIM_BYTES)

    def _tick(self) -> None:
        now = self._loop.time()
        elapsed = max(now - self._ticked_at, 1e-6)
        pace = self._root.recent / elapsed
        self._ticked_at = now
        self.ticks += 1
        self._pace += (pace - self._pace) / 4
        self._usual += (pace - self._usual) * min(1.0, elapsed / _USUAL_SECONDS)
        self._keep_active()
        self._look_at(self._root, is_idle=bool(self.held) and self._pace < self._usual * _IDLE)
        for share in [each for each in self.held if _is_within(each)]:
            share.is_held = False
            self.held.discard(share)
            share.release()
        if self._root.children:
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
        else:
            self._timer = None

    def _keep_active(self) -> None:
        """Whoever waits would bring more."""
        for share in self.held:
            node: Node | None = share
            while node is not None:
                node.seen = self.ticks
                node = node.parent

    def _look_at(self, parent: Node, *, is_idle: bool) -> None:
        """Say how far those below `parent` may go now."""
        parent.recent = 0
        children = list(parent.children.values())
        for child in children:
            child.is_active = child.is_active and self.ticks - child.seen <= _ACTIVE_TICKS
            if child.children:
                self._look_at(child, is_idle=is_idle)
            child.recent = 0
        active = parent.active()
        if parent.parent is not None and active:
            parent.urgency = min(each.urgency for each in active) if parent.parent.parent is not None else 0
        if active:
            _set_limits(parent, active, is_idle=is_idle)


def _set_limits(parent: Node, active: list[Node], *, is_idle: bool) -> None:
    if len(active) == 1:
        active[0].limit = _NO_LIMIT
        return
    urgency = min(each.urgency for each in active)
    first = [each for each in active if each.urgency == urgency]
    ahead = max(each.served for each in first)
    waits = any(each.served > each.limit for each in active)
    parent.n_idle = parent.n_idle + 1 if waits and is_idle else 0
    patience = _WORK_TICKS * QUANTUM_BYTES // parent.stride
    is_idle = is_idle and not (parent.n_idle <= patience and _are_worked_on(first))
    if waits and is_idle:  # the slow ones are slow by themselves
        parent.stride = min(2 * parent.stride, MAX_STRIDE_BYTES)
        parent.is_waited_in = False
        parent.grace = ahead + parent.stride
        for each in first:
            each.served = max(each.served, ahead - CLAIM_BYTES)
    elif waits:
        parent.is_waited_in = True
    elif parent.is_waited_in:  # they have caught up
        parent.stride = max(parent.stride // 2, QUANTUM_BYTES)
        parent.is_waited_in = False
    limit = max(min(each.served for each in first) + QUANTUM_BYTES, parent.grace)
    for each in active:
        if each.urgency == urgency:
            each.limit = limit
        else:
            stride_on = each.served + parent.stride
            each.limit = stride_on if is_idle else min(each.limit, stride_on)


def _are_worked_on(nodes: list[Node]) -> bool:
    """Those of them that nobody holds back."""
    return any(each.served <= each.limit and each.is_worked_on() for each in nodes)


def _is_within(share: Node) -> bool:
    node: Node | None = share
    while node is not None and node.parent is not None:
        if node.is_active and node.served > node.limit:
            return False
        node = node.parent
    return True


def urgency_of(values: Iterable[bytes]) -> int:
    """The urgency in the `priority` fields of a request (RFC 9218 section 4.1): 3 where they say none."""
    for value in values:
        for item in value.split(b","):
            name, _, number = item.strip().partition(b"=")
            if name == b"u" and number.strip() in (b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7"):
                return int(number)
    return 3
