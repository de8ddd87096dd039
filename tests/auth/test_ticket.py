"""Tickets: what was signed is what holds; whatever was changed, is over or was revoked is nothing."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from h2gate import tables
from h2gate.auth.base import Evidence
from h2gate.auth.rights import Action
from h2gate.auth.ticket import Issuing, Keys, Ticket, Tickets, ensure_keys, parse, wanted
from h2gate.errors import BadTicket, ConfigError, ExpiredCredential, Unauthenticated

KEYS = Keys((b"k" * 32,))
LATER = float(int(time.time()) + 1000)


def ticket(**options: Any) -> Ticket:
    return Ticket(**{"folder": "in", "expires_at": LATER, **options})


def evidence(target: str = "/files/in/a", **headers: str) -> Evidence:
    return Evidence(method="PUT", target=target, headers=headers, peer="192.0.2.1")


async def nobody(_: str) -> bool:
    return False


def test_ticket_says_after_signing_what_it_said_before() -> None:
    given = ticket(names=("*.csv",), max_bytes=5, max_files=0, tenant="t", issuer="key:a", max_file_bytes=3)
    assert KEYS.verified(KEYS.sign(given)) == given
    assert KEYS.verified(KEYS.sign(ticket(id="1", folder=""))) == ticket(id="1", folder="")


def test_every_changed_character_is_found() -> None:
    text = KEYS.sign(ticket())
    for at in range(len(text)):
        for other in "A_.":
            changed = text[:at] + other + text[at + 1 :]
            if changed != text:
                with pytest.raises(Unauthenticated):
                    KEYS.verified(changed)


@pytest.mark.parametrize("change", ["", ".", "=", " ", "\u00e9", "x" * 5000])
def test_ticket_with_something_behind_it_is_none(change: str) -> None:
    text = KEYS.sign(ticket())
    if change:
        with pytest.raises(Unauthenticated):
            KEYS.verified(text + change)
    with pytest.raises(Unauthenticated):
        KEYS.verified(change)


def test_ticket_signed_with_another_secret_or_none_is_refused() -> None:
    body = base64.urlsafe_b64encode(json.dumps({"id": "1", "folder": "", "expires_at": LATER}).encode()).decode()
    for forged in (Keys((b"x" * 32,)).sign(ticket()), f"h2gt_{body}.", f"h2gt_{body}", "h2gt_.", "h2gt_"):
        with pytest.raises(Unauthenticated, match="signed"):
            KEYS.verified(forged)


def test_new_secret_signs_and_the_old_one_is_still_believed() -> None:
    both = Keys((b"n" * 32, b"k" * 32))
    assert both.verified(KEYS.sign(ticket(id="1"))).id == "1"
    with pytest.raises(Unauthenticated):
        KEYS.verified(both.sign(ticket()))


def test_expired_ticket_is_told_so() -> None:
    with pytest.raises(ExpiredCredential):
        KEYS.verified(KEYS.sign(ticket(expires_at=time.time() - 1)))


@pytest.mark.parametrize(
    ("names", "path", "is_allowed"),
    [
        ((), "in/a", True),
        ((), "in/a/b", True),
        ((), "inn/a", False),
        ((), "a", False),
        (("a.csv",), "in/a.csv", True),
        (("a.csv",), "in/a.csv/x", False),
        (("a.csv",), "in/b/a.csv", False),
        (("a.csv",), "a.csv", False),
        (("*.csv", "?.txt"), "in/x.txt", True),
        (("*.csv", "?.txt"), "in/xx.txt", False),
        (("*.csv",), "in/x/y.csv", False),
        (("*.csv",), "in/x.CSV", False),
    ],
)
def test_ticket_is_for_its_folder_and_names_only(names: tuple[str, ...], path: str, is_allowed: bool) -> None:
    rights = ticket(names=names).principal().rights
    for granted, where in ((rights, path), (rights.under("t/u"), f"t/u/{path}")):
        assert granted.allow(Action.CREATE, where) is is_allowed
        assert not granted.allow(Action.MODIFY, where)
        assert not granted.allow(Action.READ, where)
    assert not rights.under("t").allow(Action.CREATE, path)


def test_ticket_is_found_in_the_field_and_in_the_url() -> None:
    tickets, text = Tickets(KEYS, nobody), KEYS.sign(ticket(id="1"))
    for given in (evidence(authorization=f"Bearer {text}"), evidence(f"/files/in/a?x=1&ticket={text}")):
        found = asyncio.run(tickets.authenticate(given))
        assert found is not None
        assert (found.name, found.credential) == ("ticket:1", "1")
    for other in (evidence(), evidence(authorization="Bearer x"), evidence("/files/ticket=1?x=2")):
        assert asyncio.run(tickets.authenticate(other)) is None
    elsewhere = evidence(f"/files/in/a?ticket={text}", authorization="Bearer h2g_x")
    assert asyncio.run(tickets.authenticate(elsewhere)) is None


@pytest.mark.parametrize("given", ["h2gt_x", "nonsense"])
def test_bad_ticket_in_the_url_is_refused(given: str) -> None:
    with pytest.raises(Unauthenticated):
        asyncio.run(Tickets(KEYS, nobody).authenticate(evidence(f"/files/in/a?ticket={given}")))


def test_revoked_ticket_is_refused_also_in_the_middle() -> None:
    gone: set[str] = set()

    async def is_closed(ticket_id: str) -> bool:
        return ticket_id in gone

    tickets = Tickets(KEYS, is_closed)
    given = evidence(authorization=f"bearer {KEYS.sign(ticket(id='1'))}")
    principal = asyncio.run(tickets.authenticate(given))
    assert principal is not None
    gone.add("1")
    with pytest.raises(Unauthenticated, match="revoked"):
        asyncio.run(tickets.look_again(principal))
    with pytest.raises(Unauthenticated, match="revoked"):
        asyncio.run(tickets.authenticate(given))


def test_file_of_secrets_is_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "tickets.key"
    keys = ensure_keys(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ensure_keys(file) == keys
    assert len(keys.secrets[0]) == 32
    assert [each.name for each in tmp_path.iterdir()] == ["tickets.key"]


@pytest.mark.parametrize("text", ["", "xyz", "00" * 31, "00" * 32 + "\n01\n"])
def test_file_of_secrets_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(ConfigError, match="key"):
        ensure_keys(tmp_path / "key")


def test_table_without_a_key_makes_no_tickets_and_an_unknown_name_is_an_error(tmp_path: Path) -> None:
    def parsed(text: str) -> Issuing | None:
        (tmp_path / "auth.toml").write_text(f"[tickets]\n{text}")
        return parse(tables.read(tmp_path / "auth.toml").table("tickets"))

    assert parsed("") is None
    found = parsed('key = "t.key"\nmax_seconds = 5')
    assert found is not None
    assert found.max_seconds == 5
    for bad in ("max_second = 5", "max_seconds = 5"):
        with pytest.raises(ConfigError, match=r"\[tickets\]"):
            parsed(bad)


def test_ticket_that_is_asked_for_has_what_was_said() -> None:
    claims = {"folder": "in/", "names": "a", "max_bytes": 7, "once": True, "seconds": 60}
    found = wanted(claims, tenant="t", issuer="i", max_seconds=100)
    assert (found.folder, found.names, found.max_bytes, found.max_files, found.tenant) == ("in", ("a",), 7, 1, "t")
    assert 0 < found.expires_at - time.time() <= 60


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"folder": 1},
        {"folder": "/in"},
        {"folder": "../x"},
        {"folder": "in", "names": ["a/b"]},
        {"folder": "in", "names": [""]},
        {"folder": "in", "names": [1]},
        {"folder": "in", "names": ["x"] * 65},
        {"folder": "in", "max_bytes": -1},
        {"folder": "in", "max_bytes": True},
        {"folder": "in", "max_files": "1"},
        {"folder": "in", "once": "no"},
        {"folder": "in", "seconds": 0},
        {"folder": "in", "seconds": 101},
        {"folder": "in", "seconds": float("nan")},
        {"folder": "in", "max_byte": 5},
    ],
)
def test_ticket_that_cannot_be_meant_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(BadTicket):
        wanted(claims, tenant="", issuer="", max_seconds=100)
