"""Something happens to one of eight uploads on a connection to a real gateway: the others finish, nothing stalls, and
no stream is left over on either end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from h2gate.client import Client, Outcome
from h2gate.config import Settings
from h2gate.errors import StorageFull
from h2gate.front.app import create_app
from h2gate.gateway import Gateway
from h2gate.server.exchange import App
from h2gate.storage.disk import DiskStorage
from h2gate.storage.partial import DiskPartial
from tests.conftest import Serve, Served
from tests.server.raw import eventually

SIZE = 3 << 20
ODD = "odd"


def streams_left(served: Served, gate: Client) -> tuple[int, int]:
    """On the gateway, and on this end."""
    here = [slot.connection for origin in gate.transport._origins.values() for slot in origin._slots]
    there = sum(len(each.streams) for each in served.worker.connections)
    return there, sum(len(each._streams) for each in here if each is not None)


async def expect_none_left(served: Served, gate: Client) -> None:
    await asyncio.to_thread(eventually, lambda: streams_left(served, gate) == (0, 0), "no stream is left")


def stranger(gateway: Gateway) -> App:
    """The application, in front of something that asks who is there, before the body is read."""
    app = create_app(gateway)

    async def asked(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].endswith(ODD):
            await send({"type": "http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Bearer")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    return asked


class SmallUploads(DiskStorage):
    """No space for unfinished uploads of more than 4 MiB."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.data)

    @asynccontextmanager
    async def holding(self, key: str) -> AsyncIterator[DiskPartial]:
        async with super().holding(key) as partial:
            write, n_bytes = partial.write, 0

            async def bounded(chunks: Sequence[bytes]) -> None:
                nonlocal n_bytes
                n_bytes += sum(map(len, chunks))
                if n_bytes > 4 << 20:
                    raise StorageFull("no space left, says the test")
                await write(chunks)

            partial.write = bounded  # type: ignore[method-assign]
            yield partial


async def seven_and(gate: Client, folder: Path, odd: Awaitable[Any]) -> tuple[list[Outcome], Any]:
    """Seven uploads that are well, and what came of the odd one beside them."""
    (folder / "well").mkdir()
    for number in range(7):
        (folder / f"well/{number}").write_bytes(os.urandom(SIZE))
    async with asyncio.timeout(40):
        seven, (found,) = await asyncio.gather(gate.put(folder / "well"), asyncio.gather(odd, return_exceptions=True))
    return seven, found


def check_seven(served: Served, folder: Path, seven: list[Outcome]) -> None:
    assert [each.error for each in seven] == [None] * 7
    for number in range(7):
        assert served.path(f"well/{number}").read_bytes() == (folder / f"well/{number}").read_bytes()
    assert served.staged() == []


@pytest.mark.parametrize(
    ("status", "settings"),
    [
        (413, {"max_body": 4 << 20, "max_size": 4 << 20}),
        (507, {"open_storage": SmallUploads}),
        (401, {"make_app": stranger}),
    ],
)
async def test_refused_one_leaves_the_other_seven_and_no_stream(
    serve: Serve, tmp_path: Path, status: int, settings: dict[str, Any]
) -> None:
    served = serve(**settings)
    (tmp_path / ODD).write_bytes(bytes(16 << 20))
    async with Client(served.url, ca=[served.ca], retries=0) as gate:
        seven, odd = await seven_and(gate, tmp_path, gate.put(tmp_path / ODD, ODD))
        check_seven(served, tmp_path, seven)
        (refused,) = odd
        assert refused.error is not None
        assert refused.error.status == status
        assert gate.transport.connections_made == 1
        await expect_none_left(served, gate)
    assert not served.path(ODD).exists()


async def test_cancelled_one_leaves_the_other_seven_and_no_stream(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 16)
            begun.set()

    async def cancelled(gate: Client) -> str:
        put = asyncio.create_task(gate.put(endless(), ODD))
        await begun.wait()
        put.cancel()
        await asyncio.wait({put})
        return "cancelled" if put.cancelled() else "not cancelled"

    async with Client(served.url, ca=[served.ca]) as gate:
        seven, odd = await seven_and(gate, tmp_path, cancelled(gate))
        assert odd == "cancelled"
        check_seven(served, tmp_path, seven)
        assert gate.transport.connections_made == 1
        await expect_none_left(served, gate)


async def test_goaway_in_the_middle_lets_all_eight_finish(serve: Serve, tmp_path: Path) -> None:
    """The gateway leaves in two phases, as it does on SIGTERM; what is in flight goes on, the rest finds a new way."""
    served = serve()

    async def leave() -> None:
        for connection in list(served.worker.connections):
            connection.drain()

    async def slow(middle: Callable[[], Awaitable[None]]) -> AsyncIterator[bytes]:
        for number in range(16):
            yield bytes(1 << 18)
            if number == 8:
                await middle()

    async with Client(served.url, ca=[served.ca]) as gate:

        async def goaway() -> None:
            await asyncio.to_thread(served.inside, leave())
            await gate.put(iter([b"behind it"]), "next")

        seven, odd = await seven_and(gate, tmp_path, gate.put(slow(goaway), ODD))
        check_seven(served, tmp_path, seven)
        assert odd[0].error is None
        assert served.path(ODD).stat().st_size == 16 << 18
        assert served.path("next").read_bytes() == b"behind it"
        await expect_none_left(served, gate)
