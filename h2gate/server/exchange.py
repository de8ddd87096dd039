"""One request and its answer as an ASGI application sees them, whatever HTTP version carries them.

The body is pulled: nothing is credited to the sender before the application comes back for more. `scope["extensions"]`
has `h2gate.body`, a `Body` that hands out chunks unjoined (ASGI's `receive` works as well), `h2gate.certificate`, and
`h2gate.known_as`, to be called with the name of who sends.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from h2gate.config import Settings
from h2gate.errors import BodyTimeout, PeerGone
from h2gate.metrics import Traffic
from h2gate.server.pace import Pace
from h2gate.upload import Batch
from h2gate.wire.engine import Header

Message: TypeAlias = dict[str, Any]
App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application: scope, receive, send."""


log = logging.getLogger("h2gate.server")

SMALL_CHUNK_BYTES = 1024
JOINED_BYTES = 16384
"""Chunks that are small are joined, up to so many bytes: held one by one they would cost many times what is in them."""
KEPT_BYTES = 1 << 20
"""Of a body whose sender has left: it is no longer in anybody's window, and the application may be long at its disk."""


_LINE_ENDS = (b"\r", b"\n", b"\0")


class Exchange(ABC):
    """Inbox and answer of one request. The connection calls `arrived`, `ended`, `gone`; the application the rest."""

    def __init__(
        self,
        method: str,
        target: bytes,
        headers: Sequence[Header],
        settings: Settings,
        limited: Callable[[str, str], None],
        traffic: Traffic | None = None,
    ) -> None:
        """`limited` is told which limit the peer ran into, and how; `traffic` counts what passes."""
        self._traffic = traffic or Traffic()
        self.method = method
        self.target = target
        self.length = next((int(value) for name, value in headers if name == b"content-length"), None)
        self.expects_continue = any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)
        """Asked to say when the body is wanted (RFC 9110 section 10.1.1): done at the first `pull`."""
        self.trailers: Sequence[Header] = ()
        self.request_ended = False
        self.peer_gone = False
        self.peer_hung_up = False
        """The peer has closed its side of the connection; it may still read."""
        self.answered = False
        """The answer is complete: what still arrives is dropped."""
        self._limited = limited
        self._request_seconds = settings.request_seconds
        self._age = 0.0
        self._body_pace = Pace(settings.min_body_rate, settings.body_seconds)
        self._chunks: list[bytes | bytearray] = []
        self._inbox_bytes = 0
        self._pulled_bytes = 0
        self._arrived_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._body_over = False
        self._head: tuple[int, list[Header]] | None = None
        self._head_sent = False

    # What arrives

    def arrived(self, chunk: bytes) -> None:
        """A piece of the body."""
        if self.answered:
            self._dropped(len(chunk))
            return
        self._keep(chunk)
        self._inbox_bytes += len(chunk)
        self._arrived_bytes += len(chunk)
        if self._waiter is not None:
            if self._inbox_bytes >= self._fair_bytes():
                self.wake()
            else:
                self._wake_later()

    def _keep(self, chunk: bytes) -> None:
        if len(chunk) >= SMALL_CHUNK_BYTES:
            self._chunks.append(chunk)
        elif self._chunks and type(last := self._chunks[-1]) is bytearray and len(last) < JOINED_BYTES:
            last += chunk
        else:
            self._chunks.append(bytearray(chunk))

    def ended(self, trailers: Sequence[Header] = ()) -> None:
        """The body is whole."""
        self.request_ended = True
        self.trailers = trailers
        self.wake()

    def gone(self) -> None:
        """The peer reset the stream or left; nobody reads the answer. An application may keep what came before that."""
        self.peer_gone = True
        while self._inbox_bytes > KEPT_BYTES:
            size = len(self._chunks.pop())
            self._inbox_bytes -= size
            self._dropped(size)
        self.wake()

    def _drop_all(self) -> None:
        self._dropped(self._inbox_bytes + self._pulled_bytes)
        self._chunks.clear()
        self._inbox_bytes = self._pulled_bytes = 0

    def hung_up(self) -> None:
        """The peer sends no more. An application that waits for the disconnect is told; one that answers goes on."""
        self.peer_hung_up = True
        self.wake()

    def wake(self) -> None:
        """Let the application have what there is."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def is_worked_on(self) -> bool:
        """Bytes of the body are here, and the application has not come back for more."""
        return self._waiter is None and bool(self._pulled_bytes or self._inbox_bytes)

    def check_progress(self, elapsed: float) -> None:
        """Called now and then, so many seconds after the last time: every wait for the peer has a bound."""
        waiter = self._waiter
        its_turn = waiter is not None and not (waiter.done() or self._body_over or self._is_held_back())
        if not self._body_pace.keeps_up(self._arrived_bytes, elapsed, its_turn=its_turn) and waiter and its_turn:
            self._limited("body_seconds", f"{self.method}: {self._arrived_bytes} bytes of the body came, then too few")
            waiter.set_exception(BodyTimeout("the body stopped coming"))
        self._age += elapsed
        if self._request_seconds and self._age > self._request_seconds and not self.peer_gone:
            self._limited("request_seconds", f"{self.method}: not answered whole after {self._age:.0f} s")
            self._break_off()

    # What the application calls

    async def pull(self) -> Batch:
        """See `upload.Body.pull`."""
        if self._pulled_bytes:
            taken, self._pulled_bytes = self._pulled_bytes, 0
            (self._dropped if self.peer_gone else self._consumed)(taken)
        if self.expects_continue:
            self.expects_continue = False
            if not (self._inbox_bytes or self.request_ended or self.peer_gone):
                await self._inform(100, [])
        if not (self._inbox_bytes >= self._fair_bytes() or self.request_ended or self.peer_gone):
            await self._arrival()
        if self.peer_gone and not self._inbox_bytes:
            raise PeerGone
        chunks = [each if type(each) is bytes else bytes(each) for each in self._chunks]
        self._chunks = []
        self._pulled_bytes, self._inbox_bytes = self._inbox_bytes, 0
        self._traffic.received += self._pulled_bytes
        return Batch(chunks, self._pulled_bytes, self.request_ended)

    async def _arrival(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        if self._inbox_bytes:
            self._wake_later()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def receive(self) -> Message:
        """ASGI: `http.request`, then `http.disconnect` when the peer leaves or the answer is complete."""
        if self.answered or self.peer_gone:
            return {"type": "http.disconnect"}
        if self._body_over:  # the body is over: wait for the disconnect
            while not (self.peer_gone or self.peer_hung_up or self.answered):
                await self._arrival()
            return {"type": "http.disconnect"}
        try:
            batch = await self.pull()
        except PeerGone:
            return {"type": "http.disconnect"}
        self._body_over = batch.last
        return {"type": "http.request", "body": b"".join(batch.chunks), "more_body": not batch.last}

    async def send(self, message: Message) -> None:
        """ASGI: the answer, with `http.response.informational` (status, headers) before it for 1xx.

        Raises `PeerGone` (an OSError would be ASGI's; ours is handled the same) when nobody reads it.
        """
        if self.peer_gone:
            raise PeerGone
        match message["type"]:
            case "http.response.start":
                self._head = (message["status"], _lowered(message.get("headers", ())))
            case "http.response.body":
                await self._send_body(message.get("body", b""), last=not message.get("more_body", False))
            case "http.response.informational":
                await self._inform(message["status"], _lowered(message.get("headers", ())))
            case other:
                raise ValueError(f"{other} is not a message of this server")

    async def _send_body(self, data: bytes, *, last: bool) -> None:
        if self._head is None:
            raise ValueError("http.response.body before http.response.start")
        self._traffic.sent += len(data) if self.method != "HEAD" else 0
        if not self._head_sent:
            if not data and not last:
                return  # wait with the header for the first bytes: one write for both
            self._head_sent = True
            status, headers = self._head
            await self._respond(status, headers, data if self.method != "HEAD" else b"", last=last)
        elif data or last:
            await self._continue(data if self.method != "HEAD" else b"", last=last)
        if last:
            self._finished()

    def _finished(self) -> None:
        self.answered = True
        self._drop_all()
        self.wake()

    def known_as(self, principal: str) -> None:  # noqa: B027 - nothing is shared over HTTP/1.1
        """Who sends, once the application knows and before it asks for the body: who shares with the others."""

    @property
    def is_refused(self) -> bool:
        """It was answered with an error, or not at all."""
        return self._head is None or self._head[0] >= 400

    async def run(self, app: App, scope: Message) -> None:
        """Serve the request; an application that fails is answered for with 500, or cut off in mid-answer."""
        try:
            await app(scope, self.receive, self.send)
            if not self.answered and not self.peer_gone:
                log.error("%s %s: the application ended without an answer", self.method, scope["path"])
                await self._fail()
        except Exception as error:
            if not (self.peer_gone and isinstance(error, PeerGone)):
                log.exception("%s %s failed", self.method, scope["path"])
            if not self.peer_gone:
                await self._fail()

    async def _fail(self) -> None:
        if self._head_sent:
            self._abort()
            self._finished()
            return
        self._head = (500, [(b"content-length", b"0")])
        await self._send_body(b"", last=True)

    # What the HTTP version fills in

    @abstractmethod
    def _fair_bytes(self) -> int:
        """As many bytes as are worth waking the application for."""

    @abstractmethod
    def _consumed(self, n_bytes: int) -> None:
        """The application has taken these bytes: let the sender send as many more."""

    @abstractmethod
    def _dropped(self, n_bytes: int) -> None:
        """These bytes will never be taken."""

    @abstractmethod
    def _wake_later(self) -> None:
        """The application waits and some bytes are there, but few: `wake` it after a moment if no more come."""

    @abstractmethod
    async def _inform(self, status: int, headers: list[Header]) -> None:
        """Send a 1xx response."""

    @abstractmethod
    async def _respond(self, status: int, headers: list[Header], data: bytes, *, last: bool) -> None:
        """Send the final response's header with the first bytes of its body."""

    @abstractmethod
    async def _continue(self, data: bytes, *, last: bool) -> None:
        """Send more of the body; waits while the peer reads slowly."""

    def _is_held_back(self) -> bool:
        """The sender waits for credit that it was not given yet."""
        return False

    @abstractmethod
    def _abort(self) -> None:
        """Make clear to the peer that the answer is broken off."""

    @abstractmethod
    def _break_off(self) -> None:
        """End the request, from our side; the application is told that its peer is gone."""


def _lowered(headers: Sequence[tuple[bytes, bytes]]) -> list[Header]:
    """Names in lower case. Raises `ValueError` for what ends a line: HTTP/2 would carry it, and a proxy that speaks
    HTTP/1.1 to others would make a field of its own of what comes behind (RFC 9113 section 10.3)."""
    found = [(bytes(name).lower(), bytes(value)) for name, value in headers]
    text = b"".join(map(b"".join, found))
    if any(end in text for end in _LINE_ENDS):
        raise ValueError("a field of the answer has a line end")
    return found
