"""A path without root: a relay of TCP connections on loopback that holds every byte back and paces them.

What it is not: packets, loss, a queue that overflows, TCP's own slow start over the distance. It has the round trip and
the rate only, so what it tells of windows and of requests that wait for answers is right, and nothing else is.
A process of its own, standard library only; it ends when its standard input does, or when its time is up.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress

PIECE_BYTES = 65536
QUEUE_SECONDS = 0.25
"""Held back beyond the round trip before the relay stops reading: the bottleneck's buffer."""


class Direction:
    """One way of all connections: they share the rate."""

    def __init__(self, one_way_seconds: float, bytes_per_second: float) -> None:
        self._one_way_seconds = one_way_seconds
        self._bytes_per_second = bytes_per_second
        self._free_at = 0.0

    def due(self, now: float, size: int) -> float:
        """When `size` bytes that come now arrive at the other end."""
        self._free_at = max(self._free_at, now) + size / self._bytes_per_second
        return self._free_at + self._one_way_seconds

    async def carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Until the source ends, which is passed on as late as everything else."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def deliver() -> None:
            while True:
                at, piece = await held.get()
                await asyncio.sleep(at - loop.time())
                if not piece:
                    with suppress(OSError):
                        target.write_eof() if target.can_write_eof() else target.close()
                    return
                target.write(piece)
                await target.drain()

        delivering = asyncio.create_task(deliver())
        try:
            while not delivering.done():
                piece = await source.read(PIECE_BYTES)
                at = self.due(loop.time(), len(piece))
                held.put_nowait((at, piece))
                if not piece:
                    break
                await asyncio.sleep(at - self._one_way_seconds - QUEUE_SECONDS - loop.time())
            await delivering
        except (OSError, asyncio.IncompleteReadError):
            pass  # one end has left, and the other is told so by the end of its connection
        finally:
            delivering.cancel()
            target.close()


async def serve(host: str, port: int, rtt_seconds: float, bytes_per_second: float, seconds: float) -> None:
    """Tell the port on standard output, then relay to `port` until standard input ends."""
    up, down = (Direction(rtt_seconds / 2, bytes_per_second) for _ in range(2))

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(up.carry(reader, far_writer), down.carry(far_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(relay, host, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(ended), seconds)
    server.close()


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(**asked))
