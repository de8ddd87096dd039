"""One HTTP/2 stream: a request on the engine. It asks its connection to write, and never waits for another stream."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from h2gate.config import Settings
from h2gate.errors import PeerGone
from h2gate.metrics import Traffic
from h2gate.server.exchange import Exchange
from h2gate.server.fairness import Share, urgency_of
from h2gate.server.pace import Pace
from h2gate.wire.credit import Account, Window
from h2gate.wire.engine import Engine, ErrorCode, Header, Headers

WAKE_BYTES = 1 << 20
"""The application is woken for this much at most: 4,000 wake-ups a GiB cost half of what 25,000 do."""
PATIENT_TICKS = 8
"""Enough bytes are waited for if they will be here after so many ticks: with 256 senders each had a few KiB at every
tick, and a job of a thread for them."""
CHUNK_BYTES = 256 << 10
"""What an answer to GET holds in any case: the application has read a chunk before it knows whether it may be sent."""
SEND_BUFFER = 512 << 10
ANSWER_BYTES = SEND_BUFFER
"""What it may hold beyond that while it is read, where there is room: what is queued before the application waits."""
STREAM_BYTES = 16 << 10
"""What a request costs beside its body: objects, a task, what the storage keeps for it."""
HEADER_COST = 8
"""A header list costs so many times its size: its bytes, objects for each, and the same once more as text."""


class Host(Protocol):
    """What a stream needs of its connection."""

    engine: Engine
    loop: asyncio.AbstractEventLoop
    settings: Settings
    traffic: Traffic
    senders: set[Stream]
    """Streams that wait until more of their answer has left."""

    @property
    def account(self) -> Account:
        """To whom the memory is charged that a stream holds."""

    @property
    def is_flushed(self) -> bool:
        """All that the peer's windows let out has been written."""

    def plan_flush(self) -> None:
        """Write what the engine has, in this turn of the loop."""

    def plan_tick(self) -> None:
        """Call `tick` of all streams after a moment."""

    def round_trip(self) -> float:
        """Seconds."""

    def date_field(self) -> Header:
        """`date`, for the answer."""

    def join(self, stream: Stream, urgency: int, principal: str = "") -> Share:
        """A place among those who are served, for a body that is not small; without a `principal`, of the address."""

    def limited(self, limit: str, what: str) -> None:
        """The peer ran into a limit."""

    def forget(self, stream: Stream) -> None:
        """The stream is over."""


