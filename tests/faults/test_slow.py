"""A disk that takes seconds for a sync or a write: all arrives in the end, and what needs no disk does not wait."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from tests.faults.conftest import Start
from tests.faults.load import Load
from tests.faults.test_disk import KINDS, WELL, warm

DELAY_MS = 10_000 if os.environ.get("H2GATE_LONG") else 3_000


@pytest.mark.timeout(240)
@pytest.mark.parametrize("call", ["sync", "write"])
def test_slow_disk_delays_uploads_fails_none_and_holds_up_nobody_who_does_not_need_it(start: Start, call: str) -> None:
    gateway = start()

    async def main() -> None:
        before = await warm(gateway)
        async with Load(gateway) as load:
            await load.begin()
            with gateway.faults.of(call, "/data/", delay_ms=DELAY_MS, times=40) as fault:
                uploads = asyncio.create_task(load.round(20, 5, 3))
                async with asyncio.timeout(20):
                    while not fault.hits:  # noqa: ASYNC110 - another process tells nobody
                        await asyncio.sleep(0.01)
                begun = time.monotonic()
                assert (await load.http.get("/healthz")).status_code == 200
                assert time.monotonic() - begun < DELAY_MS / 1000 * 0.8
                await uploads
            assert {each for kind in KINDS for each in load.told(kind)} <= WELL
            await load.check()
        await asyncio.to_thread(gateway.expect, before)

    asyncio.run(main())


@pytest.mark.timeout(240)
def test_upload_on_a_slow_disk_is_423_for_a_newcomer_until_its_bytes_are_there(start: Start) -> None:
    gateway = start("--takeover-seconds", "0.5", "--progress-seconds", "0")

    async def main() -> None:
        async with Load(gateway) as load:
            await load.begin()
            fields = {"upload-draft-interop-version": "8", "upload-complete": "?0"}
            url = (await load.http.put("/files/a", content=b"a" * 1000, headers=fields)).headers["location"]
            more = fields | {"upload-offset": "1000", "content-type": "application/partial-upload"}
            with gateway.faults.of("sync", "/partial/", delay_ms=DELAY_MS, skip=1, times=1) as fault:
                first = asyncio.create_task(load.http.patch(url, content=b"b" * 1000, headers=more))
                async with asyncio.timeout(20):
                    while not fault.hits:  # noqa: ASYNC110 - another process tells nobody
                        await asyncio.sleep(0.01)
                newcomer = await load.http.head(url, headers=fields)
                assert (newcomer.status_code, newcomer.headers["retry-after"]) == (423, "1")
                assert (await first).is_success
            found = await load.http.head(url, headers=fields)
            assert found.headers["upload-offset"] == "2000"

    asyncio.run(main())
