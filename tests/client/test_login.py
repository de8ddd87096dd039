"""`h2gate login` against an issuer that says everything it may: what is kept, refreshed, shared, and never told."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from h2gate.client import Client, logins
from h2gate.client.failures import LocalFile, LoginOver
from h2gate.client.login import Wanted, log_in, log_out
from h2gate.client.logins import Login, Store, Stored
from h2gate.client.provider import Device
from h2gate.client.tokens import Token
from h2gate.errors import Busy, ConfigError, GateError, Refused, Unauthenticated
from tests.client.conftest import Tls
from tests.client.guard import Guard
from tests.client.issuer import Issuer
from tests.client.peer import Call, Peer
from tests.conftest import Serve

GATE = "https://gate.example/"


class Bed:
    """An issuer, a place to keep logins in, and what a person was shown."""

    def __init__(self, issuer: Issuer, store: Store, ca: Path) -> None:
        self.issuer = issuer
        self.store = store
        self.ca = ca
        self.shown: list[Device] = []
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def log_in(self, url: str = GATE, **more: Any) -> Login:
        wanted = Wanted(**{"url": url, "issuer": self.issuer.url, "ca": (self.ca,), **more})
        return await log_in(wanted, self.shown.append, self.store, sleep=self.sleep)

    def source(self, url: str = GATE) -> Stored:
        return Stored(url, self.store, ca=(self.ca,), http="auto")

    @property
    def kept(self) -> Login:
        login = self.store.read(GATE)
        assert login is not None
        return login


@asynccontextmanager
async def bed(tls: Tls, folder: Path) -> AsyncIterator[Bed]:
    issuer = Issuer()
    async with issuer.serving(tls.server):
        yield Bed(issuer, Store(folder), tls.ca)


# -- logging in


async def test_person_is_shown_a_code_and_the_tokens_are_kept_privately(tls: Tls, tmp_path: Path) -> None:
    async with bed(tls, tmp_path) as on:
        on.issuer.answers = ["authorization_pending", "slow_down", "authorization_pending"]
        await on.log_in()
        (device,) = on.shown
        assert (device.user_code, device.url) == ("WDJB-MJHT", f"{on.issuer.url}/activate")
        assert on.slept == [5, 5, 10, 10]
        assert on.kept.access.value == "access-1"
        assert ("/device", {"client_id": "h2gate", "scope": "openid offline_access"}) in on.issuer.asked
        file = on.store.file(GATE)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert "access-1" not in repr(on.kept)
        assert "refresh-1" not in repr(on.kept)


async def test_what_is_wanted_is_asked_for(tls: Tls, tmp_path: Path) -> None:
    async with bed(tls, tmp_path) as on:
        on.issuer.device = {"interval": 1}
        await on.log_in(client_id="me", scope="storage.create:/in", resource="https://gate.example")
        asked = dict(on.issuer.asked)
        assert asked["/device"] == {
            "client_id": "me", "scope": "storage.create:/in", "resource": "https://gate.example",
        }  # fmt: skip
        assert {"client_id": "me", "resource": "https://gate.example"}.items() <= asked["/token"].items()
        assert on.slept == [1]


@pytest.mark.parametrize(
    ("answers", "why"),
    [(["access_denied"], "denied"), (["authorization_pending", "expired_token"], "nobody said yes in time")],
)
async def test_no_from_the_issuer_is_final(tls: Tls, tmp_path: Path, answers: list[str], why: str) -> None:
    async with bed(tls, tmp_path) as on:
        on.issuer.answers = answers
        with pytest.raises(Refused, match=why):
            await on.log_in()
        assert on.store.read(GATE) is None


async def test_device_code_that_ran_out_is_not_asked_for(tls: Tls, tmp_path: Path) -> None:
    async with bed(tls, tmp_path) as on:
        on.issuer.device = {"expires_in": 0}
        with pytest.raises(Refused, match="in time"):
            await on.log_in()
        assert not on.issuer.n_asked("/token")


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"issuer": "https://evil.example"}, "another issuer"),
        ({"token_endpoint": "http://evil.example/token"}, "neither over TLS"),
        ({"token_endpoint": None}, "not a URL"),
        ({"device_authorization_endpoint": None}, "no login for devices"),
        ({"device_authorization_endpoint": "file:///etc/passwd"}, "not a URL"),
    ],
)
async def test_issuer_that_is_not_to_be_believed_gets_nothing(
    tls: Tls, tmp_path: Path, metadata: dict[str, Any], why: str
) -> None:
    async with bed(tls, tmp_path) as on:
        on.issuer.metadata = metadata
        with pytest.raises(GateError, match=why):
            await on.log_in()
        assert {path for path, _ in on.issuer.asked} == {"/.well-known/openid-configuration"}


@pytest.mark.parametrize("device", [{"verification_uri": "javascript:x"}, {"user_code": None}, {"expires_in": "x"}])
async def test_answer_to_a_device_that_is_none_is_refused(tls: Tls, tmp_path: Path, device: dict[str, Any]) -> None:
    async with bed(tls, tmp_path) as on:
        on.issuer.device = device
        if device == {"user_code": None}:
            on.issuer.device = {"user_code": "\x1b]0;evil\x07"}
            await on.log_in()
            assert "\x1b" not in on.shown[0].user_code
            return
        with pytest.raises(GateError):
            await on.log_in()
        assert not on.shown


async def test_gateway_names_its_issuer(tls: Tls, tmp_path: Path, serve: Serve) -> None:
    async with bed(tls, tmp_path) as on:
        served = serve(make_app=Guard(set(), issuers=[on.issuer.url]))
        login = await on.log_in(served.url, issuer="", ca=(tls.ca, served.ca))
        assert login.origin == served.url
        assert on.store.read(served.url + "/files/in/") == login


async def test_gateway_with_several_issuers_or_none_leaves_the_choice(tls: Tls, tmp_path: Path, serve: Serve) -> None:
    async with bed(tls, tmp_path) as on:
        served = serve(make_app=Guard(set(), issuers=[on.issuer.url, "https://other.example"]))
        with pytest.raises(ConfigError, match=r"--issuer: .*https://other\.example"):
            await on.log_in(served.url, issuer="", ca=(tls.ca, served.ca))
    async with bed(tls, tmp_path) as on:
        served = serve(data=tmp_path / "other")
        with pytest.raises(GateError, match="name an --issuer"):
            await on.log_in(served.url, issuer="", ca=(tls.ca, served.ca))


async def test_what_is_said_for_another_resource_is_not_believed(tls: Tls, tmp_path: Path) -> None:
    async def serve(call: Call) -> None:
        told = {"resource": "https://gate.example/", "authorization_servers": ["https://evil.example"]}
        call.answer(200, body=json.dumps(told).encode())

    gateway = Peer(serve)
    async with bed(tls, tmp_path) as on, gateway.serving(tls.server):
        with pytest.raises(GateError, match="another resource"):
            await on.log_in(gateway.url, issuer="")


async def test_login_over_a_line_that_others_read_is_refused(tls: Tls, tmp_path: Path) -> None:
    async with bed(tls, tmp_path) as on:
        with pytest.raises(ConfigError, match="over TLS"):
            await on.log_in("http://gate.example/")
        with pytest.raises(ConfigError, match="over TLS"):
            await on.log_in(issuer="http://issuer.example")
        assert not on.issuer.asked


async def test_endless_answer_is_cut_off(tls: Tls, tmp_path: Path) -> None:
    async def serve(call: Call) -> None:
        call.answer(200, body=b"[" * (2 << 20))

    issuer = Peer(serve)
    async with bed(tls, tmp_path) as on, issuer.serving(tls.server):
        with pytest.raises(GateError, match="bytes"):
            await on.log_in(issuer=issuer.url)


# -- what is kept


async def test_refresh_token_is_used_once_and_its_successor_kept(tls: Tls, tmp_path: Path) -> None:
    async with bed(tls, tmp_path) as on:
        first = (await on.log_in()).access
        source = on.source()
        assert await source.token(None) == first
        second = await source.token(first)
        assert second.value == "access-2"
        assert on.kept.access == second
        assert (await on.source().token(second)).value == "access-3"
        assert not on.issuer.dead_on_reuse


@pytest.mark.parametrize("seconds", [0, -1, None])
async def test_lifetime_that_is_none_is_not_heeded(tls: Tls, tmp_path: Path, seconds: float | None) -> None:
    async with bed(tls, tmp_path) as on:
        on.issuer.lifetime_seconds = seconds
        assert (await on.log_in()).access == Token("access-1")


async def test_clients_that_refresh_at_once_use_one_refresh_token(tls: Tls, tmp_path: Path) -> None:
    async with bed(tls, tmp_path) as on:
        first = (await on.log_in()).access
        found = await asyncio.gather(*(on.source().token(first) for _ in range(8)))
        assert {token.value for token in found} == {"access-2"}
        assert not on.issuer.dead_on_reuse


async def test_processes_that_refresh_at_once_use_one_refresh_token(tls: Tls, tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from h2gate.client.logins import Store, Stored\nfrom h2gate.client.tokens import Token\n"
        f"source = Stored({GATE!r}, Store(Path(sys.argv[1])), ca=(sys.argv[2],), http='auto')\n"
        "print(asyncio.run(source.token(Token('access-1'))).value)\n"
    )
    async with bed(tls, tmp_path) as on:
        await on.log_in()
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        pipe = asyncio.subprocess.PIPE
        args = [sys.executable, "-c", code, str(tmp_path), str(tls.ca)]
        running = [await asyncio.create_subprocess_exec(*args, stdout=pipe, env=environment) for _ in range(3)]
        said = [(await each.communicate())[0] for each in running]
        assert said == [b"access-2\n"] * 3
        assert not on.issuer.dead_on_reuse


async def test_lock_that_is_held_for_ever_is_given_up(
    tls: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "LOCK_SECONDS", 0.1)
    async with bed(tls, tmp_path) as on:
        first = (await on.log_in()).access
        async with on.store.locked(GATE):
            with pytest.raises(Busy):
                await on.source().token(first)
        assert (await on.source().token(first)).value == "access-2"


async def test_login_that_the_issuer_has_ended_says_so(tls: Tls, tmp_path: Path) -> None:
    async with bed(tls, tmp_path) as on:
        first = (await on.log_in()).access
        on.issuer._refresh.clear()
        with pytest.raises(LoginOver, match=r"h2gate login https://gate\.example") as over:
            await on.source().token(first)
        assert not over.value.retry
        assert "refresh-1" not in str(over.value)


async def test_issuer_that_is_down_is_worth_another_try(tls: Tls, tmp_path: Path) -> None:
    async with bed(tls, tmp_path) as on:
        first = (await on.log_in()).access
        on.issuer.is_down = True
        with pytest.raises(GateError) as down:
            await on.source().token(first)
        assert down.value.retry
        on.issuer.is_down = False
        assert (await on.source().token(first)).value == "access-2"


async def test_login_without_refresh_token_ends_with_its_token(tls: Tls, tmp_path: Path) -> None:
    async with bed(tls, tmp_path) as on:
        login = await on.log_in()
        on.store.write(Login(login.origin, login.endpoints, "h2gate", login.access))
        with pytest.raises(LoginOver, match="no way to go on"):
            await on.source().token(login.access)


@pytest.mark.parametrize("damage", ["mode", "text"])
async def test_file_that_is_not_ours_alone_or_no_login_is_refused(tls: Tls, tmp_path: Path, damage: str) -> None:
    async with bed(tls, tmp_path) as on:
        await on.log_in()
        file = on.store.file(GATE)
        if damage == "mode":
            file.chmod(0o644)
        else:
            file.write_text("{}")
        with pytest.raises(LocalFile, match="log in again"):
            await on.source().token(None)
        await log_out(GATE, on.store)
        assert not file.exists()


async def test_logout_tells_the_issuer_and_forgets(tls: Tls, tmp_path: Path) -> None:
    async with bed(tls, tmp_path) as on:
        await on.log_in()
        login, failure = await log_out(GATE, on.store, ca=(tls.ca,))
        assert login is not None
        assert failure is None
        revoked = {"token": "refresh-1", "token_type_hint": "refresh_token", "client_id": "h2gate"}
        assert ("/revoke", revoked) in on.issuer.asked
        assert not on.store.file(GATE).exists()
        with pytest.raises(LoginOver):
            await on.source().token(login.access)
        assert await log_out(GATE, on.store, ca=(tls.ca,)) == (None, None)


async def test_logout_forgets_where_the_issuer_is_away(tls: Tls, tmp_path: Path) -> None:
    async with bed(tls, tmp_path) as on:
        await on.log_in()
        on.issuer.is_down = True
        _, failure = await log_out(GATE, on.store, ca=(tls.ca,))
        assert failure is not None
        assert "refresh-1" not in str(failure)
        assert not on.store.file(GATE).exists()


# -- a transfer


async def test_transfer_goes_on_over_the_end_of_its_token(tls: Tls, tmp_path: Path, serve: Serve) -> None:
    async with bed(tls, tmp_path / "state") as on:
        guard = Guard(on.issuer.live)
        served = serve(make_app=guard)
        await on.log_in(served.url)
        for number in range(3):
            (tmp_path / f"{number}").write_bytes(b"x")
        async with Client(served.url, ca=[served.ca], token=on.source(served.url)) as gate:
            for number in range(3):
                (outcome,) = await gate.put(tmp_path / f"{number}")
                assert outcome.error is None
                on.issuer.live.clear()
            on.issuer._refresh.clear()
            (outcome,) = await gate.put(tmp_path / "0")
        assert isinstance(outcome.error, LoginOver)
        assert isinstance(outcome.error, Unauthenticated)
        assert on.issuer.n_asked("/token") == 4
        assert {token for _, _, token in guard.seen} == {"access-1", "access-2", "access-3"}


async def test_token_is_refreshed_before_its_end_by_our_own_clock(tls: Tls, tmp_path: Path, serve: Serve) -> None:
    async with bed(tls, tmp_path / "state") as on:
        guard = Guard(on.issuer.live)
        served = serve(make_app=guard)
        login = await on.log_in(served.url)
        on.store.write(replace(login, access=Token(login.access.value, time.time() - 1, 3600.0)))
        async with Client(served.url, ca=[served.ca], token=on.source(served.url)) as gate:
            await gate.ls()
        assert guard.n_refused() == 0
        assert [token for _, _, token in guard.seen] == ["access-2"]


def test_token_of_a_login_is_in_no_repr() -> None:
    login = Login("https://a", None, "c", Token("secret"), "secret")  # type: ignore[arg-type]
    assert "secret" not in repr(login)
