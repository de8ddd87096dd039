"""Several ways to recognise somebody, side by side: the first that has a say decides, and no other makes it good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from h2gate.auth.base import Evidence, Principal, Via
from h2gate.auth.chain import Chain
from h2gate.auth.rights import Action, parse
from h2gate.auth.tenants import Tenant
from h2gate.errors import ExpiredCredential, Forbidden, GateError, Unauthenticated, Unrecognisable

ME = Principal(name="me", via=Via.TOKEN, rights=parse("storage.create:/in"))
ANOTHER = Principal(name="another", via=Via.CERTIFICATE, rights=parse("storage.read:/"))


class Way:
    """An authenticator that always says, or raises, the same; and may be asked again."""

    via = Via.TOKEN

    def __init__(self, found: Principal | GateError | None, again: GateError | None = None) -> None:
        self.found, self.again = found, again
        self.closed = False

    async def authenticate(self, evidence: Evidence) -> Principal | None:
        if isinstance(self.found, GateError):
            raise self.found
        return self.found

    async def look_again(self, principal: Principal) -> None:
        if self.again is not None:
            raise self.again

    async def close(self) -> None:
        self.closed = True


class Asking(Way):
    challenge = 'Basic realm="h2gate"'


def evidence(**headers: str) -> Evidence:
    return Evidence(method="GET", target="/files/", headers=headers, peer="127.0.0.1", authority="h:1")


def told(chain: Chain, evidence: Evidence) -> list[bytes]:
    """The challenges that come with the refusal."""
    with pytest.raises(Unauthenticated) as caught:
        asyncio.run(chain.recognise(evidence))
    assert "error" not in caught.value.members
    return [value for name, value in caught.value.headers if name == b"www-authenticate"]


def test_the_first_that_has_a_say_decides() -> None:
    chain = Chain([Way(None), Way(ME), Way(ANOTHER)], [Way(ANOTHER)])
    assert asyncio.run(chain.recognise(evidence())) is ME


@pytest.mark.parametrize("error", [Unauthenticated("no"), ExpiredCredential("old"), Unrecognisable("down")])
def test_a_credential_that_is_no_good_is_not_made_good_by_another(error: GateError) -> None:
    chain = Chain([Way(error), Way(ME)], [Way(ANOTHER)])
    with pytest.raises(type(error)):
        asyncio.run(chain.recognise(evidence()))


def test_what_a_client_sends_by_itself_counts_only_where_nothing_else_came() -> None:
    chain = Chain([Way(None)], [Way(ANOTHER)])
    assert asyncio.run(chain.recognise(evidence())) is ANOTHER
    assert told(chain, evidence(authorization="Negotiate x"))[0].startswith(b'Bearer realm="h2gate", error="invalid')


def test_nobody_is_told_how_to_ask_and_a_bad_credential_what_is_wrong_with_it() -> None:
    chain = Chain([Asking(Unauthenticated('a "b" \\ \xe9\n'))], issuers=["https://id.example"])
    bearer, basic = told(chain, evidence(authorization="Bearer x"))
    assert bearer == (
        b'Bearer realm="h2gate", error="invalid_token", error_description="a \'b\' \' \'\'",'
        b' resource_metadata="https://h:1/.well-known/oauth-protected-resource"'
    )
    assert basic == b'Basic realm="h2gate"'
    assert told(Chain([Asking(None)]), evidence()) == [b'Bearer realm="h2gate"', b'Basic realm="h2gate"']


def test_the_challenge_of_another_server_is_passed_on_as_it_is() -> None:
    error = Unauthenticated("no")
    error.headers.append((b"www-authenticate", b"Negotiate"))
    assert told(Chain([Asking(error)]), evidence()) == [b"Negotiate"]


def test_rights_in_a_credential_of_a_tenant_are_below_its_root() -> None:
    tenants = {"t": Tenant(name="t", root="a/b")}
    mine = replace(ME, tenant="t")
    chain = Chain([Way(mine)], tenants=tenants)
    found = asyncio.run(chain.recognise(evidence()))
    assert str(found.rights) == "storage.create:/a/b/in"
    assert not found.rights.allow(Action.CREATE, "in")
    assert asyncio.run(chain.recognise(evidence())) is found, "it is made once"
    assert chain.root_of(found) == "a/b"


def test_of_a_tenant_that_is_not_there_nobody_may_anything() -> None:
    with pytest.raises(Forbidden):
        asyncio.run(Chain([Way(replace(ME, tenant="none"))]).recognise(evidence()))


def test_many_principals_of_a_tenant_are_not_all_remembered() -> None:
    tenants = {"t": Tenant(name="t", root="r")}
    way = Way(None)
    chain = Chain([way], tenants=tenants)

    async def run() -> None:
        for n in range(3000):
            way.found = replace(ME, name=f"{n}", tenant="t")
            assert (await chain.recognise(evidence())).name == f"{n}"
        assert len(chain._placed) <= 1024

    asyncio.run(run())


@pytest.mark.parametrize(
    ("ago", "expired_seconds", "again", "error"),
    [
        (-60, 0, None, None),
        (30, 60, None, None),
        (90, 60, None, ExpiredCredential),
        (-60, 0, Unauthenticated("withdrawn"), Unauthenticated),
    ],
)
def test_at_the_end_of_a_request_the_credential_is_looked_at_again(
    ago: float, expired_seconds: float, again: GateError | None, error: type[GateError] | None
) -> None:
    mine = replace(ME, expires_at=time.time() - ago)
    look: Callable[[], object] = lambda: asyncio.run(  # noqa: E731
        Chain([Way(mine)], [Way(None, again)], expired_seconds=expired_seconds).look_again(mine)
    )
    if error is None:
        look()
        return
    with pytest.raises(error):
        look()


def test_by_a_way_that_is_not_there_any_more_nothing_is_completed() -> None:
    with pytest.raises(Unauthenticated):
        asyncio.run(Chain([Way(ME)]).look_again(ANOTHER))


def test_nobody_is_recognised_without_a_name() -> None:
    assert told(Chain([Way(replace(ME, name=""))]), evidence())


def test_who_is_being_recognised_is_so_before_it_is_closed() -> None:
    class Slow(Way):
        async def authenticate(self, evidence: Evidence) -> Principal | None:
            asked.set()
            await go.wait()
            assert not self.closed
            return ME

    async def run() -> None:
        chain = Chain([way])
        asking = asyncio.create_task(chain.recognise(evidence()))
        await asked.wait()
        closing = asyncio.create_task(chain.close())
        await asyncio.sleep(0)
        go.set()
        await closing
        assert (await asking) is ME

    way, asked, go = Slow(None), asyncio.Event(), asyncio.Event()
    asyncio.run(run())
    assert way.closed


def test_closing_it_closes_all() -> None:
    ways = [Way(None), Way(None)]
    asyncio.run(Chain(ways[:1], ways[1:]).close())
    assert all(each.closed for each in ways)


def test_who_was_just_recognised_by_a_token_is_known_by_it_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1e9
    monkeypatch.setattr(time, "time", lambda: now)
    soon = replace(ME, expires_at=now + 0.5)
    chain, asked = Chain([Way(soon)]), evidence(authorization="Bearer a")
    assert chain.recall("Bearer a") is None
    assert asyncio.run(chain.recognise(asked)) is chain.recall("Bearer a") is soon
    assert chain.recall("Bearer b") is None
    assert chain.is_settled(soon)
    now += 0.5
    assert chain.recall("Bearer a") is None
    later = Chain([Way(ME)])
    asyncio.run(later.recognise(asked))
    now += 0.9
    assert later.recall("Bearer a") is ME
    now += 0.2
    assert later.recall("Bearer a") is None


@pytest.mark.parametrize(
    ("found", "asked"),
    [
        (replace(ME, via=Via.FORWARD), evidence(authorization="Bearer a")),
        (replace(ME, via=Via.TICKET), evidence(authorization="Bearer a")),
        (ME, evidence(authorization="Bearer a")._replace(certificate=b"of the one who may use it")),
        (replace(ME, via=Via.KEY), evidence(authorization="Basic a")),
    ],
    ids=["forward", "ticket", "bound", "basic"],
)
def test_who_is_known_by_more_than_a_bearer_token_is_asked_each_time(found: Principal, asked: Evidence) -> None:
    chain = Chain([Way(found)])
    assert asyncio.run(chain.recognise(asked)) is found
    assert chain.recall(asked.headers["authorization"]) is None


def test_what_is_remembered_is_bounded() -> None:
    chain = Chain([Way(ME)])
    for number in range(2000):
        asyncio.run(chain.recognise(evidence(authorization=f"Bearer {number}")))
    assert 0 < len(chain._recent) <= 1024
