"""The keys of an issuer: found, kept, rotated, withdrawn, and what happens while it is slow, down or makes no sense."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from h2gate.auth import jwks
from h2gate.auth.issuers import Issuer
from h2gate.auth.jwks import public_key
from h2gate.auth.token import Tokens
from h2gate.errors import Unauthenticated, Unrecognisable
from tests.auth.issuing import EC, OTHER, RSA, Issuing, evidence
from tests.auth.servers import Asked, Reply, serving

ABOUT = "/.well-known/openid-configuration"
NEW = ECKey.generate_key("P-256", {"kid": "new"})


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def within(settings: Issuer, clock: Clock, work: Callable[[Tokens], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        tokens = Tokens([settings], monotonic=clock)
        try:
            await work(tokens)
        finally:
            await tokens.close()

    asyncio.run(run())


async def passes(tokens: Tokens, token: str) -> bool:
    try:
        return await tokens.authenticate(evidence(token)) is not None
    except Unauthenticated:
        return False


async def refreshed(tokens: Tokens) -> None:
    """What is being fetched is there."""
    for keys in tokens._keys.values():
        if (fetching := keys._fetching) is not None:
            await fetching


def public(*keys: RSAKey | ECKey) -> list[dict[str, Any]]:
    return [dict(each.as_dict(private=False)) for each in keys]


def test_new_key_is_found_at_once_and_the_old_one_holds_while_it_is_published(issuer: Issuing, clock: Clock) -> None:
    async def work(tokens: Tokens) -> None:
        assert await passes(tokens, old)
        issuer.keys = public(RSA, NEW)
        assert await passes(tokens, new)
        assert await passes(tokens, old)
        assert issuer.paths().count("/jwks") == 2

    old, new = issuer.sign(), issuer.sign(key=NEW, algorithm="ES256")
    within(issuer.settings(), clock, work)


def test_key_that_is_withdrawn_ends_its_tokens_also_those_that_are_known(issuer: Issuing, clock: Clock) -> None:
    async def work(tokens: Tokens) -> None:
        assert await passes(tokens, old)
        issuer.keys = public(NEW)
        clock.seconds += 599
        assert await passes(tokens, old)
        clock.seconds += 2
        assert await passes(tokens, old)  # the keys are being fetched beside it
        await refreshed(tokens)
        assert not await passes(tokens, old)
        assert await passes(tokens, new)

    old, new = issuer.sign(), issuer.sign(key=NEW, algorithm="ES256")
    within(issuer.settings(), clock, work)


def test_keys_that_stay_the_same_leave_what_is_known_alone(issuer: Issuing, clock: Clock) -> None:
    async def work(tokens: Tokens) -> None:
        first = await tokens.authenticate(evidence(token))
        clock.seconds += 601
        await tokens.authenticate(evidence(token))
        await refreshed(tokens)
        assert issuer.paths().count("/jwks") == 2
        assert await tokens.authenticate(evidence(token)) is first

    token = issuer.sign()
    within(issuer.settings(), clock, work)


def test_invented_key_ids_make_us_ask_five_times_and_then_seldom(issuer: Issuing, clock: Clock) -> None:
    async def work(tokens: Tokens) -> None:
        n_later = 0
        for n in range(30):
            with pytest.raises((Unauthenticated, Unrecognisable)) as refused:
                await tokens.authenticate(evidence(issuer.sign(key=EC, algorithm="ES256", kid=f"no-{n}")))
            n_later += refused.type is Unrecognisable
            assert await passes(tokens, honest)
        assert issuer.paths().count("/jwks") == 1 + 5
        assert n_later == 25
        clock.seconds += 10.1
        issuer.keys = public(RSA, NEW)
        assert await passes(tokens, issuer.sign(key=NEW, algorithm="ES256"))

    honest = issuer.sign()
    within(issuer.settings(), clock, work)


def test_many_first_requests_at_once_ask_once(issuer: Issuing, clock: Clock) -> None:
    async def work(tokens: Tokens) -> None:
        tokens_of = [issuer.sign(issuer.claims(sub=f"u{n}"), EC, "ES256") for n in range(64)]
        assert all(await asyncio.gather(*(passes(tokens, each) for each in tokens_of)))

    within(issuer.settings(), clock, work)
    assert issuer.paths() == [ABOUT, "/jwks"]


def test_keys_hold_for_a_while_when_the_issuer_is_down_then_nobody_is_recognised_until_it_is_back(
    issuer: Issuing, clock: Clock
) -> None:
    async def work(tokens: Tokens) -> None:
        assert await passes(tokens, token)
        issuer.replies = {ABOUT: Reply(500)}
        for _ in range(3):
            clock.seconds += 1000
            assert await passes(tokens, token)
            await refreshed(tokens)
        clock.seconds += 2000
        for each in (token, issuer.sign(issuer.claims(sub="bob"))):
            with pytest.raises(Unrecognisable):
                await tokens.authenticate(evidence(each))
        n_asked = len(issuer.paths())
        with pytest.raises(Unrecognisable):  # within the second that it is left alone
            await tokens.authenticate(evidence(token))
        assert len(issuer.paths()) == n_asked
        issuer.replies = {}
        clock.seconds += 1.1
        assert await passes(tokens, token)

    token = issuer.sign()
    within(issuer.settings(stale_seconds=4000), clock, work)


def test_unknown_key_while_the_issuer_is_down_is_not_called_a_bad_token(issuer: Issuing, clock: Clock) -> None:
    async def work(tokens: Tokens) -> None:
        assert await passes(tokens, issuer.sign())
        issuer.replies = {"/jwks": Reply(503)}
        with pytest.raises(Unrecognisable):
            await tokens.authenticate(evidence(issuer.sign(key=NEW, algorithm="ES256")))

    within(issuer.settings(), clock, work)


def test_nobody_listens_and_nobody_is_recognised(clock: Clock) -> None:
    with serving(lambda asked: Reply()) as peer:
        gone = Issuing(peer)

    async def work(tokens: Tokens) -> None:
        with pytest.raises(Unrecognisable):
            await tokens.authenticate(evidence(gone.sign()))

    within(gone.settings(), clock, work)


def test_silent_issuer_is_waited_for_in_bounded_time(
    issuer: Issuing, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(tokens: Tokens) -> None:
        issuer.peer.answer = issuer.peer.held
        async with asyncio.timeout(20):
            for found in await asyncio.gather(
                *(tokens.authenticate(evidence(token)) for _ in range(100)), return_exceptions=True
            ):
                assert isinstance(found, Unrecognisable)
        issuer.peer.answer = issuer.answer
        clock.seconds += 2
        assert await passes(tokens, token)

    monkeypatch.setattr(jwks, "_SECONDS", 2.0)
    token = issuer.sign()
    within(issuer.settings(), clock, work)
    assert issuer.paths().count(ABOUT) <= 2


def test_whoever_waits_for_keys_may_leave_without_ending_it_for_the_others(issuer: Issuing, clock: Clock) -> None:
    async def work(tokens: Tokens) -> None:
        first = asyncio.create_task(tokens.authenticate(evidence(token)))
        second = asyncio.create_task(tokens.authenticate(evidence(token)))
        await asyncio.sleep(0)
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        assert await second is not None

    token = issuer.sign()
    within(issuer.settings(), clock, work)


NONSENSE: dict[str, Callable[[Issuing], dict[str, Reply]]] = {
    "another-issuer": lambda i: {ABOUT: i.about(issuer="https://evil.example", jwks_uri=f"{i.url}/jwks")},
    "issuer-with-a-slash-more": lambda i: {ABOUT: i.about(issuer=f"{i.url}/", jwks_uri=f"{i.url}/jwks")},
    "no-issuer": lambda i: {ABOUT: i.about(jwks_uri=f"{i.url}/jwks")},
    "no-jwks-uri": lambda i: {ABOUT: i.about(issuer=i.url)},
    "jwks-uri-elsewhere-in-the-clear": lambda i: {ABOUT: i.about(issuer=i.url, jwks_uri="http://192.0.2.1/jwks")},
    "jwks-uri-a-file": lambda i: {ABOUT: i.about(issuer=i.url, jwks_uri="file:///etc/passwd")},
    "jwks-uri-a-number": lambda i: {ABOUT: i.about(issuer=i.url, jwks_uri=7)},
    "redirected": lambda i: {ABOUT: Reply(302, (("location", f"{i.url}/about2"),))},
    "keys-redirected": lambda i: {"/jwks": Reply(307, (("location", f"{i.url}/other"),))},
    "no-json": lambda i: {ABOUT: Reply(body=b"<html>")},
    "a-list": lambda i: {ABOUT: Reply(body=b"[]")},
    "deep": lambda i: {"/jwks": Reply(body=b'{"keys":' + b"[" * 100_000)},
    "huge": lambda i: {"/jwks": Reply(body=b'{"keys":[' + b" " * 300_000 + b"]}")},
    "keys-missing": lambda i: {"/jwks": Reply(body=b"{}")},
    "keys-no-list": lambda i: {"/jwks": Reply(body=b'{"keys": 1}')},
    "keys-too-many": lambda i: {"/jwks": Reply(body=json.dumps({"keys": public(RSA) * 101}).encode())},
    "keys-of-no-use": lambda i: {"/jwks": Reply(body=b'{"keys": [1, {}, {"kty": "oct", "kid": "rsa", "k": "AAAA"}]}')},
    "coded": lambda i: {"/jwks": Reply(headers=(("content-encoding", "gzip"),), body=b"\x1f\x8b" + bytes(100))},
    "not-found": lambda i: {"/jwks": Reply(404)},
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
def test_issuer_that_makes_no_sense_lets_nobody_in_and_is_believed_again_later(
    issuer: Issuing, clock: Clock, nonsense: Callable[[Issuing], dict[str, Reply]]
) -> None:
    async def work(tokens: Tokens) -> None:
        issuer.replies = nonsense(issuer)
        with pytest.raises(Unrecognisable):
            await tokens.authenticate(evidence(token))
        issuer.replies = {}
        clock.seconds += 1.1
        assert await passes(tokens, token)

    token = issuer.sign()
    within(issuer.settings(), clock, work)
    assert not {"/about2", "/other"} & set(issuer.paths())


def test_keys_stay_when_the_next_answer_makes_no_sense(issuer: Issuing, clock: Clock) -> None:
    async def work(tokens: Tokens) -> None:
        assert await passes(tokens, token)
        issuer.replies = {"/jwks": Reply(body=b'{"keys": []}')}
        clock.seconds += 700
        await passes(tokens, token)
        await refreshed(tokens)
        assert await passes(tokens, issuer.sign(issuer.claims(sub="bob")))

    token = issuer.sign()
    within(issuer.settings(), clock, work)


def test_cookie_that_an_issuer_sets_is_never_sent_back(issuer: Issuing, clock: Clock) -> None:
    def answer(asked: Asked) -> Reply:
        found = issuer.answer(asked)
        return Reply(found.status, (("set-cookie", "a=b; Path=/"),), found.body)

    async def work(tokens: Tokens) -> None:
        assert await passes(tokens, issuer.sign())

    issuer.peer.answer = answer
    within(issuer.settings(), clock, work)
    assert len(issuer.peer.asked) == 2
    assert not any("cookie" in asked.headers for asked in issuer.peer.asked)


def modulus(bits: int) -> dict[str, str]:
    n = urlsafe_b64encode(((1 << (bits - 1)) + 1).to_bytes(bits // 8)).decode().rstrip("=")
    return {"kty": "RSA", "kid": "k", "n": n, "e": "AQAB"}


@pytest.mark.parametrize(
    "listed",
    [
        modulus(1024),
        modulus(16384),
        modulus(2048) | {"e": "A" * 400},
        modulus(2048) | {"e": "AQ"},
        modulus(2048) | {"n": 7},
        modulus(2048) | {"use": "enc"},
        {"kty": "RSA"},
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        {"kty": "EC", "crv": "P-999", "x": "AAAA", "y": "AAAA"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"},
        {"kty": ["RSA"]},
        {"kty": None},
        "RSA",
        None,
    ],
)
def test_key_that_is_weak_slow_or_of_another_kind_is_passed_by(listed: object) -> None:
    assert public_key(listed) is None


def test_private_part_of_a_key_that_an_issuer_lets_slip_is_not_kept() -> None:
    found = public_key(dict(OTHER.as_dict(private=True)))
    assert found is not None
    assert not found.is_private
