"""`python -m loadtest.comparison.beside`: a large upload for some seconds, and small ones beside it, each timed.

Over HTTP/2 all of them share one connection, over HTTP/1.1 each kind has its own. h2gate's transport sends to whatever
server it is. Prints one JSON object: what was sent, and how long each small upload took.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from random import Random

import click
import httpx

from h2gate.client import Transport
from h2gate.client.transport import tls_context

SMALL_BYTES = 1024
PAUSE_SECONDS = 0.02
PIECE = Random("beside").randbytes(256 << 10)  # noqa: S311 - what is sent is no secret
LIMIT_SECONDS = 120.0


def small_body(number: int) -> bytes:
    return Random(f"small {number}").randbytes(SMALL_BYTES)  # noqa: S311 - as above


class Large:
    """The bytes of the large upload, and what became of them."""

    def __init__(self, end_at: float) -> None:
        self._end_at = end_at
        self.digest = hashlib.sha256()
        self.size = 0

    async def pieces(self) -> AsyncIterator[bytes]:
        while time.monotonic() < self._end_at:
            self.digest.update(PIECE)
            self.size += len(PIECE)
            yield PIECE


async def run(url: str, ca: str, http: str, seconds: float) -> dict[str, object]:
    transport = Transport(verify=tls_context(ca_files=(ca,)), http="2" if http == "2" else "1.1")
    end_at = time.monotonic() + seconds
    large = Large(end_at)
    waits: list[float] = []
    statuses: list[int] = []
    async with httpx.AsyncClient(transport=transport, timeout=LIMIT_SECONDS) as client:
        statuses.append((await client.put(f"{url}/first", content=small_body(0))).status_code)
        began = time.monotonic()
        sending = asyncio.create_task(client.put(f"{url}/large", content=large.pieces()))
        while time.monotonic() < end_at:
            asked = time.perf_counter()
            answer = await client.put(f"{url}/{len(waits) + 1:06}", content=small_body(len(waits) + 1))
            waits.append(time.perf_counter() - asked)
            statuses.append(answer.status_code)
            await asyncio.sleep(PAUSE_SECONDS)
        statuses.append((await sending).status_code)
        took = time.monotonic() - began
    told = {"seconds": took, "size": large.size, "sha256": large.digest.hexdigest()}
    return {**told, "waits": waits, "statuses": sorted(set(statuses))}


@click.command()
@click.option("--ca", required=True)
@click.option("--http", type=click.Choice(["2", "1.1"]), default="2")
@click.option("--seconds", type=float, default=5.0)
@click.argument("url")
def main(ca: str, http: str, seconds: float, url: str) -> None:
    async def bounded() -> dict[str, object]:
        async with asyncio.timeout(seconds + LIMIT_SECONDS):
            return await run(url, ca, http, seconds)

    click.echo(json.dumps(asyncio.run(bounded())))


if __name__ == "__main__":
    main()
