"""Tenants' quotas, through every way that bytes come in: exactly as much as is allowed, and all of it given back."""

from __future__ import annotations

import asyncio
import gzip
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from h2gate.auth.base import Principal, Via
from h2gate.auth.rights import EVERYTHING
from h2gate.config import Settings
from h2gate.errors import GateError, OverQuota, PeerGone, Refused, TooLarge, TooManyUploads
from h2gate.gateway import Gateway, recover
from h2gate.ledger.base import Claim, Usage
from h2gate.transfer.appending import Append
from h2gate.transfer.grant import Grant
from h2gate.transfer.resumables import Plan
from h2gate.transfer.retention import Retention
from tests.transfer.running import Given, append, cancelled_after, kept, outdate, put, run, shown, state, whole_part

LARGE = 300_000
"""More than what is taken for small."""
BY_TENANT = Grant(principal=Principal(name="u", via=Via.KEY, rights=EVERYTHING, tenant="t"))


@pytest.fixture
def limited(tmp_path: Path) -> Any:
    """`limited(max_bytes=…)` runs a test in a gateway whose tenant `t` has these limits, in `data/`."""

    def start(test: Any, *, restart: bool = False, **limits: float) -> None:
        auth = tmp_path / "auth.toml"
        auth.write_text("[tenants.t]\n" + "".join(f"{name} = {value}\n" for name, value in limits.items()))
        if restart:
            asyncio.run(_recovered(Settings(data=tmp_path / "data", auth=auth, fsync=False)))
        run(tmp_path / "data", test, auth=auth, fsync=False)

    return start


async def _recovered(settings: Settings) -> None:
    await recover(settings)


async def usage(gateway: Gateway) -> Usage:
    return await gateway._ledger.usage("/t")


async def stored(gateway: Gateway, n_bytes: int, path: str = "t/a", *, length: bool = True, **options: Any) -> None:
    pieces = [bytes(min(100_000, n_bytes - at)) for at in range(0, n_bytes, 100_000)]
    body = Given(*pieces, length=n_bytes if length else None)
    await gateway.uploads.put(path, body, fields={}, expected={}, modified_ns=None, **options)


@pytest.mark.parametrize("length", [True, False], ids=["length", "no-length"])
@pytest.mark.parametrize("n_bytes", [1000, LARGE])
def test_the_quota_can_be_used_to_the_last_byte_and_not_one_more(limited: Any, n_bytes: int, length: bool) -> None:
    async def test(gateway: Gateway) -> None:
        await stored(gateway, n_bytes, "t/a", length=length)
        with pytest.raises(OverQuota) as refused:
            await stored(gateway, n_bytes + 1, "t/b", length=length)
        assert refused.value.members["left"] == {"bytes": n_bytes, "files": None}
        assert await usage(gateway) == Usage(n_bytes=n_bytes, n_files=1)
        await stored(gateway, n_bytes, "t/b", length=length)
        await stored(gateway, LARGE, "elsewhere", length=length)
        assert await usage(gateway) == Usage(n_bytes=2 * n_bytes, n_files=2)

    limited(test, max_bytes=2 * n_bytes)


@pytest.mark.parametrize("n_bytes", [1000, LARGE])
def test_length_that_does_not_fit_is_refused_before_a_byte_is_asked_for(limited: Any, n_bytes: int) -> None:
    async def test(gateway: Gateway) -> None:
        with pytest.raises(OverQuota):
            await stored(gateway, n_bytes, is_awaited=True)
        never = Given(asyncio.Event(), b"", length=n_bytes)
        with pytest.raises(OverQuota):  # what was refused a moment ago is looked at first, however small
            await gateway.uploads.put("t/b", never, fields={}, expected={}, modified_ns=None)
        assert not never.pulled.is_set()

    limited(test, max_bytes=n_bytes - 1)


