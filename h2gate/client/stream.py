"""One request and its response on an HTTP/2 connection: what is to be sent, what has come, and how it ended.

The connection feeds a stream's bytes to the engine a quantum at a time, in turn with the other streams, and never puts
in more while the peer's window holds the last quantum back; the sender waits here while too much is queued. What came
is credited when it is taken, so a slow reader stops its own stream only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from h2gate.client.failures import Broken, ReadTimedOut, Unprocessed, WriteTimedOut
from h2gate.wire.engine import Data, Engine, ErrorCode, Header, Headers, Informational, Reset

if TYPE_CHECKING:
    from h2gate.client.connection import Connection

QUANTUM = 1 << 18
"""Body bytes a stream may put into the engine when it is its turn."""

QUEUE = 1 << 20
"""Body bytes of one stream held for sending."""

OnInformational = Callable[[int, list[Header]], None]


class Stream:
    """Made by `Connection.open`. Not for more than one sender and one reader."""

    def __init__(self, connection: Connection, on_informational: OnInformational | None) -> None:
        self.id = 0
        self.response: asyncio.Future[tuple[int, list[Header]]] = asyncio.get_running_loop().create_future()
        self.trailers: list[Header] = []
        self.failure: BaseException | None = None
        self.peer_ended = False
        self.sent = False
        """Our side is over: END_STREAM has left the engine."""
        self.on_enough: Callable[[], None] | None = None
        """Called once when no more of the body is wanted: a final answer that does not need it, or a failure."""
        self._connection = connection
        self._on_informational = on_informational
        self._outbox: deque[memoryview] = deque()
        self._outbox_bytes = 0
        self._closing = False
        self._end_queued = False
        self._last_words: list[Header] = []
        self._room = asyncio.Event()
        self._inbox: deque[bytes] = deque()
        self._arrived = asyncio.Event()

    # -- sending

    def queue(self, data: bytes | memoryview) -> None:
        """Take body bytes without waiting; see `has_room`."""
        if data:
            self._outbox.append(memoryview(data))
            self._outbox_bytes += len(data)
            self._connection.flush_soon()

    def end(self, trailers: list[Header] | None = None) -> None:
        """Nothing more is queued after this, except `trailers`."""
        self._closing = True
        self._last_words = trailers or []
        self._connection.flush_soon()

    async def room(self, below: int, *, write_seconds: float | None, stall_seconds: float) -> None:
        """Wait until fewer than `below` bytes are queued (0: until everything has left, END_STREAM as well).

        Raises `WriteTimedOut` when the network takes nothing for `write_seconds`, or the peer grants no credit for
        `stall_seconds` though it lives: a slow disk is no failure, a forgotten stream is.
        """
        loop = asyncio.get_running_loop()
        stalled_since, left = loop.time(), self._left()
        while self.failure is None and (not self.sent if below == 0 else self._outbox_bytes >= below):
            self._room.clear()
            try:
                async with asyncio.timeout(stall_seconds if write_seconds is None else write_seconds):
                    await self._room.wait()
            except TimeoutError:
                if self._left() == left:
                    waited = loop.time() - stalled_since
                    if self._connection.paused or waited >= stall_seconds:
                        raise WriteTimedOut(f"no bytes of the body were taken for {waited:.0f} s") from None
            if self._left() != left:
                stalled_since, left = loop.time(), self._left()
        if self.failure is not None:
            raise self.failure

    def _left(self) -> int:
        return self._outbox_bytes + self._connection.queued_bytes(self.id)

    def feed(self, engine: Engine) -> bool:
        """The connection's turn for this stream: put one quantum into the engine. Says whether there was anything."""
        if engine.queued_bytes(self.id):
            return False
        if self._outbox:
            piece = self._next_piece()
            self._end_queued = self._closing and not self._outbox and not self._last_words
            engine.send_data(self.id, piece, end_stream=self._end_queued)
            self._room.set()
            return True
        if self.check_sent():
            return False
        if self._closing:
            self._end_queued = True
            if self._last_words:
                engine.send_trailers(self.id, self._last_words)
            else:
                engine.send_data(self.id, b"", end_stream=True)
            return True
        return False

    def check_sent(self) -> bool:
        """To be asked when the engine holds no bytes of this stream: has our side ended?"""
        if self._end_queued and not self.sent:
            self.sent = True
            self._room.set()
        return self.sent

    def _next_piece(self) -> memoryview:
        piece = self._outbox.popleft()
        if len(piece) > QUANTUM:
            self._outbox.appendleft(piece[QUANTUM:])
            piece = piece[:QUANTUM]
        self._outbox_bytes -= len(piece)
        return piece

    def stop_sending(self) -> None:
        """No more of the body is wanted. What is queued is dropped; the stream is reset once the answer is whole."""
        self._outbox.clear()
        self._outbox_bytes = 0
        self._room.set()
        enough, self.on_enough = self.on_enough, None
        if enough is not None:
            enough()

    # -- receiving: called by the connection

    def on_informational(self, event: Informational) -> None:
        if self._on_informational is not None:
            status, headers = split_status(event.headers)
            try:
                self._on_informational(status, headers)
            except Exception as error:  # noqa: BLE001 - it is the caller's, and no reason to end the connection
                self.fail(error)

    def on_headers(self, event: Headers) -> None:
        status, headers = split_status(event.headers)
        if not self.response.done():
            self.response.set_result((status, headers))
        if status >= 400 and not self.sent:
            self.stop_sending()

    def on_data(self, event: Data) -> None:
        if event.data:
            self._inbox.append(event.data)
            self._arrived.set()

    def on_end(self) -> None:
        self.peer_ended = True
        self._arrived.set()
        if not self.sent:
            self.stop_sending()

    def on_reset(self, event: Reset) -> None:
        if self.peer_ended:  # an early answer and NO_ERROR after it: nothing is lost (RFC 9113 section 8.1)
            return
        name = ErrorCode(event.code).name if event.code in set(ErrorCode) else f"{event.code:#x}"
        if event.code == ErrorCode.REFUSED_STREAM and not self.response.done():
            self.fail(Unprocessed("the gateway refused the stream"))
            return
        who = "the gateway reset the stream" if event.remote else "the gateway's answer breaks the protocol"
        failure = Broken(f"{who} ({name})")
        failure.retry = event.remote and event.code != ErrorCode.PROTOCOL_ERROR
        self.fail(failure)

    def fail(self, failure: BaseException) -> None:
        """Everybody who waits on this stream gets `failure`."""
        if self.failure is None:
            self.failure = failure
            self.stop_sending()
        if not self.response.done():
            self.response.set_exception(failure)
            self.response.exception()  # the waiter may have been cancelled: that is no "never retrieved"
        self._arrived.set()

    # -- receiving: called by the reader

    async def read(self, read_seconds: float | None, most: int | None = None) -> bytes | None:
        """The bytes that have come since the last call (`most` at most), None at the end. Raises what broke the
        stream."""
        while not self._inbox:
            if self.peer_ended:
                return None
            if self.failure is not None:
                raise self.failure
            self._arrived.clear()
            try:
                async with asyncio.timeout(read_seconds):
                    await self._arrived.wait()
            except TimeoutError:
                raise ReadTimedOut(f"no bytes of the answer came for {read_seconds:g} s") from None
        return self.take(most)

    def take(self, most: int | None = None) -> bytes:
        """Everything that has come, or the first of it, credited."""
        data = self._inbox[0] if len(self._inbox) == 1 else b"".join(self._inbox)
        self._inbox.clear()
        if most is not None and len(data) > most:
            self._inbox.append(data[most:])
            data = data[:most]
        self._connection.credit(self.id, len(data))
        return data


def split_status(headers: tuple[Header, ...]) -> tuple[int, list[Header]]:
    """Status and the fields without pseudo-header fields."""
    status = next((int(value) for name, value in headers if name == b":status"), 0)
    return status, [(name, value) for name, value in headers if not name.startswith(b":")]
