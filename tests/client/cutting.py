"""A TCP relay that breaks connections when it is told to, counts what comes from the client, and may be slow."""

from __future__ import annotations

import asyncio
import random
import socket
import struct

READ_BYTES = 1 << 16
_RESET = struct.pack("ii", 1, 0)


class Relay:
    """Between a client and a port here. `asyncio` in one task a connection and direction."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.up = 0
        """Bytes that came from clients."""
        self.down = 0
        """Bytes that came for them."""
        self.cuts = 0
        self._more = asyncio.Event()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=READ_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, n_bytes: int) -> None:
        """Wait until more than so many bytes have come, while there is a connection."""
        while self.up <= n_bytes or not self._pairs:
            self._more.clear()
            await self._more.wait()

    def cut(self, dice: random.Random | None = None) -> None:
        """Break all connections, at both ends: at each by a reset or (as `dice` fall) by an end that looks orderly."""
        self.cuts += bool(self._pairs)
        for pair in self._pairs:
            for writer in pair:
                if (dice is None or dice.random() < 0.5) and not writer.is_closing():
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()
        self._pairs.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            there_reader, there = await asyncio.open_connection("127.0.0.1", self.target, limit=READ_BYTES)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, there)
        self._pairs.add(pair)
        down = asyncio.create_task(self._carry(there_reader, writer, counted=False))
        self._tasks.add(down)
        await self._carry(reader, there, counted=True)
        await down
        self._pairs.discard(pair)
        for each in pair:
            each.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool) -> None:
        try:
            while data := await reader.read(READ_BYTES):
                if counted:
                    self.up += len(data)
                    self._more.set()
                else:
                    self.down += len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
