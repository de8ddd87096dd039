"""Who the client says it is, to a real gateway that wants tokens and takes them away, and to a peer that sees them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from h2gate.client import Client, Listener, Outcome
from h2gate.client.claiming import credential
from h2gate.client.credential import Bearer
from h2gate.client.failures import LoginOver, NoToken
from h2gate.client.listener import Item
from h2gate.client.tokens import Token
from h2gate.errors import BodyCut, ConfigError, ExpiredCredential, GateError, NotFound, Unauthenticated
from tests.client.conftest import Tls
from tests.client.guard import Guard
from tests.client.peer import Call, Peer
from tests.conftest import Serve

MIB = 1 << 20


class Rotating:
    """A source whose every token is another one; `live` has the last."""

    def __init__(self, live: set[str]) -> None:
        self.live = live
        self.made = 0
        self.fails: list[GateError] = []

    async def token(self, stale: Token | None) -> Token:
        if self.fails:
            raise self.fails.pop(0)
        self.made += 1
        self.live.clear()
        self.live.add(f"token-{self.made}")
        return Token(f"token-{self.made}")


class Heard(Listener):
    def __init__(self) -> None:
        self.again: list[GateError] = []
        self.at: list[int] = []

    def retried(self, item: Item, error: GateError, seconds: float) -> None:
        self.again.append(error)

    def resumed(self, item: Item, at: int) -> None:
        self.at.append(at)


def errors(outcomes: list[Outcome]) -> list[GateError]:
    return [outcome.error for outcome in outcomes if outcome.error is not None]


def expire(source: Rotating) -> None:
    source.live.clear()


# -- a gateway that takes tokens away


async def test_requests_that_meet_an_old_token_share_one_refresh(serve: Serve, tmp_path: Path) -> None:
    source = Rotating(set())
    guard = Guard(source.live)
    served = serve(make_app=guard)
    names = [f"{number}.bin" for number in range(40)]
    for name in names:
        (tmp_path / name).write_bytes(os.urandom(100))
    async with Client(served.url, ca=[served.ca], token=source, bundles=False) as gate:
        assert not errors(await gate.put([tmp_path / names[0]], "first/"))
        expire(source)
        assert not errors(await gate.put([tmp_path / name for name in names], "in/"))
    assert source.made == 2
    assert guard.n_refused() >= 1
    assert {path.name for path in served.path("in").iterdir()} == set(names)


@pytest.mark.parametrize("http", ["auto", "1.1"])
async def test_upload_whose_token_expires_in_the_middle_goes_on_where_it_stood(
    serve: Serve, tmp_path: Path, http: Any
) -> None:
    source, heard = Rotating(set()), Heard()
    guard = Guard(source.live)
    served = serve(make_app=guard, progress_seconds=0.01)
    content = os.urandom(24 * MIB)
    (tmp_path / "large").write_bytes(content)

    def cut(path: str, n_bytes: int) -> None:
        if n_bytes > 8 * MIB and "token-1" in source.live:
            expire(source)
            raise ExpiredCredential("for too long")

    guard.on_body = cut
    async with Client(served.url, ca=[served.ca], token=source, listener=heard, http=http) as gate:
        (outcome,) = await gate.put([tmp_path / "large"])
    assert outcome.error is None
    assert served.path("large").read_bytes() == content
    assert source.made == 2
    assert ("PATCH", "token-2") in {(method, token) for method, _, token in guard.seen}
    assert heard.at[0] == 0
    assert heard.at[1] > 0
    if http == "auto":  # over HTTP/1.1 httpx loses an answer that comes while it sends
        assert [type(error) for error in heard.again] == [ExpiredCredential]


async def test_upload_cut_off_after_its_token_ended_is_asked_for_with_a_new_one(serve: Serve, tmp_path: Path) -> None:
    """The gateway refuses the question how far it came, and the rest, until they come with the new token."""
    source = Rotating(set())
    guard = Guard(source.live)
    served = serve(make_app=guard, progress_seconds=0.01)
    content = os.urandom(16 * MIB)
    (tmp_path / "large").write_bytes(content)
    is_cut = threading.Event()

    def cut(path: str, n_bytes: int) -> None:
        if n_bytes > 4 * MIB and not is_cut.is_set():
            is_cut.set()
            expire(source)
            raise BodyCut

    guard.on_body = cut
    async with Client(served.url, ca=[served.ca], token=source) as gate:
        (outcome,) = await gate.put([tmp_path / "large"])
    assert outcome.error is None
    assert served.path("large").read_bytes() == content
    assert ("HEAD", "token-2") in {(method, token) for method, _, token in guard.seen}


async def test_stream_that_cannot_be_read_again_survives_the_end_of_its_token(serve: Serve) -> None:
    source = Rotating(set())
    guard = Guard(source.live)
    served = serve(make_app=guard, progress_seconds=0.01)
    pieces = [os.urandom(MIB) for _ in range(12)]

    def cut(path: str, n_bytes: int) -> None:
        if n_bytes > 4 * MIB and "token-1" in source.live:
            expire(source)
            raise ExpiredCredential

    guard.on_body = cut
    async with Client(served.url, ca=[served.ca], token=source) as gate:
        (outcome,) = await gate.put(iter(pieces), "stream")
    assert outcome.error is None
    assert served.path("stream").read_bytes() == b"".join(pieces)


async def test_bundle_refused_for_its_token_goes_once_more_as_a_bundle(serve: Serve, tmp_path: Path) -> None:
    source = Rotating(set())
    guard = Guard(source.live)
    served = serve(make_app=guard)
    (tmp_path / "tree").mkdir()
    for number in range(100):
        (tmp_path / f"tree/{number}").write_bytes(b"%d" % number)
    async with Client(served.url, ca=[served.ca], token=source) as gate:
        await gate.ls()
        expire(source)
        outcomes = await gate.put([tmp_path / "tree"])
    assert not errors(outcomes)
    assert len(outcomes) == 100
    assert [(method, token) for method, _, token in guard.seen[1:]] == [("POST", "token-1"), ("POST", "token-2")]
    assert len(list(served.path("tree").iterdir())) == 100


def names_of(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return opened.getnames()


async def test_files_of_a_bundle_that_outlived_its_token_are_sent_again(tls: Tls, tmp_path: Path) -> None:
    async def serve(call: Call) -> None:
        body = await call.read()
        if call.headers[":method"] == "PUT":
            sent[call.path] = call.headers["authorization"]
            call.answer(201)
            return
        names = names_of(body)
        lines = [json.dumps({"name": name, "status": 201, "size": 1}) for name in names[:15]]
        lines += [json.dumps({"name": name, "status": 401, "code": "expired_credential"}) for name in names[15:]]
        call.answer(200, (b"content-type", b"application/x-ndjson"), body="".join(f"{x}\n" for x in lines).encode())

    sent: dict[str, str] = {}
    for number in range(20):
        (tmp_path / f"{number:02}").write_bytes(b"x")
    source, peer = Rotating(set()), Peer(serve)
    async with peer.serving(tls.server), Client(peer.url, ca=[tls.ca], token=source) as gate:
        outcomes = await gate.put([tmp_path / f"{number:02}" for number in range(20)], "in/")
    assert len(outcomes) == 20
    assert not errors(outcomes)
    assert sent == {f"/files/in/{number}": "Bearer token-2" for number in range(15, 20)}


async def test_bundle_whose_files_stay_refused_fails_each_once(tls: Tls, tmp_path: Path) -> None:
    async def serve(call: Call) -> None:
        names = names_of(await call.read())
        lines = [json.dumps({"name": name, "status": 401, "code": "unauthenticated"}) for name in names]
        call.answer(200, (b"content-type", b"application/x-ndjson"), body="".join(f"{x}\n" for x in lines).encode())

    for number in range(20):
        (tmp_path / f"{number:02}").write_bytes(b"x")
    peer = Peer(serve)
    async with peer.serving(tls.server), client(peer.url, tls) as gate:
        outcomes = await gate.put([tmp_path / f"{number:02}" for number in range(20)], "in/")
    assert [type(outcome.error) for outcome in outcomes] == [Unauthenticated] * 20
    assert len(peer.calls) == 1


async def test_download_refused_for_its_token_is_repeated(serve: Serve, tmp_path: Path) -> None:
    source = Rotating(set())
    served = serve(make_app=Guard(source.live))
    (tmp_path / "a").write_bytes(b"abc")
    async with Client(served.url, ca=[served.ca], token=source) as gate:
        assert not errors(await gate.put([tmp_path / "a"]))
        expire(source)
        assert not errors(await gate.get("a", str(tmp_path / "back")))
        expire(source)
        assert not errors(await gate.rm("a"))
        expire(source)
        with pytest.raises(NotFound):
            await gate.ls("a/")
    assert (tmp_path / "back").read_bytes() == b"abc"
    assert source.made == 4


async def test_token_that_stays_refused_is_asked_for_anew_once_only(serve: Serve, tmp_path: Path) -> None:
    source, heard = Rotating(set()), Heard()
    guard = Guard(set())
    served = serve(make_app=guard)
    (tmp_path / "tree").mkdir()
    for number in range(30):
        (tmp_path / f"tree/{number}").write_bytes(b"x")
    (tmp_path / "tree/large").write_bytes(bytes(2 * MIB))
    async with Client(served.url, ca=[served.ca], token=source, listener=heard) as gate:
        outcomes = await gate.put([tmp_path / "tree"])
    assert len(outcomes) == 31
    assert {type(outcome.error) for outcome in outcomes} == {ExpiredCredential}
    assert not any(outcome.error.retry for outcome in outcomes if outcome.error is not None)
    assert source.made == 2
    assert not any("token-" in str(outcome.error) for outcome in outcomes)


async def test_issuer_that_is_away_for_a_while_costs_no_upload(serve: Serve, tmp_path: Path) -> None:
    source, heard = Rotating(set()), Heard()
    served = serve(make_app=Guard(source.live))
    (tmp_path / "a").write_bytes(b"abc")
    async with Client(served.url, ca=[served.ca], token=source, listener=heard) as gate:
        await gate.ls()
        expire(source)
        away = GateError("nobody there")
        away.retry = True
        source.fails = [away, NoToken("the command failed")]
        assert not errors(await gate.put([tmp_path / "a"]))
    assert [str(error) for error in heard.again] == ["nobody there", "the command failed"]


@pytest.mark.parametrize("is_first", [True, False])
async def test_failure_that_is_final_is_asked_for_once_and_told_to_all(
    serve: Serve, tmp_path: Path, is_first: bool
) -> None:
    source = Rotating(set())
    served = serve(make_app=Guard(source.live))
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(b"x")
    async with Client(served.url, ca=[served.ca], token=source, streams=1) as gate:
        if not is_first:
            await gate.ls()
            expire(source)
        source.fails = [LoginOver("log in again")]
        outcomes = await gate.put([tmp_path / f"{number}" for number in range(5)], "in/")
    assert {str(outcome.error) for outcome in outcomes} == {"log in again"}
    assert len({id(outcome.error) for outcome in outcomes}) == 5
    assert source.made == (0 if is_first else 1)


# -- a peer that sees what is sent


async def seen(tls: Tls, answer: int = 201, **options: Any) -> tuple[list[dict[str, str]], list[Outcome]]:
    async def serve(call: Call) -> None:
        await call.read()
        call.answer(answer, (b"location", b"https://elsewhere.example/"))

    peer = Peer(serve)
    async with peer.serving(tls.server), Client(peer.url, ca=[tls.ca], retries=0, **options) as gate:
        outcomes = await gate.rm("a")
    return [call.headers for call in peer.calls], outcomes


async def test_token_is_in_each_request_and_a_redirect_is_followed_nowhere(tls: Tls) -> None:
    (headers,), outcomes = await seen(tls, 307, token="secret")  # noqa: S106
    assert headers["authorization"] == "Bearer secret"
    assert errors(outcomes)


@pytest.mark.parametrize("kind", ["function", "coroutine"])
async def test_function_gives_the_token(tls: Tls, kind: str) -> None:
    def function() -> str:
        return "secret\n"

    async def coroutine() -> str:
        await asyncio.sleep(0)
        return "secret"

    (headers,), _ = await seen(tls, token={"function": function, "coroutine": coroutine}[kind])
    assert headers["authorization"] == "Bearer secret"


async def test_function_that_raises_fails_the_file_without_its_text(tls: Tls) -> None:
    def function() -> str:
        raise ValueError("secret")

    requests, outcomes = await seen(tls, token=function)
    (error,) = errors(outcomes)
    assert not requests
    assert isinstance(error, NoToken)
    assert "secret" not in str(error)


async def test_httpx_auth_signs_requests(tls: Tls) -> None:
    (headers,), _ = await seen(tls, token=httpx.BasicAuth("Aladdin", "open sesame"))
    assert headers["authorization"] == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


async def test_httpx_auth_that_answers_a_challenge_sends_the_body_again(tls: Tls, tmp_path: Path) -> None:
    bodies = []

    async def serve(call: Call) -> None:
        bodies.append(await call.read())
        if "authorization" in call.headers:
            call.answer(201)
        else:
            call.answer(401, (b"www-authenticate", b'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'))

    (tmp_path / "small").write_bytes(b"abc")
    (tmp_path / "large").write_bytes(bytes(2 * MIB))
    peer = Peer(serve)
    auth = httpx.DigestAuth("Mufasa", "Circle of Life")
    async with peer.serving(tls.server), Client(peer.url, ca=[tls.ca], token=auth) as gate:
        assert not errors(await gate.put([tmp_path / "small"]))
    assert bodies == [b"abc", b"abc"]
    auth = httpx.DigestAuth("Mufasa", "Circle of Life")
    async with peer.serving(tls.server), Client(peer.url, ca=[tls.ca], token=auth) as gate:
        assert not errors(await gate.put([tmp_path / "large"]))
    assert len(bodies[-1]) == 2 * MIB


def test_httpx_auth_that_wants_the_body_is_refused() -> None:
    class Signing(httpx.Auth):
        requires_request_body = True

    with pytest.raises(ConfigError, match="bodies"):
        Client("https://localhost/", token=Signing())


def client(url: str, tls: Tls) -> Client:
    return Client(url, ca=[tls.ca], token="secret")  # noqa: S106


async def test_another_origin_hears_nothing_of_the_token(tls: Tls) -> None:
    async def serve(call: Call) -> None:
        call.answer(404)

    here, there = Peer(serve), Peer(serve)
    async with here.serving(tls.server), there.serving(tls.server), client(here.url, tls) as gate:
        await gate.rm([f"{here.url}/a", f"{there.url}/a"])
    assert [call.headers.get("authorization") for call in here.calls] == ["Bearer secret"]
    assert [call.headers.get("authorization") for call in there.calls] == [None]


@pytest.mark.parametrize(
    ("url", "is_taken"),
    [
        ("https://gate.example/", True),
        ("http://127.0.0.1:8080/", True),
        ("http://[::1]:8080/", True),
        ("http://localhost/", True),
        ("http://gate.example/", False),
        ("http://127.0.0.1.gate.example/", False),
    ],
)
def test_token_goes_over_tls_or_to_this_machine(url: str, is_taken: bool) -> None:
    if is_taken:
        assert isinstance(credential("secret", url, {}), Bearer)
    else:
        with pytest.raises(ConfigError, match="over TLS"):
            credential("secret", url, {})


def test_token_beside_a_field_is_refused() -> None:
    with pytest.raises(ConfigError, match="which is it"):
        Client("https://localhost/", token="secret", headers={"Authorization": "Basic x"})  # noqa: S106


@pytest.mark.parametrize("url", ["https://user:secret@localhost/", "https://secret@localhost/files/a"])
def test_url_with_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Client(url)
    assert "secret" not in str(refused.value)


async def test_nobody_is_told_how_to_become_somebody(serve: Serve) -> None:
    served = serve(make_app=Guard(set()))
    async with Client(served.url, ca=[served.ca]) as gate:
        with pytest.raises(Unauthenticated, match=f"h2gate login {served.url}") as refused:
            await gate.ls()
    assert not refused.value.retry


# -- when it is refreshed


class Made:
    """A source of tokens that are given one by one."""

    def __init__(self, *tokens: Token) -> None:
        self.tokens = list(tokens)
        self.stale: list[Token | None] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_asked_again = asyncio.Event()

    async def token(self, stale: Token | None) -> Token:
        self.stale.append(stale)
        if stale is not None:
            self.is_asked_again.set()
        await self.gate.wait()
        return self.tokens.pop(0)


async def accept(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200)


def request() -> httpx.Request:
    return httpx.Request("GET", "https://localhost/")


@pytest.mark.parametrize(
    ("left", "lifetime", "is_old"),
    [(3600, 3600, False), (31, None, False), (29, None, True), (29, 3600, True), (29, 60, False), (-1, 60, True)],
)
async def test_token_is_refreshed_before_it_expires(left: float, lifetime: float | None, is_old: bool) -> None:
    source = Made(Token("old", time.time() + left, lifetime), Token("new"))
    bearer = Bearer(source)
    bearer._token = await source.token(None)
    bearer._asked_at = -1e9
    await bearer.send(sent := request(), accept)
    assert sent.headers["authorization"] == ("Bearer new" if is_old else "Bearer old")


@pytest.mark.parametrize("lifetime", [3600.0, None])
async def test_clock_that_is_ahead_costs_no_refresh_for_each_request(lifetime: float | None) -> None:
    """Every token looks old as it comes, and is taken nevertheless."""
    source = Made(*(Token(f"{number}", 1.0, lifetime) for number in range(20)))
    bearer = Bearer(source)
    for _ in range(20):
        assert (await bearer.send(request(), accept)).status_code == 200
    assert len(source.stale) == 2


async def test_refresh_goes_on_when_the_request_is_cancelled() -> None:
    source = Made(Token("old", 1.0), Token("new"))
    bearer = Bearer(source)
    bearer._token = await source.token(None)
    source.gate.clear()
    first, second = (asyncio.create_task(bearer.send(request(), accept)) for _ in range(2))
    await source.is_asked_again.wait()
    first.cancel()
    await asyncio.wait({first})
    source.gate.set()
    assert (await second).status_code == 200
    assert first.cancelled()
    assert len(source.stale) == 2


async def test_close_waits_for_a_refresh_that_nobody_waits_for() -> None:
    source = Made(Token("old", 1.0), Token("new"))
    bearer = Bearer(source)
    bearer._token = await source.token(None)
    source.gate.clear()
    sending = asyncio.create_task(bearer.send(request(), accept))
    await source.is_asked_again.wait()
    sending.cancel()
    await asyncio.wait({sending})
    closing = asyncio.create_task(bearer.close())
    source.gate.set()
    await closing
    assert bearer._token == Token("new")
