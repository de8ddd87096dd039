"""A gateway that is ended or killed while it is in trouble: what was acknowledged is there after the next start."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import httpx
import pytest

from h2gate.errors import GateError
from tests.faults.conftest import Start
from tests.faults.faults import Fault, Gateway
from tests.faults.load import Load


async def sent_until(load: Load, faults: Sequence[Fault], number: signal.Signals) -> None:
    """Uploads until some are under way, and in trouble; then the signal, and to the end of what comes back."""
    round_ = asyncio.create_task(load.round())
    async with asyncio.timeout(20):
        while not any(each.hits > 2 for each in faults) and (faults or not load.is_moving.is_set()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    load.gateway.process.signal(number)
    with suppress(httpx.HTTPError, GateError):
        async with asyncio.timeout(60):
            await round_


async def found(gateway: Gateway, load: Load) -> None:
    """What `load` was told is there, in another gateway."""
    async with Load(
        gateway, acknowledged=load.acknowledged, unanswered=load.unanswered, resumables=load.resumables
    ) as again:
        await again.check()
        await again.finish()
        await again.check()


RULES: dict[str, list[tuple[str, str, str]]] = {
    "well": [],
    "slow": [("sync", "/data/", "")],
    "partial-EIO": [("sync", "/partial/", "EIO"), ("truncate", "/partial/", "EIO")],
    "staging-EIO": [("write", "/staging/", "EIO")],
    "ledger-EIO": [("write", "/ledger.sqlite", "EIO")],
}


@pytest.mark.parametrize("trouble", RULES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_what_was_acknowledged_in_trouble_is_there_after_the_end(
    start: Start, trouble: str, number: signal.Signals
) -> None:
    first = start("--progress-seconds", "0.02", "--grace-seconds", "3")
    load = Load(first)

    async def main() -> None:
        async with load:
            await load.begin()
            with ExitStack() as stack:
                rules = [first.faults.of(*rule, delay_ms=0 if rule[2] else 500, skip=10) for rule in RULES[trouble]]
                await sent_until(load, [stack.enter_context(each) for each in rules], number)
                code = await asyncio.to_thread(first.process.wait)
                assert code == (0 if number == signal.SIGTERM else -number)

    asyncio.run(main())
    second = start()
    assert not any(each.is_file() for each in (second.data / "staging").rglob("*"))
    asyncio.run(found(second, load))
