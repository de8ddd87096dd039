"""A system without threads, memory or descriptors for the gateway, and clocks that leap: slower or 503, and well again
without a restart.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import resource
import time
from email.utils import parsedate_to_datetime

import pytest

from tests.faults.conftest import Start
from tests.faults.faults import Gateway
from tests.faults.load import Load
from tests.faults.test_disk import EXHAUSTED, KINDS, WELL, warm


def told(load: Load) -> set[tuple[int, str]]:
    return {each for kind in KINDS for each in load.told(kind)}


def test_no_further_threads_make_uploads_slower_and_nothing_else(start: Start) -> None:
    gateway = start("--progress-seconds", "0.02")

    async def main() -> None:
        async with Load(gateway) as load:
            await load.begin()
            with gateway.faults.of("thread", error="EAGAIN") as fault:
                await load.round()
                body = gzip.compress(bytes(3_000_000))
                coded = await load.http.put("/files/coded", content=body, headers={"content-encoding": "gzip"})
                assert coded.status_code == 201
                assert fault.hits
            assert told(load) <= WELL
            before = await asyncio.to_thread(gateway.leftovers)
            await load.round()
            await load.check()
            assert (gateway.data / "files/coded").read_bytes() == bytes(3_000_000)
        await asyncio.to_thread(gateway.expect, before)

    asyncio.run(main())


def test_no_memory_for_blocks_is_503_exhausted_and_over_when_there_is_some(start: Start) -> None:
    gateway = start()

    async def main() -> None:
        async with Load(gateway) as load:
            await load.begin()
        before = await asyncio.to_thread(gateway.leftovers)
        async with Load(gateway) as load:
            await load.begin()
            with gateway.faults.of("memory", error="ENOMEM") as fault:
                await load.round()
                assert fault.hits
            assert load.told("large") == {EXHAUSTED}
            assert load.told("small") | load.told("get") <= WELL
            assert {answer.retry_after for answer in load.answers if answer.kind == "large"} == {"5"}
            load.answers.clear()
            await load.round()
            await load.finish()
            assert told(load) <= WELL
            await load.check()
        await asyncio.to_thread(gateway.expect, before)

    asyncio.run(main())


def limit(gateway: Gateway, n: int) -> int:
    """Allow the process so many descriptors; how many it could have before."""
    before, hard = resource.prlimit(gateway.process.popen.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway.process.popen.pid, resource.RLIMIT_NOFILE, (n, hard))
    return before


def test_real_limit_of_descriptors_is_503_exhausted_and_over_when_it_is_raised(start: Start) -> None:
    gateway = start("--progress-seconds", "0.02")

    async def main() -> None:
        before = await warm(gateway)
        async with Load(gateway) as load:
            await load.begin()
            soft = limit(gateway, gateway.n_descriptors() + 3)
            await load.round()
            assert EXHAUSTED in told(load)
            assert told(load) <= WELL | {EXHAUSTED}
            limit(gateway, soft)
            load.answers.clear()
            await load.round()
            await load.finish()
            assert told(load) <= WELL
            await load.check()
        await asyncio.to_thread(gateway.expect, before)

    asyncio.run(main())


def test_gateway_takes_all_the_descriptors_that_it_may_have(start: Start) -> None:
    soft, hard = resource.prlimit(start().process.popen.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


@pytest.mark.parametrize("leap_seconds", [-7200, 7200], ids=["back", "forward"])
def test_clock_that_leaps_and_leaps_back_expires_and_loses_nothing(start: Start, leap_seconds: int) -> None:
    gateway = start("--progress-seconds", "0.02", "--upload-seconds", "600")

    async def main() -> None:
        async with Load(gateway) as load:
            await load.begin()
            kept = await begun(load)
            with gateway.faults.of("clock", delay_ms=leap_seconds) as fault:
                await load.round(5, 5, 2)
                during = await begun(load)
                await upkeep(gateway)
                assert fault.hits
                answer = await load.http.head("/files/log")
                date = parsedate_to_datetime(answer.headers["date"]).timestamp()
                assert abs(date - time.time() - leap_seconds) < 300
            await upkeep(gateway)
            await load.round(5, 5, 2)
            for url, body in (kept, during):
                await complete(load, url, body)
            assert told(load) <= WELL
            await load.check()

    asyncio.run(main())


async def begun(load: Load) -> tuple[str, bytes]:
    """A resumable upload of which half is there."""
    body = hashlib.sha256(str(time.monotonic_ns()).encode()).digest() * 1000
    fields = {"upload-draft-interop-version": "8", "upload-complete": "?0"}
    answer = await load.http.put("/files/half", content=body[:16_000], headers=fields)
    assert answer.status_code == 201
    return answer.headers["location"], body


async def complete(load: Load, url: str, body: bytes) -> None:
    fields = {"upload-draft-interop-version": "8", "upload-complete": "?1", "upload-offset": "16000"}
    fields["content-type"] = "application/partial-upload"
    answer = await load.http.patch(url, content=body[16_000:], headers=fields)
    assert answer.is_success, answer.text
    load.acknowledged["/files/half"] = body


async def upkeep(gateway: Gateway) -> None:
    """Two rounds of it have begun since: an upload that ends by its time has ended."""
    for _ in range(2):
        with gateway.faults.of("open", "/upkeep.lock") as look:
            async with asyncio.timeout(20):
                while not look.hits:  # noqa: ASYNC110 - another process tells nobody
                    await asyncio.sleep(0.01)


def test_upload_whose_time_is_over_still_expires(start: Start) -> None:
    gateway = start("--upload-seconds", "1")

    async def main() -> None:
        async with Load(gateway) as load:
            url, _ = await begun(load)
            async with asyncio.timeout(20):
                while (await load.http.head(url)).status_code == 204:  # noqa: ASYNC110 - another process tells nobody
                    await asyncio.sleep(2.5)  # asking prolongs nothing, but holds it
            assert (await load.http.head(url)).status_code in (404, 410)

    asyncio.run(main())