class Stream(Exchange):
    """See `Exchange`; ends itself (`Host.forget`) when both sides have ended."""

    def __init__(self, host: Host, request: Headers, fields: Sequence[Header], pseudo: Mapping[bytes, bytes]) -> None:
        method = pseudo[b":method"].decode("latin1")
        super().__init__(method, pseudo.get(b":path", b"*"), fields, host.settings, host.limited, host.traffic)
        self.id = request.stream_id
        self._fields = fields
        self._host = host
        self._cost = STREAM_BYTES + HEADER_COST * list_bytes(request.headers) + (CHUNK_BYTES if method == "GET" else 0)
        self._window = Window(self._first_bytes(request), self._most_bytes(), host.account)
        self._answer_pace = Pace(host.settings.min_body_rate, host.settings.answer_seconds)
        self._share: Share | None = None
        self._uncredited = 0
        """Bytes that were consumed and wait for their turn to be credited."""
        self._sent_bytes = 0
        self._ticked_bytes = 0
        self._answer_bytes = 0
        self._drained_bytes = 0
        self._drain_timer: asyncio.TimerHandle | None = None
        self._sender: asyncio.Future[None] | None = None
        self._is_ending = False
        self._is_unwanted = False
        """The rest of the body: its sender is told so behind the answer."""
        self._is_over = False
        self._is_served = False

    def _first_bytes(self, request: Headers) -> int:
        first = self._host.settings.stream_window
        return 0 if request.end_stream else min(first, self.length if self.length is not None else first)

    def _most_bytes(self) -> int:
        """No body needs a window larger than it is."""
        most = self._host.settings.max_stream_window
        return most if self.length is None else min(most, self.length)

    def known_as(self, principal: str) -> None:
        if self._share is not None and principal:
            self._share.leave()
            self._share = self._host.join(self, self._share.urgency, principal)

    def admit(self) -> bool:
        """Charge what it costs; False when there is no room for it."""
        cost = self._cost + self._window.charged
        account = self._host.account
        take = account.take if self._window.charged else account.take_little
        if not take(cost):
            self._cost = self._window.charged = 0
            return False
        if self._window.charged >= self._host.settings.stream_window and self._window.open():
            self._host.engine.set_window(self.id, self._window.size)
        if self._window.charged and not self._fits:
            urgency = urgency_of(value for name, value in self._fields if name == b"priority")
            self._share = self._host.join(self, urgency)
        return True

    def is_coming(self, n_bytes: int) -> bool:
        """Whether the peer has so many bytes of the body to send, so far as it is known, and may."""
        is_left = self.length is None or self.length - self._arrived_bytes >= n_bytes
        return is_left and self._window.size >= n_bytes and not (self.request_ended or self.peer_gone)

    @property
    def promised_bytes(self) -> int:
        """What the peer may still make us hold."""
        return self._window.charged

    # What the connection calls

    def tick(self) -> None:
        """A moment has passed: few bytes are better than none, unless more are coming that will be all or enough."""
        if self._inbox_bytes and self._waiter is not None:
            came, self._ticked_bytes = self._arrived_bytes - self._ticked_bytes, self._arrived_bytes
            if came and (self._fits or self._inbox_bytes + PATIENT_TICKS * came >= self._fair_bytes()):
                self._host.plan_tick()
            else:
                self.wake()

    def ended(self, trailers: Sequence[Header] = ()) -> None:
        super().ended(trailers)
        if self.answered:
            self._end_when_sent()

    def trailed(self, trailers: Sequence[Header]) -> None:
        """The body has ended with trailers. They cost what a header does; one that is too long ends the request."""
        size, cost = list_bytes(trailers), HEADER_COST * list_bytes(trailers)
        if size <= self._host.settings.max_header_list and self._host.account.take(cost):
            self._cost += cost
            self.ended(trailers)
            return
        limit = "memory" if size <= self._host.settings.max_header_list else "max_header_list"
        self._host.limited(limit, f"{self.method}: trailers of {size} bytes")
        self._break_off()

    def gone(self) -> None:
        super().gone()
        self.sendable()
        self._over()

    def check_progress(self, elapsed: float) -> None:
        super().check_progress(elapsed)
        queued = self._host.engine.queued_bytes(self.id)
        if not self._answer_pace.keeps_up(self._sent_bytes - queued, elapsed, its_turn=queued > 0):
            self._host.limited("answer_seconds", f"{self.method}: {queued} bytes of the answer are not taken")
            self._break_off()

    def served(self) -> None:
        """The application has returned: it holds nothing any more."""
        self._is_served = True
        self._release_if_done()

    def sendable(self) -> None:
        """Bytes have left, or never will: look again."""
        if self._sender is not None and not self._sender.done():
            self._sender.set_result(None)
        if self._is_ending:
            self._end_when_sent()

    # What `Exchange` asks for

    def _fair_bytes(self) -> int:
        if self._fits:
            return WAKE_BYTES
        return min(self._window.size >> 2, WAKE_BYTES)

    @property
    def _fits(self) -> bool:
        """All of the body may be sent, so that its end is near."""
        return self.length is not None and self.length <= self._window.size

    def _consumed(self, n_bytes: int) -> None:
        self._uncredited += n_bytes
        if self._share is None or self._share.consumed(n_bytes):
            self.release()

    def _is_held_back(self) -> bool:
        return self._uncredited > 0

    def release(self) -> None:
        """Let the sender send as much as was consumed."""
        host = self._host
        n_bytes, self._uncredited = self._uncredited, 0
        host.engine.credit(self.id, n_bytes)
        if self._window.consumed(n_bytes, host.loop.time(), host.round_trip()) and not self.request_ended:
            host.engine.set_window(self.id, self._window.size)
        host.plan_flush()

    def _dropped(self, n_bytes: int) -> None:
        if not n_bytes:
            return
        if self._is_unwanted:
            self._uncredited += n_bytes
            return
        self._host.engine.credit(self.id, n_bytes)
        self._host.plan_flush()
        if self.answered:
            self._drained_bytes += n_bytes
            if self._drained_bytes > self._host.settings.drain_bytes:
                self._stop_draining()

    def _wake_later(self) -> None:
        self._host.plan_tick()

    async def _inform(self, status: int, headers: list[Header]) -> None:
        self._host.engine.inform(self.id, [(b":status", b"%d" % status), *headers])
        self._host.plan_flush()

    async def _respond(self, status: int, headers: list[Header], data: bytes, *, last: bool) -> None:
        head = [(b":status", b"%d" % status), *headers, self._host.date_field()]
        self._host.engine.respond(self.id, head, end_stream=last and not data)
        if data:
            await self._continue(data, last=last)
        self._host.plan_flush()

    async def _continue(self, data: bytes, *, last: bool) -> None:
        host = self._host
        host.engine.send_data(self.id, data, end_stream=last)
        self._sent_bytes += len(data)
        host.plan_flush()
        while not last and host.engine.queued_bytes(self.id) > self._may_queue():
            self._sender = host.loop.create_future()
            host.senders.add(self)
            try:
                await self._sender
            finally:
                host.senders.discard(self)
                self._sender = None
            if self.peer_gone:
                raise PeerGone

    def _may_queue(self) -> int:
        """Bytes of the answer that may wait here: none, where there is no room for more than has to be held anyway."""
        account = self._host.account
        if not self._answer_bytes and account.share > ANSWER_BYTES and account.take_more(ANSWER_BYTES):
            self._answer_bytes = ANSWER_BYTES
        return SEND_BUFFER if self._answer_bytes else 0

    def _finished(self) -> None:
        super()._finished()
        if self.request_ended or self.peer_gone:
            self._end_when_sent()
        elif self._drain_timer is None:
            # RFC 9113 section 8.1: the answer is whole, the rest of the request is not wanted. Many clients must send
            # a little more before they look, so the stream is not reset at once.
            self._drain_timer = self._host.loop.call_later(self._host.settings.drain_seconds, self._stop_draining)

    def _stop_draining(self) -> None:
        self._is_unwanted = True
        self._host.plan_flush()
        self._end_when_sent()

    def _abort(self) -> None:
        self._host.engine.reset(self.id, ErrorCode.INTERNAL_ERROR)
        self._host.plan_flush()

    def _break_off(self) -> None:
        self._host.engine.reset(self.id, ErrorCode.CANCEL)
        self._host.plan_flush()
        self.gone()

    def _end_when_sent(self) -> None:
        """Until the peer has taken what is queued of the answer it costs what it did, and must be taken in time."""
        if self._host.engine.queued_bytes(self.id) or (self._is_unwanted and not self._host.is_flushed):
            self._is_ending = True
            self._host.senders.add(self)
            return
        if self._is_unwanted and not (self.request_ended or self.peer_gone):
            # Not before: a reset takes along what is still to be written of the answer, and be it its END_STREAM.
            self._host.engine.reset(self.id, ErrorCode.NO_ERROR)
            self._host.plan_flush()
        self._over()

    def _over(self) -> None:
        self._is_ending = False
        self._host.senders.discard(self)
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        self._is_over = True
        if self._share is not None:
            self._share.leave()
            self._share = None
        self._host.engine.credit(self.id, self._uncredited)  # for the connection's window
        self._uncredited = 0
        self._host.forget(self)
        self._release_if_done()

    def _release_if_done(self) -> None:
        """What it held is free when neither the peer nor the application can have any of it."""
        if self._is_over and self._is_served:
            self._window.close()
            self._host.account.give_back(self._cost + self._answer_bytes)
            self._cost = self._answer_bytes = 0


def list_bytes(headers: Sequence[Header]) -> int:
    """The size of a header list (RFC 9113 section 6.5.2)."""
    return sum(len(name) + len(value) + 32 for name, value in headers)
