"""Accepts on one socket: while there is room for a connection, and no more of them from one address than it may have.

asyncio's own server accepts as long as the kernel has any, and says nothing of handshakes that fail. Here a connection
is counted from its first moment, TLS or not.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import TYPE_CHECKING

from h2gate.server.callers import MAX_DELAY_SECONDS
from h2gate.server.doorway import Doorway
from h2gate.server.efforts import HANDSHAKE_SECONDS

if TYPE_CHECKING:
    from h2gate.server.callers import Caller
    from h2gate.server.worker import Worker

BACKLOG = 1024
CONNECTION_BYTES = 384 << 10
"""What a connection holds beside its streams: TLS state and buffers in both directions."""
_PAUSE_SECONDS = 0.1
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Visit:
    """One connection's place: it is left once, whoever says so first."""

    def __init__(self, worker: Worker, caller: Caller) -> None:
        self.caller = caller
        self._worker = worker
        self._is_over = False

    def leave(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._worker.left(self)
            self.caller.give_back(CONNECTION_BYTES)
            self.caller.leave()


class Listener:
    """`run` until cancelled."""

    def __init__(self, worker: Worker, sock: socket.socket, *, tls: bool) -> None:
        self._worker = worker
        self._sock = sock
        self._tls = tls
        self._handshakes: set[asyncio.Task[None]] = set()
        sock.listen(BACKLOG)

    async def run(self) -> None:
        loop = self._worker.loop
        try:
            while True:
                await self._worker.room()
                try:
                    sock, address = await loop.sock_accept(self._sock)
                except OSError as error:
                    if error.errno in _SCARCE:
                        self._worker.metrics.limit_hit("descriptors", "anybody", str(error))
                        await asyncio.sleep(_PAUSE_SECONDS)
                    continue  # else it had left again
                self._admit(sock, str(address[0]))
        finally:
            self._sock.close()
            for task in self._handshakes:
                task.cancel()

    def _admit(self, sock: socket.socket, host: str) -> None:
        worker = self._worker
        delay = worker.callers.delay(host)
        if delay:
            worker.metrics.limit_hit("address_offences", host, "was cut off often and is let in slowly")
        caller = worker.callers.admit(host)
        if caller is None:
            worker.metrics.limit_hit("address_connections", host, "has as many connections as it may")
            sock.close()
            return
        if not caller.take_little(CONNECTION_BYTES):
            worker.metrics.limit_hit("memory", host, "no memory left for a connection")
            caller.leave()
            sock.close()
            return
        visit = Visit(worker, caller)
        worker.visits.add(visit)
        if self._tls:
            worker.efforts.at_work(caller.address)
            delay = max(delay, min(worker.efforts.pause(caller.address), MAX_DELAY_SECONDS))
            worker.efforts.spent(caller.address, HANDSHAKE_SECONDS)
        task = worker.loop.create_task(self._shake_hands(sock, visit, delay))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, sock: socket.socket, visit: Visit, delay: float) -> None:
        worker = self._worker
        try:
            await asyncio.sleep(delay)
        except asyncio.CancelledError:
            sock.close()
            visit.leave()
            raise
        context = worker.tls if self._tls else None
        try:
            await worker.loop.connect_accepted_socket(
                lambda: Doorway(worker, visit),
                sock,
                ssl=context,
                ssl_handshake_timeout=worker.settings.handshake_seconds if context is not None else None,
            )
        except ssl.SSLError:
            visit.leave()  # not TLS, or not a version or cipher of ours
        except OSError as error:
            visit.leave()
            if isinstance(error, TimeoutError) or "handshake" in str(error):
                what = f"no TLS within {worker.settings.handshake_seconds:g} s"
                worker.metrics.limit_hit("handshake_seconds", visit.caller.address, what)
        except asyncio.CancelledError:
            visit.leave()
            raise
