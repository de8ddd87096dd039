"""The audit log on the event loop: lines share batches, refusals are limited, keys and signatures hold."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from dataclasses import replace
from pathlib import Path

import pytest

from h2gate.audit import proofs
from h2gate.audit.chain import MAX_LINE_BYTES
from h2gate.audit.event import Event
from h2gate.audit.excess import LINES, LINES_OF_ONE, SECONDS, Excess
from h2gate.audit.file import head_path
from h2gate.audit.listing import Wanted, lines
from h2gate.audit.log import HEAD, RECEIPT, AuditLog
from h2gate.audit.settings import AuditSettings
from h2gate.audit.signing import BadSignature, public_key, signer, verified
from h2gate.audit.verifying import verify
from h2gate.errors import ConfigError
from h2gate.metrics import Metrics

DENIED = Event(event="deny", peer="192.0.2.1", code="forbidden", status=403)


@pytest.fixture
def settings(tmp_path: Path) -> AuditSettings:
    return AuditSettings(path=tmp_path / "audit.jsonl", receipt_key=tmp_path / "receipt.key")


def told(settings: AuditSettings) -> list[dict[str, object]]:
    assert verify([settings.path]).faults == []
    return [dict(each) for each in lines([settings.path], Wanted())]


def test_lines_that_are_recorded_at_once_are_all_there_in_order(settings: AuditSettings) -> None:
    async def run() -> None:
        log = AuditLog(settings, Metrics())
        links = await asyncio.gather(*(log.record(Event(event="create", path=str(n))) for n in range(500)))
        assert [each.seq for each in links] == list(range(1, 501))
        await log.close()

    asyncio.run(run())
    assert [each["path"] for each in told(settings)] == [str(n) for n in range(500)]


def test_a_line_is_bounded_whatever_a_peer_says_of_itself(settings: AuditSettings) -> None:
    async def run() -> None:
        log = AuditLog(settings, Metrics())
        await log.record(Event(event="deny", path="é\x01" * 5000, forwarded="x" * 10**6, who="\ud800\n" * 10**5))
        await log.close()

    asyncio.run(run())
    (line,) = settings.path.read_bytes().splitlines()
    assert len(line) < MAX_LINE_BYTES
    assert len(told(settings)) == 1


def test_refusals_that_are_left_out_are_told_when_the_log_is_closed(settings: AuditSettings) -> None:
    async def run() -> None:
        log = AuditLog(settings, Metrics())
        for _ in range(LINES_OF_ONE + 5):
            await log.refused(DENIED)
        await log.close()

    asyncio.run(run())
    found = told(settings)
    assert len(found) == LINES_OF_ONE + 1
    assert (found[-1]["event"], found[-1]["detail"], found[-1]["count"]) == ("omit", "deny", 5)


def test_each_address_has_lines_of_its_own_and_all_together_no_more_than_so_many() -> None:
    now = 0.0
    excess = Excess(lambda: now)
    assert [excess.passes(DENIED) for _ in range(LINES_OF_ONE + 1)] == [True] * LINES_OF_ONE + [False]
    assert excess.passes(replace(DENIED, peer="192.0.2.2"))
    passed = sum(excess.passes(replace(DENIED, peer=f"10.0.{n >> 8}.{n & 255}")) for n in range(10_000))
    assert passed == LINES - LINES_OF_ONE - 1
    assert len(excess._passed) <= LINES, "who has no line is not remembered"
    now += SECONDS
    assert excess.passes(DENIED)
    assert [each.count for each in excess.left_out()] == [1 + 10_000 - passed]
    assert not excess.any_left_out


def test_the_head_is_signed_and_is_no_receipt(settings: AuditSettings) -> None:
    async def run() -> None:
        log = AuditLog(settings, Metrics())
        await log.record(Event(event="create"))
        await log.record(Event(event="create"))
        await log.close()

    asyncio.run(run())
    head, key = head_path(settings.path), settings.receipt_key.with_suffix(".pub")
    anchor = proofs.anchor(proofs.head(head, key), "the head")
    assert anchor.link.seq == 2
    assert verify([settings.path], [anchor]).faults == []
    with pytest.raises(BadSignature, match=RECEIPT):
        proofs.receipt(head, key)


def test_the_key_is_made_once_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "receipt.key"
    texts = [signer(file).sign(HEAD, {"seq": 1}) for _ in range(2)]
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in file.with_suffix(".pub").read_bytes()
    assert [verified(text, HEAD, public_key(file.with_suffix(".pub")))["seq"] for text in texts] == [1, 1]
    assert [each.name for each in file.parent.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize("text", ["", "not a key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_is_none_is_a_setting_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    file = tmp_path / "receipt.key"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"receipt\.key"):
        signer(file)


def test_a_public_key_does_not_sign(tmp_path: Path) -> None:
    signer(tmp_path / "receipt.key")
    with pytest.raises(ConfigError, match="not a private"):
        signer(tmp_path / "receipt.pub")


def test_a_signature_with_no_algorithm_or_another_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "receipt.key"
    signer(file)
    public = file.with_suffix(".pub")
    header = json.dumps({"alg": "HS256", "typ": HEAD}).encode()
    covered = b".".join(base64.urlsafe_b64encode(each).rstrip(b"=") for each in (header, b"{}"))
    mac = hmac.digest(public.read_bytes(), covered, "sha256")
    confused = f"{covered.decode()}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    none = "eyJhbGciOiJub25lIiwidHlwIjoiaDJnYXRlLWhlYWQifQ.e30."
    for text in (confused, none, "", "a.b.c", "é.é.é"):
        with pytest.raises(BadSignature):
            verified(text, HEAD, public_key(public))
