"""A sync that failed is not believed when it is repeated: what it was for is zeros by then, as `shim.c` has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress

import httpx
import pytest

from h2gate.errors import GateError
from tests.faults.conftest import Start
from tests.faults.faults import Gateway
from tests.faults.load import Load, Resumable

HALF = 600_000
FIELDS = {"upload-draft-interop-version": "8", "upload-complete": "?1", "content-length": "1000000"}


class Begun:
    """An upload whose first bytes are in its file, unsynced; the others come when `go_on` is set."""

    def __init__(self, load: Load) -> None:
        self.upload = Resumable("/files/a", b"0123456789" * 100_000, asyncio.Event())
        self.go_on = asyncio.Event()
        heard = {"h2gate.informational": self.upload.heard}
        sending = load.http.put(self.upload.path, content=self._body(), headers=FIELDS, extensions=heard)
        self.answer = asyncio.create_task(sending)
        load.resumables.append(self.upload)

    async def _body(self) -> AsyncIterator[bytes]:
        yield self.upload.body[:HALF]
        await self.go_on.wait()
        yield self.upload.body[HALF:]

    async def is_written(self, gateway: Gateway) -> None:
        async with asyncio.timeout(20):
            while not any(each.stat().st_size for each in (gateway.data / "partial").iterdir()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def whole_after(gateway: Gateway, upload: Resumable) -> None:
    """It is at its beginning again, and can be gone on with to its end."""
    async with Load(gateway, resumables=[upload]) as load:
        head = await load.http.head(upload.url, headers=FIELDS | {"content-length": "0"})
        assert head.headers["upload-offset"] == "0"
        await load.finish()
        await load.check()


@pytest.mark.parametrize("others", [[], ["ledger"], ["truncate"], ["ledger", "truncate"]], ids="+".join)
def test_bytes_whose_sync_failed_do_not_count_even_where_that_can_be_written_nowhere(
    start: Start, others: list[str]
) -> None:
    gateway = start("--progress-seconds", "3600")
    rules = {"ledger": ("write", "/ledger.sqlite", "EIO"), "truncate": ("truncate", "/partial/", "EIO")}

    async def main() -> None:
        async with Load(gateway) as load:
            await load.begin()
            begun = Begun(load)
            await begun.is_written(gateway)
            with ExitStack() as trouble:
                for each in others:
                    trouble.enter_context(gateway.faults.of(*rules[each]))
                fault = trouble.enter_context(gateway.faults.of("sync", "/partial/", "EIO", times=1))
                begun.go_on.set()
                answer = await begun.answer
                assert (answer.status_code, answer.json()["code"]) == (500, "storage_failed")
                assert fault.hits == 1
        await whole_after(gateway, begun.upload)

    asyncio.run(main())


def test_bytes_that_a_killed_process_left_unsynced_do_not_count_once_a_sync_of_them_has_failed(start: Start) -> None:
    first = start("--progress-seconds", "3600")

    async def begin() -> Resumable:
        async with Load(first) as load:
            await load.begin()
            begun = Begun(load)
            await begun.is_written(first)
            first.process.popen.kill()
            await asyncio.to_thread(first.process.wait)
            with suppress(httpx.HTTPError, GateError):
                await begun.answer
            return begun.upload

    upload = asyncio.run(begin())
    with first.faults.of("sync", "/partial/", "EIO", times=1) as fault:
        second = start()
        assert fault.hits == 1
    asyncio.run(whole_after(second, upload))


def test_folder_whose_entry_could_not_be_synced_is_made_anew_and_synced(start: Start) -> None:
    gateway = start()

    async def main() -> None:
        async with Load(gateway) as load:
            await load.begin()
            with gateway.faults.of("sync", "/data/files$", "EIO", times=1):
                assert (await load.http.put("/files/in/a", content=b"a")).status_code == 500
            assert not (gateway.data / "files/in").exists()
            with gateway.faults.of("sync", "/data/files$") as looked:
                assert (await load.http.put("/files/in/a", content=b"a")).status_code == 201
                assert looked.hits, "the folder that has the new one is synced before anything is acknowledged"

    asyncio.run(main())


def test_upload_found_in_its_place_is_complete_only_when_the_folder_is_synced(start: Start) -> None:
    gateway = start()

    async def main() -> None:
        async with Load(gateway) as load:
            await load.begin()
            begun = Begun(load)
            await begun.is_written(gateway)
            with gateway.faults.of("sync", "/data/files$", "EIO") as fault:
                begun.go_on.set()
                assert (await begun.answer).json()["code"] == "storage_failed"
                seen = fault.hits
                asked = await load.http.head(begun.upload.url, headers=FIELDS | {"content-length": "0"})
                assert (asked.status_code, fault.hits > seen) == (500, True)
            told = await load.http.head(begun.upload.url, headers=FIELDS | {"content-length": "0"})
            assert told.headers["upload-complete"] == "?1"
            assert (await load.http.get("/files/a")).content == begun.upload.body

    asyncio.run(main())
