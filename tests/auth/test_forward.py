"""Forward authentication against a real server on loopback: what it is asked, what its answers mean, its bad days."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest

from h2gate.auth.base import Evidence, Principal, Via
from h2gate.auth.forward import Forwarding
from h2gate.auth.forwarded import Forward, judged
from h2gate.auth.outbound import Answer, Unanswered
from h2gate.auth.rights import Rights, parse
from h2gate.errors import Forbidden, GateError, Unauthenticated, Unrecognisable
from h2gate.server.certificates import Certificates
from tests.auth.issuing import evidence
from tests.auth.servers import Asked, Peer, Reply, serving

ALICE = Reply(headers=(("Remote-User", "alice"), ("Remote-Groups", "staff, guests")))
RIGHTS = parse("storage.read:/ storage.modify:/")


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving(lambda asked: ALICE) as found:
        yield found


def settings(peer: Peer, **other: Any) -> Forward:
    return replace(Forward(url=f"{peer.url}/auth", rights=RIGHTS), **other)


def within(forward: Forward, work: Callable[[Forwarding], Coroutine[Any, Any, Any]], **clock: Any) -> Any:
    async def run() -> Any:
        forwarding = Forwarding(forward, **clock)
        try:
            return await work(forwarding)
        finally:
            await forwarding.close()

    return asyncio.run(run())


def asking(n: int = 0, **other: Any) -> Evidence:
    """A request of its own for each `n`."""
    return evidence("secret", **{"target": f"/files/{n}", "authority": "gate.example:8443"} | other)


def once(forward: Forward, asked: Evidence) -> Principal | None:
    async def work(forwarding: Forwarding) -> Principal | None:
        return await forwarding.authenticate(asked)

    found: Principal | None = within(forward, work)
    return found


async def outcome(forwarding: Forwarding, asked: Evidence) -> type[GateError] | str:
    try:
        found = await forwarding.authenticate(asked)
    except GateError as error:
        return type(error)
    assert found is not None
    return found.name


def test_yes_tells_who_it_is_and_rights_are_those_of_the_policy(peer: Peer) -> None:
    found = once(settings(peer), asking())
    assert found is not None
    assert (found.name, found.via, found.groups) == ("forward:alice", Via.FORWARD, ("staff", "guests"))
    assert (found.rights, found.tenant, found.max_file_bytes) == (RIGHTS, "", None)


def test_server_is_asked_in_the_fields_of_nginx_and_traefik_and_peers_cannot_add_any(peer: Peer) -> None:
    headers = {
        "authorization": "Bearer secret",
        "cookie": "a=b",
        "content-length": "7",
        "content-type": "image/png",
        "upload-length": "99",
        "upload-metadata": "filename YQ==",
        "x-original-uri": "/files/forged",
        "x-forwarded-for": "198.51.100.1",
        "x-forwarded-method": "GET",
        "remote-user": "root",
        "accept": "x",
    }
    once(settings(peer), asking(5, headers=headers, target="/files/5?x=%2F", certificate=b"der"))
    (asked,) = peer.asked
    assert (asked.method, asked.path) == ("GET", "/auth")
    assert {
        name: value for name, value in asked.headers.items() if name not in ("host", "user-agent", "connection")
    } == {
        "accept": "*/*",
        "accept-encoding": "identity",
        "authorization": "Bearer secret",
        "cookie": "a=b",
        "content-type": "image/png",
        "upload-length": "99",
        "upload-metadata": "filename YQ==",
        "x-original-content-length": "7",
        "x-original-method": "PUT",
        "x-original-uri": "/files/5?x=%2F",
        "x-forwarded-method": "PUT",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "gate.example:8443",
        "x-forwarded-uri": "/files/5?x=%2F",
        "x-forwarded-for": "192.0.2.1",
        "client-cert": ":ZGVy:",
    }


def test_nobody_is_asked_about_a_request_without_a_credential(peer: Peer) -> None:
    assert once(settings(peer), evidence()) is None
    assert once(settings(peer, forward_headers=("cookie",)), asking()) is None
    assert peer.asked == []


def test_answer_may_tell_rights_tenant_and_how_large_a_file_may_be(peer: Peer) -> None:
    peer.answer = lambda asked: Reply(
        204,
        (
            ("X-Auth-Request-User", "bøb".encode().decode("latin1")),
            ("X-H2gate-Scope", "storage.create:/inbox"),
            ("X-H2gate-Scope", "storage.read:/outbox other"),
            ("X-H2gate-Max-Size", "1048576"),
            ("X-Project", "p11"),
        ),
    )
    found = once(settings(peer, tenant_header="x-project"), asking())
    assert found is not None
    assert (found.name, found.tenant, found.max_file_bytes) == ("forward:bøb", "p11", 1 << 20)
    assert found.rights == parse("storage.create:/inbox storage.read:/outbox")


@pytest.mark.parametrize("other", ["x", "\xff"], ids=["ascii", "latin1"])
def test_who_it_is_is_read_in_one_coding_whatever_the_other_fields_are_in(peer: Peer, other: str) -> None:
    name = "b\xf8b".encode().decode("latin1")
    peer.answer = lambda asked: Reply(204, (("Remote-User", name), ("Remote-Name", other)))
    found = once(settings(peer), asking())
    assert found is not None
    assert found.name == "forward:b\xf8b"


def test_name_that_is_not_utf_8_is_no_answer(peer: Peer) -> None:
    peer.answer = lambda asked: Reply(204, (("Remote-User", "b\xf8b"),))
    with pytest.raises(Unrecognisable):
        once(settings(peer), asking())


def test_no_rights_where_neither_answer_nor_policy_gives_any(peer: Peer) -> None:
    found = once(settings(peer, rights=Rights()), asking())
    assert found is not None
    assert found.rights == Rights()


def test_no_is_passed_on_with_its_challenges(peer: Peer) -> None:
    peer.answer = lambda asked: Reply(
        401, (("WWW-Authenticate", 'Basic realm="x"'), ("WWW-Authenticate", "Negotiate"), ("X-Other", "y"))
    )
    with pytest.raises(Unauthenticated) as refused:
        once(settings(peer), asking())
    assert refused.value.headers == [(b"www-authenticate", b'Basic realm="x"'), (b"www-authenticate", b"Negotiate")]
    peer.answer = lambda asked: Reply(403)
    with pytest.raises(Forbidden):
        once(settings(peer), asking())


NONSENSE: dict[str, Reply] = {
    "no-user": Reply(200),
    "empty-user": Reply(200, (("Remote-User", ""),)),
    "two-users": Reply(200, (("Remote-User", "a"), ("Remote-User", "b"))),
    "long-user": Reply(200, (("Remote-User", "a" * 256),)),
    "user-of-control-characters": Reply(200, (("Remote-User", "a\tb"),)),
    "many-groups": Reply(200, (*ALICE.headers[:1], ("Remote-Groups", "g," * 501))),
    "scope-climbs": Reply(200, (*ALICE.headers, ("X-H2gate-Scope", "storage.read:/a/../.."))),
    "scope-without-path": Reply(200, (*ALICE.headers, ("X-H2gate-Scope", "storage.modify"))),
    "size-no-number": Reply(200, (*ALICE.headers, ("X-H2gate-Max-Size", "-1"))),
    "size-twice": Reply(200, (*ALICE.headers, ("X-H2gate-Max-Size", "1"), ("X-H2gate-Max-Size", "2"))),
    "huge": Reply(200, ALICE.headers, bytes(1 << 20)),
    "huge-fields": Reply(200, (*ALICE.headers, ("X", "y" * 300_000))),
    "long-fields": Reply(200, (*ALICE.headers, ("X", "y" * 17_000))),
    "redirect": Reply(302, (*ALICE.headers, ("Location", "/login"))),
    "bad-request": Reply(400, ALICE.headers),
    "not-found": Reply(404, ALICE.headers),
    "payment": Reply(402, ALICE.headers),
    "broken": Reply(500, ALICE.headers),
    "unavailable": Reply(503, ALICE.headers),
    "unknown-status": Reply(599, ALICE.headers),
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
def test_answer_that_is_neither_yes_nor_no_allows_nothing_and_is_not_remembered(peer: Peer, nonsense: Reply) -> None:
    async def work(forwarding: Forwarding) -> None:
        peer.answer = lambda asked: nonsense
        assert await outcome(forwarding, asking()) is Unrecognisable
        peer.answer = lambda asked: ALICE
        assert await outcome(forwarding, asking()) == "forward:alice"

    within(settings(peer), work)
    assert len(peer.asked) == 2


def test_tenant_that_the_policy_wants_must_be_told(peer: Peer) -> None:
    with pytest.raises(Unrecognisable):
        once(settings(peer, tenant_header="x-project"), asking())


def test_server_that_speaks_no_http_allows_nothing() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        thread = threading.Thread(target=_babble, args=(listening,))
        thread.start()
        forward = Forward(url=f"http://127.0.0.1:{listening.getsockname()[1]}/", rights=RIGHTS)
        with pytest.raises(Unrecognisable):
            once(forward, asking())
        thread.join(10)


def _babble(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with closing(connection), suppress(OSError):
        connection.recv(4096)
        connection.sendall(b"\x00\x01\x02 what?\r\n\r\n" * 1000)


def test_server_whose_certificate_is_not_known_is_not_believed(peer: Peer) -> None:
    with pytest.raises(Unrecognisable):
        once(replace(settings(peer), url=peer.url.replace("http:", "https:")), asking())


def test_yes_is_remembered_for_the_same_request_and_sender_alone(peer: Peer) -> None:
    seconds = [0.0]

    async def work(forwarding: Forwarding) -> None:
        for _ in range(3):
            await forwarding.authenticate(asking())
        assert len(peer.asked) == 1
        others = [
            asking(1),
            asking(method="DELETE"),
            asking(peer="192.0.2.2"),
            asking(certificate=b"der"),
            asking(headers={"authorization": "Bearer other"}),
            asking(headers={"authorization": "Bearer secret", "cookie": "a=b"}),
            asking(headers={"authorization": "Bearer secret", "upload-length": "7"}),
        ]
        for n, other in enumerate(others, 2):
            await forwarding.authenticate(other)
            assert len(peer.asked) == n
        seconds[0] = 10.1
        await forwarding.authenticate(asking())
        assert len(peer.asked) == len(others) + 2

    within(settings(peer), work, clock=lambda: seconds[0])


def test_yes_may_hold_for_all_that_its_sender_asks_and_a_no_never_does(peer: Peer) -> None:
    async def work(forwarding: Forwarding) -> None:
        peer.answer = lambda asked: Reply(403)
        assert await outcome(forwarding, asking(1)) is Forbidden
        peer.answer = lambda asked: ALICE
        for n in range(20):
            assert await outcome(forwarding, asking(n, method="GET" if n % 2 else "PUT")) == "forward:alice"
        assert len(peer.asked) == 2
        await outcome(forwarding, asking(headers={"authorization": "Bearer other"}))
        await outcome(forwarding, asking(certificate=b"der"))
        assert len(peer.asked) == 4

    within(settings(peer, cache="credentials"), work)


def test_no_is_remembered_for_a_second_only(peer: Peer) -> None:
    seconds = [0.0]

    async def work(forwarding: Forwarding) -> None:
        peer.answer = lambda asked: Reply(401)
        for _ in range(3):
            assert await outcome(forwarding, asking()) is Unauthenticated
        assert len(peer.asked) == 1
        peer.answer = lambda asked: ALICE
        seconds[0] = 1.1
        assert await outcome(forwarding, asking()) == "forward:alice"

    within(settings(peer), work, clock=lambda: seconds[0])


@pytest.mark.parametrize(
    ("control", "n_asked"),
    [("no-store", 2), ("private, no-cache", 2), ("max-age=0", 2), ("max-age=3600", 1), ("", 1)],
)
def test_server_may_shorten_how_long_its_answer_is_remembered(peer: Peer, control: str, n_asked: int) -> None:
    async def work(forwarding: Forwarding) -> None:
        await forwarding.authenticate(asking())
        await forwarding.authenticate(asking())

    peer.answer = lambda asked: Reply(200, (*ALICE.headers, ("Cache-Control", control)))
    within(settings(peer), work)
    assert len(peer.asked) == n_asked


def test_the_same_question_at_once_is_asked_once_and_outlives_whoever_asked_first(peer: Peer) -> None:
    async def work(forwarding: Forwarding) -> None:
        waiting = [asyncio.create_task(forwarding.authenticate(asking())) for _ in range(50)]
        await peer.waited_for()
        waiting[0].cancel()
        going_on.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert all(isinstance(each, Principal) for each in found[1:])

    def answer(asked: Asked) -> Reply:
        going_on.wait(10)
        return ALICE

    going_on = threading.Event()
    peer.answer = answer
    within(settings(peer), work)
    assert len(peer.asked) == 1


def test_credential_that_cannot_be_sent_on_is_refused_and_says_nothing_about_the_server(peer: Peer) -> None:
    async def work(forwarding: Forwarding) -> None:
        for value in ("Bearer a\r\nX: y", "Bearer \N{SNOWMAN}", "Bearer a\x00b", "Bearer a\x7f\nb"):
            assert await outcome(forwarding, asking(headers={"authorization": value})) is Unauthenticated
        assert await outcome(forwarding, asking()) == "forward:alice"

    within(settings(peer), work)
    assert len(peer.asked) == 1


def test_cookie_that_the_server_sets_is_never_sent_with_the_question_of_another(peer: Peer) -> None:
    async def work(forwarding: Forwarding) -> None:
        for n in range(3):
            await forwarding.authenticate(asking(n))

    peer.answer = lambda asked: Reply(200, (*ALICE.headers, ("Set-Cookie", "session=alice; Path=/")))
    within(settings(peer), work)
    assert not any("cookie" in asked.headers for asked in peer.asked)


def test_connections_are_used_again(peer: Peer) -> None:
    opened = []

    async def work(forwarding: Forwarding) -> None:
        for n in range(20):
            await forwarding.authenticate(asking(n))
        transport = forwarding._outbound._transport
        assert transport is not None
        opened.append(len(transport._pool.connections))

    within(settings(peer), work)
    assert opened == [1]


def test_slow_server_is_waited_for_in_bounded_time_then_left_alone_and_asked_again(peer: Peer) -> None:
    seconds = [0.0]

    async def work(forwarding: Forwarding) -> None:
        peer.answer = peer.held
        async with asyncio.timeout(20):
            found = await asyncio.gather(*(outcome(forwarding, asking(n)) for n in range(40)))
        assert set(found) == {Unrecognisable}
        n_asked = len(peer.asked)
        for n in range(40, 80):
            assert await outcome(forwarding, asking(n)) is Unrecognisable
        assert len(peer.asked) == n_asked
        peer.answer = lambda asked: ALICE
        seconds[0] = 1.1
        assert await outcome(forwarding, asking(80)) == "forward:alice"
        assert await outcome(forwarding, asking(0)) == "forward:alice"

    within(settings(peer, timeout_seconds=3), work, clock=lambda: seconds[0])


def test_while_it_is_found_out_whether_the_server_is_back_one_asks_and_the_others_are_told_at_once(peer: Peer) -> None:
    seconds = [0.0]

    async def work(forwarding: Forwarding) -> None:
        peer.answer = lambda asked: Reply(503)
        for n in range(3):
            await outcome(forwarding, asking(n))
        n_asked, seconds[0] = len(peer.asked), 1.1
        peer.answer = answer
        first = asyncio.create_task(outcome(forwarding, asking(9)))
        await peer.waited_for(n_asked + 1)
        for n in range(10, 40):
            assert await outcome(forwarding, asking(n)) is Unrecognisable
        assert len(peer.asked) == n_asked + 1
        going_on.set()
        assert await first == "forward:alice"
        assert await outcome(forwarding, asking(10)) == "forward:alice"

    def answer(asked: Asked) -> Reply:
        going_on.wait(10)
        return ALICE

    going_on = threading.Event()
    within(settings(peer), work, clock=lambda: seconds[0])


def test_server_that_goes_and_comes_back_is_believed_each_time() -> None:
    seconds = [0.0]

    async def work(forwarding: Forwarding) -> None:
        for n in range(0, 30, 10):
            with serving(lambda asked: ALICE, port):
                assert await outcome(forwarding, asking(n)) == "forward:alice"
            for m in range(1, 6):
                assert await outcome(forwarding, asking(n + m)) is Unrecognisable
            seconds[0] += 1.1

    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port: int = free.getsockname()[1]
    within(Forward(url=f"http://127.0.0.1:{port}/", rights=RIGHTS), work, clock=lambda: seconds[0])


def test_request_that_the_server_cannot_stand_does_not_stop_the_others(peer: Peer) -> None:
    """Whoever finds a question that breaks the server must not shut everybody out with it."""

    async def work(forwarding: Forwarding) -> None:
        for n in range(10):
            peer.answer = lambda asked: Reply(500)
            assert await outcome(forwarding, asking(n)) is Unrecognisable
        peer.answer = lambda asked: ALICE
        assert await outcome(forwarding, asking(99)) == "forward:alice"

    within(settings(peer), work)


def test_one_address_leaves_room_for_the_questions_of_others(peer: Peer) -> None:
    async def work(forwarding: Forwarding) -> None:
        greedy = [asyncio.create_task(outcome(forwarding, asking(n))) for n in range(400)]
        await peer.waited_for(32)
        assert len(forwarding._asking) == 128
        other = asyncio.create_task(outcome(forwarding, asking(peer="192.0.2.2")))
        await asyncio.sleep(0)
        peer.answer = lambda asked: ALICE
        going_on.set()
        assert await other == "forward:alice"
        found = await asyncio.gather(*greedy)
        assert (found.count("forward:alice"), found.count(Unrecognisable)) == (128, 272)
        assert forwarding._asking == forwarding._n_of_peer == {}

    def answer(asked: Asked) -> Reply:
        going_on.wait(10)
        return ALICE

    going_on = threading.Event()
    peer.answer = answer
    within(settings(peer, timeout_seconds=20), work)


def test_what_is_remembered_takes_bounded_room(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(forwarding: Forwarding) -> None:
        for n in range(12):
            await forwarding.authenticate(asking(n))
        assert len(forwarding._kept) == 5
        await forwarding.authenticate(asking(11))
        assert len(peer.asked) == 12

    monkeypatch.setattr("h2gate.auth.forward._MAX_KEPT", 5)
    within(settings(peer), work)


def test_closing_ends_what_is_being_asked(peer: Peer) -> None:
    async def work(forwarding: Forwarding) -> None:
        waiting = asyncio.create_task(outcome(forwarding, asking()))
        await peer.waited_for()
        await forwarding.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    peer.answer = peer.held
    within(settings(peer), work)


@pytest.mark.parametrize("status", [100, 199, 300, 304, 407, 418, 429, 502, 599, 700])
def test_only_2xx_is_yes(status: int) -> None:
    with pytest.raises(Unanswered):
        judged(Forward(url=""), Answer(status, httpx.Headers({"remote-user": "alice"}), b""))


def test_tls_of_the_server_is_checked_against_the_authorities_of_the_policy(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.cert, certificates.key)
    with serving(lambda asked: ALICE, tls=context) as secure:
        assert once(settings(secure, ca=certificates.ca), asking()) is not None
        with pytest.raises(Unrecognisable):
            once(settings(secure), asking())
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


def test_connection_that_is_closed_in_the_moment_it_is_used_again_is_replaced() -> None:
    yes = b"HTTP/1.1 200 OK\r\nremote-user: alice\r\ncontent-length: 0\r\n\r\n"

    def serve_one_each(listening: socket.socket) -> None:
        for closes in (True, False):
            connection, _ = listening.accept()
            with closing(connection):
                connection.recv(4096)
                connection.sendall(yes)
                if closes:
                    connection.recv(4096)  # and no answer

    async def work(forwarding: Forwarding) -> None:
        for n in range(2):
            assert await outcome(forwarding, asking(n)) == "forward:alice"

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        thread = threading.Thread(target=serve_one_each, args=(listening,))
        thread.start()
        within(Forward(url=f"http://127.0.0.1:{listening.getsockname()[1]}/", rights=RIGHTS), work)
        thread.join(10)
        assert not thread.is_alive()