def test_replacing_and_removing_give_back(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        await stored(gateway, 400)
        await stored(gateway, 300)
        assert await usage(gateway) == Usage(n_bytes=300, n_files=1)
        await gateway.uploads.remove("t/a")
        assert await usage(gateway) == Usage()

    limited(test, max_bytes=1000)


def test_file_that_is_too_large_for_one_is_refused_in_either_case(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        for length in (True, False):
            with pytest.raises(TooLarge) as refused:
                await stored(gateway, LARGE + 1, length=length)
            assert refused.value.members["max_bytes"] == LARGE
        await stored(gateway, LARGE - 1)
        for body in (Given(b"xx", length=2), Given(b"xx")):
            with pytest.raises(TooLarge):
                await gateway.uploads.append("t/a", None, body, expected={})
        upload = await gateway.resumables.create(Plan(path="t/b"))
        with pytest.raises(TooLarge):
            await append(gateway, upload, bytes(LARGE), b"x")
        with pytest.raises(TooLarge):
            await gateway.resumables.create(Plan(path="t/b", length=LARGE + 1))
        assert (await usage(gateway)).n_bytes == LARGE - 1

    limited(test, max_file_bytes=LARGE)


@pytest.mark.parametrize("length", [True, False], ids=["length", "no-length"])
def test_body_that_breaks_off_leaves_nothing_held(limited: Any, length: bool) -> None:
    async def test(gateway: Gateway) -> None:
        for error in (PeerGone(), RuntimeError()):
            body = Given(bytes(LARGE), error, length=LARGE + 1 if length else None)
            with pytest.raises(type(error)):
                await gateway.uploads.put("t/a", body, fields={}, expected={}, modified_ns=None)
            assert await usage(gateway) == Usage()

    limited(test, max_bytes=1_000_000)


def test_put_that_is_cancelled_anywhere_leaves_nothing_held(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        for turns in range(0, 60, 3):
            await cancelled_after(
                asyncio.create_task(stored(gateway, LARGE, f"t/{turns}", length=turns % 2 == 0)), turns
            )
            files = [name for name in shown(gateway.settings.data) if name.startswith("t/")]
            found = await usage(gateway)
            assert (found.n_files, found.n_bytes) == (len(files), len(files) * LARGE)
            assert (found.held_bytes, found.held_files) == (0, 0)

    limited(test, max_bytes=100 * LARGE)


def test_append_counts_only_what_it_brought(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        await stored(gateway, 600)
        await gateway.uploads.append("t/a", 600, Given(bytes(400)), expected={})
        for length in (None, 1):
            with pytest.raises(OverQuota):
                await gateway.uploads.append("t/a", 1000, Given(b"x", length=length), expected={})
        assert await usage(gateway) == Usage(n_bytes=1000, n_files=1)
        assert len(shown(gateway.settings.data)["t/a"]) == 1000

    limited(test, max_bytes=1000)


def test_resumable_upload_holds_what_it_has_and_keeps_it_when_more_does_not_fit(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        with pytest.raises(OverQuota):
            await gateway.resumables.create(Plan(path="t/a", length=1001))
        upload = await gateway.resumables.create(Plan(path="t/a"))
        await append(gateway, upload, bytes(600))
        assert await usage(gateway) == Usage(held_bytes=600, held_files=1)
        with pytest.raises(OverQuota) as refused:
            await append(gateway, upload, bytes(300), bytes(300))
        assert refused.value.members["left"] == {"bytes": 100, "files": None}
        assert await usage(gateway) == Usage(held_bytes=900, held_files=1)
        with pytest.raises(OverQuota) as refused:
            await append(gateway, upload, bytes(101), body_length=101)
        assert refused.value.members["left"] == {"bytes": 100, "files": None}
        await append(gateway, upload, bytes(100), complete=True)
        assert await usage(gateway) == Usage(n_bytes=1000, n_files=1)
        assert shown(gateway.settings.data) == {"t/a": bytes(1000)}

    limited(test, max_bytes=1000)


@pytest.mark.parametrize("end", ["cancel", "expire", "digest"])
def test_resumable_upload_that_comes_to_nothing_gives_all_back(limited: Any, end: str) -> None:
    async def test(gateway: Gateway) -> None:
        expected = {"sha-256": bytes(32)} if end == "digest" else {}
        upload = await gateway.resumables.create(Plan(path="t/a", expected=expected))
        await append(gateway, upload, bytes(600))
        if end == "cancel":
            await gateway.resumables.cancel(upload.id)
        elif end == "expire":
            outdate(gateway.settings.data, upload.id)
            assert await gateway.resumables.expire() == 1
        else:
            with pytest.raises(GateError):
                await append(gateway, upload, b"x", complete=True)
        assert await usage(gateway) == Usage()
        assert kept(gateway.settings.data) == {}

    limited(test, max_bytes=1000)


def test_upload_that_cannot_be_shown_holds_its_bytes_still(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        upload = await gateway.resumables.create(Plan(path="t/a", conditions={"if-none-match": "*"}))
        await append(gateway, upload, bytes(600))
        await put(gateway, "t/a", b"in the way")
        with pytest.raises(GateError):
            await append(gateway, upload, b"x", complete=True)
        assert await usage(gateway) == Usage(n_bytes=10, n_files=1, held_bytes=601, held_files=1)

    limited(test, max_bytes=1000)


def test_coded_upload_counts_coded_bytes_and_then_the_file(limited: Any) -> None:
    coded = gzip.compress(bytes(LARGE))

    async def test(gateway: Gateway) -> None:
        fields = {"content-encoding": "gzip"}
        upload = await gateway.resumables.create(Plan(path="t/a", fields=fields))
        with pytest.raises(OverQuota):
            await append(gateway, upload, coded, complete=True)
        assert await usage(gateway) == Usage(n_bytes=1000, n_files=1, held_bytes=len(coded), held_files=1)
        assert await state(gateway, upload.id) == "decoding"
        await gateway.uploads.remove("t/other")
        await gateway.resumables.offset(upload.id)
        assert await usage(gateway) == Usage(n_bytes=LARGE, n_files=1)

    async def fill(gateway: Gateway) -> None:
        await stored(gateway, 1000, "t/other")

    limited(fill, max_bytes=LARGE + len(coded))
    limited(test, max_bytes=LARGE + len(coded))


def test_concatenation_counts_with_its_parts_until_these_are_over(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        parts = []
        for _ in range(2):
            part = await gateway.resumables.create(Plan(path="", length=200, grant=BY_TENANT))
            await gateway.resumables.append(part.id, Append(body=Given(bytes(200)), grant=BY_TENANT))
            parts.append(part.id)
        assert await usage(gateway) == Usage(held_bytes=400)
        await gateway.resumables.join(Plan(path="t/a", parts=parts))
        assert await usage(gateway) == Usage(n_bytes=400, n_files=1, held_bytes=400)
        with pytest.raises(OverQuota):
            await gateway.resumables.join(Plan(path="t/b", parts=parts))
        for each in parts:
            await gateway.resumables.cancel(each)
        assert await usage(gateway) == Usage(n_bytes=400, n_files=1)

    limited(test, max_bytes=1000)


def test_concatenation_that_does_not_fit_is_refused_and_holds_nothing(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        part = await whole_part(gateway, bytes(2000))  # nobody's
        with pytest.raises(OverQuota):
            await gateway.resumables.join(Plan(path="t/a", parts=[part]))
        assert await usage(gateway) == Usage()

    limited(test, max_bytes=1000)


def test_uploads_at_once_are_limited(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        gate = asyncio.Event()
        upload = await gateway.resumables.create(Plan(path="t/r"))
        bodies = [Given(gate, b"x"), Given(gate, b"y")]
        first = asyncio.create_task(gateway.uploads.put("t/a", bodies[0], fields={}, expected={}, modified_ns=None))
        second = asyncio.create_task(gateway.resumables.append(upload.id, Append(body=bodies[1])))
        for each in bodies:
            await each.pulled.wait()
        with pytest.raises(TooManyUploads):
            await stored(gateway, 1, "t/b")
        with pytest.raises(TooManyUploads):
            async with gateway.quotas.at_once("t"):
                raise AssertionError
        await stored(gateway, 1, "t/b", alone=False)
        gate.set()
        await asyncio.gather(first, second)
        async with gateway.quotas.at_once("t"):
            await stored(gateway, 1, "t/c")

    limited(test, max_uploads=2)


def test_rate_is_kept_by_pulling_late(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        began = time.monotonic()
        await asyncio.gather(*(stored(gateway, 400_000, f"t/{n}") for n in range(5)))
        # Two seconds' worth, but for the burst (0.25) and the batches of 0.1 that each of the five has before it waits.
        assert time.monotonic() - began > 1.2

    limited(test, max_rate=1_000_000)


def test_restart_counts_what_is_there_also_what_came_some_other_way(limited: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "files" / "t"

    async def before(gateway: Gateway) -> None:
        for name in ("gone", "changed", "stays", "deep/x/y", "lost/z"):
            await stored(gateway, 100, f"t/{name}")
        upload = await gateway.resumables.create(Plan(path="t/r"))
        await append(gateway, upload, bytes(50))

    async def after(gateway: Gateway) -> None:
        assert await usage(gateway) == Usage(n_bytes=100 + 70 + 100 + 30, n_files=4, held_bytes=50, held_files=1)
        file = await gateway.uploads.find("t/new")
        assert file is not None
        assert file.upload is not None
        await gateway.uploads.remove("t/new")
        assert (await usage(gateway)).n_files == 3

    limited(before, max_bytes=1000)
    (folder / "gone").unlink()
    (folder / "changed").write_bytes(bytes(70))
    (folder / "new").write_bytes(bytes(30))
    (folder / "lost" / "z").unlink()
    (folder / "lost").rmdir()
    os.mkfifo(folder / "pipe")
    limited(after, restart=True, max_bytes=1000)


def test_tenant_that_came_later_finds_its_files_counted(limited: Any, tmp_path: Path) -> None:
    async def before(gateway: Gateway) -> None:
        await stored(gateway, 100)
        upload = await gateway.resumables.create(Plan(path="t/r"))
        await append(gateway, upload, bytes(50))

    async def after(gateway: Gateway) -> None:
        assert await usage(gateway) == Usage(n_bytes=100, n_files=1, held_bytes=50, held_files=1)

    run(tmp_path / "data", before)
    limited(after, restart=True, max_bytes=10)


def test_files_are_kept_for_as_long_as_the_tenant_says(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        retention = Retention(gateway.folders, gateway.uploads, gateway._ledger)
        for name in ("t/a", "t/b", "other"):
            await stored(gateway, 5, name)
        assert await retention.run() == 0
        file = await gateway.uploads.find("t/a")
        assert file is not None
        assert file.upload is not None
        await gateway._ledger.save(replace(file.upload, completed_at=time.time() - 4000))
        later = Retention(gateway.folders, gateway.uploads, gateway._ledger)
        assert await later.run() == 1
        assert shown(gateway.settings.data).keys() == {"t/b", "other"}
        assert await usage(gateway) == Usage(n_bytes=5, n_files=1)

    limited(test, retention_seconds=3600)


TICKET = Principal(
    name="ticket:1", via=Via.TICKET, rights=EVERYTHING, credential="1", max_files=1, max_bytes=1000, tenant="t"
)
BY_TICKET = Grant(principal=TICKET)


def test_ticket_for_one_file_stores_one_whatever_races(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        puts = [stored(gateway, 100, f"t/{n}", grant=BY_TICKET) for n in range(8)]
        results = await asyncio.gather(*puts, return_exceptions=True)
        assert [each for each in results if not isinstance(each, Refused)] == [None]
        assert len(shown(gateway.settings.data)) == 1
        await gateway.uploads.remove(next(iter(shown(gateway.settings.data))))
        with pytest.raises(Refused):
            await stored(gateway, 100, "t/x", grant=BY_TICKET)

    limited(test, max_bytes=5000)


def test_ticket_is_not_used_up_by_what_failed(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        with pytest.raises(PeerGone):
            body = Given(b"x", PeerGone())
            await gateway.uploads.put("t/a", body, fields={}, expected={}, modified_ns=None, grant=BY_TICKET)
        with pytest.raises(OverQuota):
            await stored(gateway, 1001, grant=BY_TICKET)
        await stored(gateway, 1000, grant=BY_TICKET)

    limited(test)


def test_ticket_that_is_revoked_while_the_body_comes_stores_nothing(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        gate = asyncio.Event()
        body = Given(gate, b"x")
        task = asyncio.create_task(
            gateway.uploads.put("t/a", body, fields={}, expected={}, modified_ns=None, grant=BY_TICKET)
        )
        await body.pulled.wait()
        await gateway._ledger.shut("ticket:1", time.time() + 100)
        gate.set()
        with pytest.raises(Refused, match="revoked"):
            await task
        assert shown(gateway.settings.data) == {}
        assert await usage(gateway) == Usage()

    limited(test)


def test_upload_with_a_ticket_is_one_file_sent_as_it_is(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        for plan in (
            Plan(path="", grant=BY_TICKET),
            Plan(path="t/a", fields={"content-encoding": "gzip"}, grant=BY_TICKET),
        ):
            with pytest.raises(Refused):
                await gateway.resumables.create(plan)
        upload = await gateway.resumables.create(Plan(path="t/a", grant=BY_TICKET))
        with pytest.raises(Refused):
            await gateway.resumables.create(Plan(path="t/b", grant=BY_TICKET))
        await gateway.resumables.append(upload.id, Append(body=Given(b"x"), complete=True, grant=BY_TICKET))
        assert shown(gateway.settings.data) == {"t/a": b"x"}

    limited(test)


def test_many_small_files_cost_no_transaction_of_their_own(limited: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(gateway: Gateway) -> None:
        claims: list[Claim] = []

        async def claim(given: Claim) -> int:
            claims.append(given)
            return given.n_bytes

        monkeypatch.setattr(gateway._ledger, "claim", claim)
        await asyncio.gather(*(stored(gateway, 1000, f"t/{n}", length=n % 2 == 0) for n in range(50)))
        assert claims == []
        assert await usage(gateway) == Usage(n_bytes=50_000, n_files=50)

    limited(test, max_bytes=1_000_000)


def test_what_a_ledger_could_not_be_told_is_told_later(limited: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(gateway: Gateway) -> None:
        with monkeypatch.context() as patch:

            async def fail(_: str) -> None:
                raise GateError("says the test")

            patch.setattr(gateway._ledger, "release", fail)
            with pytest.raises(PeerGone):
                body = Given(bytes(LARGE), PeerGone(), length=LARGE + 1)
                await gateway.uploads.put("t/a", body, fields={}, expected={}, modified_ns=None)
        assert (await usage(gateway)).held_bytes == LARGE + 1
        await gateway.resumables.tidy()
        assert await usage(gateway) == Usage()

    limited(test)


def test_other_limits_hold_at_once_and_other_folders_are_refused(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        await stored(gateway, 1000)
        auth = gateway.settings.auth
        assert auth is not None
        auth.write_text("[tenants.t]\nmax_bytes = 1500")
        await gateway.reload_policy()
        with pytest.raises(OverQuota) as refused:
            await stored(gateway, 501, "t/b")
        assert refused.value.members["left"] == {"bytes": 500, "files": None}
        for other in ("[tenants.t]\nroot = 'u'", "[tenants.t]\n[tenants.u]", ""):
            auth.write_text(other)
            await gateway.reload_policy()
            with pytest.raises(OverQuota):
                await stored(gateway, 501, "t/b")

    limited(test, max_bytes=1000)


def test_parts_that_are_joined_later_become_no_file_that_is_too_large(limited: Any) -> None:
    async def test(gateway: Gateway) -> None:
        parts = [(await gateway.resumables.create(Plan(path="", grant=BY_TENANT))).id for _ in range(2)]
        joined = await gateway.resumables.join(Plan(path="t/a", parts=parts))
        for each in parts:
            await append(gateway, await gateway.resumables.look(each), bytes(600), complete=True)
        settled = await gateway.resumables.settled(joined.id, 20)
        assert settled.state == "failed"
        assert shown(gateway.settings.data) == {}

    limited(test, max_file_bytes=1000)
