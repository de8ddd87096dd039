"""Where a connection finds out what it speaks: by ALPN under TLS, else by its first bytes (RFC 9113 section 3.3)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from h2gate.server.connection import Connection
from h2gate.server.inlet import STEP_BYTES, Inlet

if TYPE_CHECKING:
    from h2gate.server.listener import Visit
    from h2gate.server.worker import Worker

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Doorway(asyncio.BufferedProtocol):
    """The first protocol of every transport; hands it over as soon as it knows."""

    def __init__(self, worker: Worker, visit: Visit) -> None:
        self._worker = worker
        self._visit = visit
        self._first = b""
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is None:
            self._worker.doorways.add(self)
            self._timer = self._worker.loop.call_later(self._worker.settings.header_seconds, self._late)
        elif tls.selected_alpn_protocol() == "h2":
            self._to_http2()
        else:
            self._to_http1()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._worker.buffer[:STEP_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        self._first += bytes(self._worker.buffer[:nbytes])
        if self._first.startswith(PREFACE):
            self._to_http2()
        elif not PREFACE.startswith(self._first):
            self._to_http1()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._visit.leave()

    def close(self) -> None:
        """Nothing was asked yet, and nothing will be."""
        self._transport.close()

    def _late(self) -> None:
        what = "nothing, or too little to tell the HTTP version by"
        self._worker.metrics.limit_hit("header_seconds", self._visit.caller.address, what)
        self.close()

    def _leave(self) -> None:
        self._worker.doorways.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def _to_http2(self) -> None:
        connection = Connection(self._worker, self._worker.engine(), self._visit)
        self._hand_over(connection)
        if self._first:
            connection.received(memoryview(self._first))

    def _to_http1(self) -> None:
        inlet = Inlet(self._worker.buffer, self._worker.loop)
        self._hand_over(inlet)
        if self._first:
            inlet.reader.feed_data(self._first)
        self._worker.serve_http1(inlet, self._visit)

    def _hand_over(self, protocol: asyncio.BaseProtocol) -> None:
        self._leave()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
