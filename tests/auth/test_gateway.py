"""A whole gateway whose issuer or authentication server has a bad day: bounded, closed, and nobody else waits."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from h2gate.auth import keys
from tests.auth.issuing import AUDIENCE, Issuing
from tests.auth.servers import Asked, Peer, Reply, serving
from tests.conftest import Serve, Served
from tests.front.conftest import wait_until
from tests.server.raw import Answer, RawClient

RIGHTS = '"storage.read:/ storage.modify:/"'
ALICE = Reply(204, (("Remote-User", "alice"),))


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving(lambda asked: ALICE) as found:
        yield found


@pytest.fixture
def key() -> tuple[str, str]:
    """A secret and its line in the policy."""
    secret, digest = keys.make("k")
    return secret, f'[[keys]]\nid = "k"\nsha256 = "{digest}"\nrights = {RIGHTS}\n'


def gateway(serve: Serve, folder: Path, text: str) -> Served:
    (folder / "auth.toml").write_text(text)
    return serve(auth=folder / "auth.toml")


def put(served: Served, credential: str, name: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {credential}"}
    return httpx.put(f"{served.plain_url}/files/{name}", content=name.encode(), headers=headers, timeout=60)


def test_slow_authentication_server_is_503_in_time_while_others_upload(
    serve: Serve, tmp_path: Path, peer: Peer, key: tuple[str, str]
) -> None:
    secret, line = key
    forward = f'[forward]\nurl = "{peer.url}/"\nrights = {RIGHTS}\ntimeout_seconds = 2\n'
    served = gateway(serve, tmp_path, line + forward)
    peer.answer = peer.held
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(put, served, "opaque", f"slow-{n}") for n in range(8)]
        assert peer.came.acquire(timeout=30)
        for n in range(5):
            assert put(served, secret, f"key-{n}").status_code == 201
        answers = [each.result() for each in waiting]
    assert {(each.status_code, each.json()["code"]) for each in answers} == {(503, "unrecognisable")}
    assert all("retry-after" in each.headers for each in answers)
    assert sorted(path.name for path in served.path("").iterdir()) == [f"key-{n}" for n in range(5)]
    peer.answer = lambda asked: ALICE
    wait_until(lambda: put(served, "opaque", "later").status_code == 201, "it is asked again")


def bearer(credential: str) -> tuple[str, str]:
    return "authorization", f"Bearer {credential}"


def test_while_the_server_is_slow_down_and_flapping_uploads_on_the_same_connection_go_on(
    serve: Serve, tmp_path: Path, peer: Peer, key: tuple[str, str]
) -> None:
    secret, line = key
    forward = f'[forward]\nurl = "{peer.url}/"\nrights = {RIGHTS}\ntimeout_seconds = 2\ncache_seconds = 0\n'
    served = gateway(serve, tmp_path, line + forward)
    with RawClient(served.url, served.ca) as client:

        def begin(credential: str, name: str, n_bytes: int) -> int:
            return client.open("PUT", f"/files/{name}", ("content-length", str(n_bytes)), bearer(credential))

        def ask(name: str) -> Answer:
            return client.put(f"/files/{name}", b"x", bearer("opaque"))

        long = begin(secret, "long", 6 << 20)
        client.push(long, bytes(2 << 20), end=False)
        peer.answer = peer.held
        slow = begin("opaque", "slow", 1 << 20)
        assert peer.came.acquire(timeout=30)
        assert client.put("/files/short", bytes(3 << 20), bearer(secret)).status == 201
        client.push(long, bytes(2 << 20), end=False)
        assert not client.answers[slow].over, "it waits for the answer, and nobody else does"
        assert (client.answer(slow).status, client.answers[slow].sent) == (503, 0)
        for name in ("up-1", "up-2", "up-3"):
            peer.answer = lambda asked: Reply(503)
            assert ask("down").status == 503
            peer.answer = lambda asked: ALICE
            wait_until(lambda: ask(name).status == 201, "it is asked again")  # noqa: B023
        client.push(long, bytes(2 << 20))
        assert client.answer(long).status == 201
        assert not client.goaways
    assert sorted(path.name for path in served.path("").iterdir()) == ["long", "short", "up-1", "up-2", "up-3"]


def test_answer_for_one_url_is_not_taken_for_another(serve: Serve, tmp_path: Path, peer: Peer) -> None:
    served = gateway(serve, tmp_path, f'[forward]\nurl = "{peer.url}/"\nrights = {RIGHTS}\n')

    def answer(asked: Asked) -> Reply:
        return Reply(403) if "refused" in asked.headers["x-original-uri"] else ALICE

    peer.answer = answer
    for name, status in (("refused", 403), ("taken", 201)):
        assert put(served, "opaque", name).status_code == status
    assert [asked.headers["x-original-uri"] for asked in peer.asked] == ["/files/refused", "/files/taken"]
    assert not served.path("refused").exists()


def test_tenant_of_the_answer_is_where_its_rights_hold(serve: Serve, tmp_path: Path, peer: Peer) -> None:
    text = f'[tenants.physics]\nroot = "by-group/physics"\n[forward]\nurl = "{peer.url}/"\nrights = {RIGHTS}\n'
    served = gateway(serve, tmp_path, f'{text}tenant_header = "X-Project"\n')
    peer.answer = lambda asked: Reply(204, (*ALICE.headers, ("X-Project", "physics")))
    assert put(served, "opaque", "by-group/physics/a").status_code == 201
    assert put(served, "opaque", "by-group/a").status_code == 403
    assert put(served, "opaque", "a").status_code == 403
    peer.answer = lambda asked: Reply(204, (*ALICE.headers, ("X-Project", "nobody")))
    assert put(served, "opaque", "by-group/physics/b").status_code == 403
    peer.answer = lambda asked: ALICE
    assert put(served, "opaque", "by-group/physics/c").status_code == 503


def test_issuer_that_is_down_from_the_start_is_503_and_found_when_it_is_there(
    serve: Serve, tmp_path: Path, issuer: Issuing, key: tuple[str, str]
) -> None:
    secret, line = key
    text = f'{line}[[issuers]]\nissuer = "{issuer.url}"\naudience = "{AUDIENCE}"\n'
    served = gateway(serve, tmp_path, text)
    issuer.peer.answer = lambda asked: Reply(502)
    token = issuer.sign(issuer.claims(scope="storage.modify:/"))
    refused = put(served, token, "a")
    assert (refused.status_code, refused.json()["code"]) == (503, "unrecognisable")
    assert token not in refused.text
    assert put(served, secret, "b").status_code == 201
    issuer.peer.answer = issuer.answer
    wait_until(lambda: put(served, token, "a").status_code == 201, "the issuer is found")
