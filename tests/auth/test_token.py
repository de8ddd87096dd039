"""Tokens: who is recognised by one, what it lets them do, and every way to cheat with one."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Coroutine, Iterator
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as searching
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from h2gate.auth import token as token_module
from h2gate.auth.base import Principal, Via
from h2gate.auth.issuers import Claims, Issuer
from h2gate.auth.rights import parse
from h2gate.auth.token import Tokens
from h2gate.errors import ExpiredCredential, Unauthenticated, Unrecognisable
from tests.auth.issuing import AUDIENCE, EC, ED, OTHER, RSA, SCOPE, Issuing, b64, evidence


def within(settings: Issuer, work: Callable[[Tokens], Coroutine[Any, Any, Any]], **clocks: Any) -> Any:
    """What `work` gives, done with an authenticator that trusts this issuer."""

    async def run() -> Any:
        tokens = Tokens([settings], **clocks)
        try:
            return await work(tokens)
        finally:
            await tokens.close()

    return asyncio.run(run())


def recognised(issuer: Issuing, token: str, settings: Issuer | None = None, **other: Any) -> Principal | None:
    async def work(tokens: Tokens) -> Principal | None:
        return await tokens.authenticate(evidence(token, **other))

    found: Principal | None = within(settings or issuer.settings(), work)
    return found


def known(issuer: Issuing, token: str, settings: Issuer | None = None) -> Principal:
    found = recognised(issuer, token, settings)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519")],
)
def test_good_token_tells_who_it_is_and_what_they_may_do(issuer: Issuing, key: RSAKey, algorithm: str) -> None:
    claims = issuer.claims(jti="t-1")
    found = known(issuer, issuer.sign(claims, key, algorithm))
    assert found.name == f"{issuer.url} alice"
    assert (found.via, found.tenant, found.credential) == (Via.TOKEN, "", "t-1")
    assert found.rights == parse(SCOPE)
    assert found.expires_at == claims["exp"] + 30


def test_audience_may_be_one_of_several_and_the_type_is_optional(issuer: Issuing) -> None:
    assert known(issuer, issuer.sign(issuer.claims(aud=["x", AUDIENCE]), typ=None))
    assert known(issuer, issuer.sign(typ="JWT"))


def test_token_without_key_id_is_tried_with_every_key_that_fits(issuer: Issuing) -> None:
    issuer.keys.insert(0, dict(OTHER.as_dict(private=False)))
    assert known(issuer, issuer.sign(kid=None))
    with pytest.raises(Unauthenticated):
        recognised(issuer, issuer.sign(key=RSAKey.generate_key(2048), kid=None))


@pytest.mark.parametrize(
    "authorization", ["", "Basic YTpi", "Bearer opaque", "Bearer h2g_a_b", "Bearer a.b.c", "Bearer"]
)
def test_what_is_no_token_is_left_to_others(issuer: Issuing, authorization: str) -> None:
    assert recognised(issuer, "", headers={"authorization": authorization}) is None
    assert issuer.paths() == []


def test_token_of_an_issuer_that_is_not_named_is_left_to_others_and_nobody_is_asked(issuer: Issuing) -> None:
    token = issuer.sign(issuer.claims(iss="http://127.0.0.1:1/evil"))
    assert recognised(issuer, token) is None
    assert issuer.paths() == []


def crafted(issuer: Issuing, header: object, payload: object, signature: str = "") -> str:
    parts = [b64(each if isinstance(each, bytes | str) else json.dumps(each)) for each in (header, payload)]
    return ".".join([*parts, signature])


def confused(issuer: Issuing, secret: bytes) -> str:
    """What anybody knows of the RSA key, taken for a shared secret."""
    token = crafted(issuer, {"alg": "HS256", "typ": "JWT", "kid": "rsa"}, issuer.claims()).rstrip(".")
    return f"{token}.{b64(hmac.digest(secret, token.encode(), 'sha256'))}"


def changed(token: str, part: int, text: str) -> str:
    parts = token.split(".")
    parts[part] = text
    return ".".join(parts)


NOW = int(time.time())
ATTACKS: dict[str, Callable[[Issuing], str]] = {
    "signed-by-another-key": lambda i: i.sign(key=OTHER, kid="rsa"),
    "claims-changed": lambda i: changed(i.sign(), 1, b64(i.claims(sub="root"))),
    "signature-cut": lambda i: i.sign()[:-8],
    "signature-missing": lambda i: changed(i.sign(), 2, ""),
    "signature-of-zeros": lambda i: changed(i.sign(key=EC, algorithm="ES256"), 2, b64(bytes(64))),
    "alg-none": lambda i: crafted(i, {"alg": "none", "typ": "JWT"}, i.claims()),
    "alg-None": lambda i: crafted(i, {"alg": "None", "kid": "rsa"}, i.claims()),
    "alg-none-with-a-signature": lambda i: changed(i.sign(), 0, b64({"alg": "none", "kid": "rsa"})),
    "alg-missing": lambda i: crafted(i, {"typ": "JWT"}, i.claims(), "AAAA"),
    "alg-a-list": lambda i: crafted(i, {"alg": ["RS256"]}, i.claims(), "AAAA"),
    "key-confusion-pem": lambda i: confused(i, RSA.as_pem(private=False)),
    "key-confusion-jwk": lambda i: confused(i, json.dumps(RSA.as_dict(private=False)).encode()),
    "another-algorithm-of-the-key": lambda i: i.sign(algorithm="RS512"),
    "ec-key-for-rsa": lambda i: i.sign(key=OTHER, kid="ec"),
    "kid-a-path": lambda i: i.sign(key=OTHER, kid="../../../../dev/null"),
    "kid-sql": lambda i: i.sign(key=OTHER, kid="' OR 1=1 --"),
    "kid-empty": lambda i: i.sign(key=OTHER, kid=""),
    "kid-a-number": lambda i: crafted(i, {"alg": "RS256", "kid": 1}, i.claims(), "AAAA"),
    "jwk-brought-along": lambda i: i.sign(key=OTHER, kid=None, jwk=OTHER.as_dict(private=False)),
    "jku": lambda i: i.sign(key=OTHER, kid="rsa", jku=f"{i.url}/evil"),
    "x5u": lambda i: i.sign(key=OTHER, kid="rsa", x5u=f"{i.url}/evil"),
    "crit": lambda i: i.sign(crit=["exp"], exp=1),
    "b64": lambda i: crafted(i, {"alg": "RS256", "kid": "rsa", "b64": False, "crit": ["b64"]}, i.claims(), "AAAA"),
    "typ-of-a-logout": lambda i: i.sign(typ="logout+jwt"),
    "typ-of-a-proof": lambda i: i.sign(typ="dpop+jwt"),
    "another-audience": lambda i: i.sign(i.claims(aud="https://other.example")),
    "audience-longer": lambda i: i.sign(i.claims(aud=AUDIENCE + ".evil")),
    "audience-missing": lambda i: i.sign(i.claims(aud=None)),
    "audience-empty": lambda i: i.sign(i.claims(aud=[])),
    "audience-a-table": lambda i: i.sign(i.claims(aud={AUDIENCE: 1})),
    "not-yet": lambda i: i.sign(i.claims(nbf=NOW + 3600)),
    "issued-tomorrow": lambda i: i.sign(i.claims(iat=NOW + 86400)),
    "expired": lambda i: i.sign(i.claims(exp=NOW - 60)),
    "expiry-missing": lambda i: i.sign(i.claims(exp=None)),
    "expiry-a-text": lambda i: i.sign(i.claims(exp="99999999999")),
    "expiry-true": lambda i: i.sign(i.claims(exp=True)),
    "expiry-nan": lambda i: i.sign(i.claims(exp=float("nan"))),
    "expiry-infinite": lambda i: i.sign(i.claims(exp=float("inf"))),
    "subject-missing": lambda i: i.sign(i.claims(sub=None)),
    "subject-empty": lambda i: i.sign(i.claims(sub="")),
    "subject-a-number": lambda i: i.sign(i.claims(sub=7)),
    "subject-of-two-lines": lambda i: i.sign(i.claims(sub="alice\nbob")),
    "subject-too-long": lambda i: i.sign(i.claims(sub="a" * 256)),
    "bound-to-a-key": lambda i: i.sign(i.claims(cnf={"jkt": "x"})),
    "bound-to-a-certificate": lambda i: i.sign(i.claims(cnf={"x5t#S256": "x"})),
    "bound-to-nothing": lambda i: i.sign(i.claims(cnf=None) | {"cnf": None}),
    "too-long": lambda i: i.sign(i.claims(filler="x" * 20_000)),
    "header-too-long": lambda i: i.sign(filler="x" * 4000),
    "header-deep": lambda i: crafted(i, '{"alg":' + "[" * 2800, i.claims(), "AAAA"),
    "claims-deep": lambda i: crafted(i, {"alg": "RS256"}, '{"iss":' + "[" * 10_000, "AAAA"),
    "claims-a-list": lambda i: crafted(i, {"alg": "RS256"}, [1], "AAAA"),
    "claims-no-json": lambda i: crafted(i, {"alg": "RS256"}, b"\xff\xfe", "AAAA"),
    "number-of-ten-thousand-digits": lambda i: crafted(i, {"alg": "RS256"}, '{"iss":' + "9" * 10_000 + "}", "AAAA"),
    "scope-climbs": lambda i: i.sign(i.claims(scope="storage.read:/a/../..")),
    "scope-climbs-encoded": lambda i: i.sign(i.claims(scope="storage.read:/%2e%2e/b")),
    "scope-has-an-encoded-slash": lambda i: i.sign(i.claims(scope="storage.read:/a%2fb")),
    "scope-has-empty-segments": lambda i: i.sign(i.claims(scope="storage.modify://inbox")),
    "scope-has-a-null": lambda i: i.sign(i.claims(scope="storage.modify:/a%00")),
    "scope-relative": lambda i: i.sign(i.claims(scope="storage.modify:inbox")),
    "scope-without-path": lambda i: i.sign(i.claims(scope="storage.modify")),
    "scope-of-an-unknown-action": lambda i: i.sign(i.claims(scope="storage.all:/")),
    "scope-a-number": lambda i: i.sign(i.claims(scope=7)),
    "scope-a-list-of-lists": lambda i: i.sign(i.claims(scope=[["storage.read:/"]])),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_attack_is_refused_and_a_neighbour_is_not(issuer: Issuing, attack: Callable[[Issuing], str]) -> None:
    async def work(tokens: Tokens) -> None:
        for _ in range(2):
            with pytest.raises(Unauthenticated) as refused:
                await tokens.authenticate(evidence(token))
            assert token not in refused.value.detail
            assert await tokens.authenticate(evidence(honest)) is not None

    token, honest = attack(issuer), issuer.sign()
    within(issuer.settings(), work)
    assert "/evil" not in issuer.paths()


@given(st.data())
@searching(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_token_is_never_taken_and_never_breaks_anything(damaged: Damage, data: st.DataObject) -> None:
    tokens, loop, good = damaged
    at, by = data.draw(st.integers(0, len(good) - 1)), data.draw(st.text("AZaz09-_.= {\x00", max_size=3))
    token = good[:at] + by + good[at + data.draw(st.integers(1, 40)) :]
    try:
        found = loop.run_until_complete(tokens.authenticate(evidence(token)))
    except (Unauthenticated, Unrecognisable):
        return
    assert found is None or token == good


Damage = tuple[Tokens, asyncio.AbstractEventLoop, str]


@pytest.fixture
def damaged(issuer: Issuing) -> Iterator[Damage]:
    loop = asyncio.new_event_loop()
    tokens = Tokens([issuer.settings()])
    yield tokens, loop, issuer.sign(key=ED, algorithm="EdDSA")
    loop.run_until_complete(tokens.close())
    loop.close()


def test_algorithm_that_the_policy_does_not_name_is_refused_though_the_key_fits(issuer: Issuing) -> None:
    settings = issuer.settings(algorithms=("ES256",))
    assert known(issuer, issuer.sign(key=EC, algorithm="ES256"), settings)
    with pytest.raises(Unauthenticated, match="algorithm"):
        recognised(issuer, issuer.sign(), settings)


def test_expired_is_told_apart_and_a_clock_may_be_off_by_the_leeway(issuer: Issuing) -> None:
    now = int(time.time())
    assert known(issuer, issuer.sign(issuer.claims(exp=now - 10, nbf=now - 20)))
    assert known(issuer, issuer.sign(issuer.claims(nbf=now + 10)))
    with pytest.raises(ExpiredCredential):
        recognised(issuer, issuer.sign(issuer.claims(exp=now - 40)))


def test_token_bound_to_a_certificate_goes_with_that_certificate_alone(issuer: Issuing) -> None:
    thumbprint = urlsafe_b64encode(sha256(b"der").digest()).decode().rstrip("=")
    token = issuer.sign(issuer.claims(cnf={"x5t#S256": thumbprint}))

    async def work(tokens: Tokens) -> None:
        for _ in range(2):  # known again, it is as bound as before
            assert await tokens.authenticate(evidence(token, certificate=b"der")) is not None
            for other in (None, b"other"):
                with pytest.raises(Unauthenticated, match="bound"):
                    await tokens.authenticate(evidence(token, certificate=other))

    within(issuer.settings(), work)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("groups", {"groups": ["a", "b"]}),
        ("wlcg.groups", {"wlcg.groups": ["a", "b"]}),
        ("realm_access.roles", {"realm_access": {"roles": ["a", "b"]}}),
        ("https://x.example/claims.roles", {"https://x.example/claims": {"roles": ["a", "b"]}}),
        ("https://x.example/groups", {"https://x.example/groups": ["a", "b"]}),
    ],
)
def test_groups_are_found_where_the_policy_says(issuer: Issuing, name: str, said: dict[str, Any]) -> None:
    settings = issuer.settings(claims=Claims(groups=name))
    assert known(issuer, issuer.sign(issuer.claims(**said)), settings).groups == ("a", "b")
    assert known(issuer, issuer.sign(), settings).groups == ()


@pytest.mark.parametrize("groups", [7, [7], {"a": 1}, ["a\n"], [""], ["g"] * 501])
def test_groups_that_are_no_list_of_texts_are_refused(issuer: Issuing, groups: object) -> None:
    with pytest.raises(Unauthenticated, match="groups"):
        recognised(issuer, issuer.sign(issuer.claims(groups=groups)), issuer.settings(claims=Claims(groups="groups")))


def test_tenant_is_what_its_claim_says_and_a_token_without_it_is_refused(issuer: Issuing) -> None:
    settings = issuer.settings(claims=Claims(tenant="project"))
    assert known(issuer, issuer.sign(issuer.claims(project="p11")), settings).tenant == "p11"
    for wrong in (None, "", 7, ["p11"]):
        with pytest.raises(Unauthenticated, match="project"):
            recognised(issuer, issuer.sign(issuer.claims(project=wrong)), settings)


def test_rights_of_the_policy_hold_only_where_the_scope_tells_nothing_of_storage(issuer: Issuing) -> None:
    settings = issuer.settings(
        claims=Claims(groups="groups"),
        rights=parse("storage.read:/shared"),
        group_rights={"staff": parse("storage.modify:/staff")},
    )
    staff = issuer.claims(scope="openid", groups=["staff", "others"])
    assert known(issuer, issuer.sign(staff), settings).rights == parse("storage.read:/shared storage.modify:/staff")
    assert known(issuer, issuer.sign(issuer.claims(scope=None)), settings).rights == parse("storage.read:/shared")
    limited = staff | {"scope": "storage.read:/staff/one"}
    assert known(issuer, issuer.sign(limited), settings).rights == parse("storage.read:/staff/one")


def test_scope_may_be_a_list_in_another_claim(issuer: Issuing) -> None:
    settings = issuer.settings(claims=Claims(scope="scp"))
    claims = issuer.claims(scope=None, scp=["openid", "storage.read:/a b".replace(" ", "%20")])
    assert known(issuer, issuer.sign(claims), settings).rights == parse("storage.read:/a%20b")


def test_known_token_is_known_again_without_being_verified(issuer: Issuing, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(tokens: Tokens) -> None:
        first = await tokens.authenticate(evidence(token))
        monkeypatch.setattr(token_module, "_said", None)
        assert await tokens.authenticate(evidence(token)) is first

    token = issuer.sign()
    within(issuer.settings(), work)
    assert issuer.paths() == ["/.well-known/openid-configuration", "/jwks"]


def test_known_token_is_verified_again_after_some_minutes_and_expires_on_time(issuer: Issuing) -> None:
    now = time.time()
    clock = [now]

    async def work(tokens: Tokens) -> None:
        first = await tokens.authenticate(evidence(token))
        clock[0] = now + 299
        assert await tokens.authenticate(evidence(token)) is first
        clock[0] = now + 301
        assert await tokens.authenticate(evidence(token)) is not first
        clock[0] = now + 629
        assert await tokens.authenticate(evidence(token)) is not None
        clock[0] = now + 632
        for _ in range(2):
            with pytest.raises(ExpiredCredential):
                await tokens.authenticate(evidence(token))

    token = issuer.sign()
    within(issuer.settings(), work, clock=lambda: clock[0])


def test_tokens_that_are_known_take_bounded_room(issuer: Issuing, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(tokens: Tokens) -> None:
        first = await tokens.authenticate(evidence(signed[0]))
        for each in [*signed[1:], signed[-1]]:
            await tokens.authenticate(evidence(each))
            assert sum(each.n_bytes for each in tokens._known.values()) == tokens._known_bytes <= 3000
        assert await tokens.authenticate(evidence(signed[0])) is not first

    monkeypatch.setattr(token_module, "_KNOWN_BYTES", 3000)
    signed = [issuer.sign(issuer.claims(sub=f"user-{n}"), ED, "EdDSA") for n in range(20)]
    within(issuer.settings(), work)


def test_the_same_new_token_at_once_is_counted_once(issuer: Issuing) -> None:
    async def work(tokens: Tokens) -> None:
        found = await asyncio.gather(*(tokens.authenticate(evidence(token)) for _ in range(50)))
        assert None not in found
        assert tokens._known_bytes == len(token)

    token = issuer.sign()
    within(issuer.settings(), work)
    assert issuer.paths() == ["/.well-known/openid-configuration", "/jwks"]
