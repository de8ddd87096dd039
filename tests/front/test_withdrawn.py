"""What an operator takes back holds for what is on its way, too: it is looked at when all of a body is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from h2gate.auth import keys
from h2gate.front import door
from tests.auth.issuing import AUDIENCE, evidence, issuing
from tests.auth.servers import Reply, serving
from tests.conftest import Serve, Served
from tests.front.conftest import files_under
from tests.front.policies import Fields, Policies
from tests.server.raw import RawClient

TUS = {"tus-resumable": "1.0.0"}
RIGHTS = "storage.modify:/in storage.read:/in"


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    found = Policies(tmp_path)
    found.key("lab", RIGHTS)
    return found


@pytest.fixture
def served(serve: Serve, policies: Policies) -> Served:
    found = serve(auth=policies.file, drain_seconds=0.2)
    found.path("in").mkdir()
    found.path("in/there").write_bytes(b"there")
    return found


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.plain_url, timeout=30) as client:
        yield client


def statuses(served: Served, who: Fields, policies: Policies, changed: str) -> list[int]:
    """Of a PUT, an upload that can be gone on with and an append, whose second halves come under another policy."""
    length = ("content-length", "200000")
    with RawClient(served.url, served.ca) as client:
        streams = [
            client.open("PUT", "/files/in/put", length, *who.items()),
            client.open("PUT", "/files/in/kept", length, ("upload-complete", "?1"), *who.items()),
            client.open("PATCH", "/files/in/there", length, *who.items()),
        ]
        for each in streams:
            client.push(each, bytes(100_000), end=False)
        client.quiet()
        policies.file.write_text(changed)
        served.inside(served.gateway.reload_policy())
        for each in streams:
            client.push(each, bytes(100_000))
        answers = [client.answer(each) for each in streams]
        assert all("www-authenticate" in each.headers for each in answers if each.status == 401)
        return [each.status for each in answers]


def nothing_was_done(served: Served) -> bool:
    return files_under(served.path("in")) == ["there"] and served.path("in/there").read_bytes() == b"there"


def test_with_the_last_key_all_that_it_has_begun_is_withdrawn(served: Served, policies: Policies) -> None:
    assert statuses(served, policies.fields("lab"), policies, "") == [401, 401, 401]
    assert nothing_was_done(served)


def test_with_a_secret_that_was_replaced_nothing_is_completed(served: Served, policies: Policies) -> None:
    _, digest = keys.make("lab")
    changed = f'[[keys]]\nid = "lab"\nsha256 = "{digest}"\nrights = "{RIGHTS}"\n'
    assert statuses(served, policies.fields("lab"), policies, changed) == [401, 401, 401]
    assert nothing_was_done(served)


@pytest.mark.parametrize("rights", ["storage.create:/in", "storage.modify:/other", "storage.read:/in"])
def test_with_a_right_that_was_taken_away_nothing_is_completed(served: Served, policies: Policies, rights: str) -> None:
    changed = policies.file.read_text().replace(RIGHTS, rights)
    assert statuses(served, policies.fields("lab"), policies, changed) == [403, 403, 403]
    assert nothing_was_done(served)


@pytest.mark.parametrize("more", [f"storage.create:/other {RIGHTS}", "storage.modify:/ storage.read:/in"])
def test_with_a_right_more_all_goes_on(served: Served, policies: Policies, more: str) -> None:
    changed = policies.file.read_text().replace(RIGHTS, more)
    assert statuses(served, policies.fields("lab"), policies, changed) == [201, 201, 204]


def test_tokens_of_an_issuer_that_is_not_trusted_any_more_complete_nothing(serve: Serve, tmp_path: Path) -> None:
    policies = Policies(tmp_path)
    policies.key("other", "storage.read:/")
    rest = policies.file.read_text()
    with issuing() as issuer:
        policies.lines("[[issuers]]", f'issuer = "{issuer.url}"', f'audience = "{AUDIENCE}"')
        served = serve(auth=policies.file, drain_seconds=0.2)
        served.path("in").mkdir()
        served.path("in/there").write_bytes(b"there")
        token = issuer.sign(issuer.claims(scope="storage.modify:/"))
        assert statuses(served, {"authorization": f"Bearer {token}"}, policies, rest) == [401, 401, 401]
    assert nothing_was_done(served)


def test_whoever_an_authentication_server_knew_completes_nothing_once_it_is_not_asked_any_more(
    serve: Serve, tmp_path: Path
) -> None:
    policies = Policies(tmp_path)
    policies.key("other", "storage.read:/")
    rest = policies.file.read_text()
    with serving(lambda asked: Reply(204, (("Remote-User", "alice"),))) as peer:
        policies.lines("[forward]", f'url = "{peer.url}/"', 'rights = "storage.modify:/"')
        served = serve(auth=policies.file, drain_seconds=0.2)
        served.path("in").mkdir()
        served.path("in/there").write_bytes(b"there")
        assert statuses(served, {"cookie": "session=1"}, policies, rest) == [401, 401, 401]
    assert nothing_was_done(served)


def test_with_the_key_that_has_signed_it_a_ticket_is_withdrawn(serve: Serve, tmp_path: Path) -> None:
    policies = Policies(tmp_path)
    policies.key("maker", RIGHTS)
    policies.table("tickets", 'key = "tickets.key"')
    served = serve(auth=policies.file, drain_seconds=0.2)
    served.path("in").mkdir()
    made = httpx.post(f"{served.plain_url}/tickets/", json={"folder": "in"}, headers=policies.fields("maker")).json()
    who = ("authorization", f"Bearer {made['ticket']}")
    with RawClient(served.url, served.ca) as client:
        streams = [
            client.open("PUT", f"/files/in/{name}", ("content-length", "200000"), who, *more)
            for name, more in (("put", []), ("kept", [("upload-complete", "?1")]))
        ]
        for each in streams:
            client.push(each, bytes(100_000), end=False)
        client.quiet()
        first = (tmp_path / "tickets.key").read_text()
        (tmp_path / "tickets.key").write_text(f"{'ab' * 32}\n{first}")
        served.inside(served.gateway.reload_policy())
        client.push(streams[0], bytes(100_000))
        assert client.answer(streams[0]).status == 201, "another one that signs from now on takes nothing away"
        (tmp_path / "tickets.key").write_text("ab" * 32)
        served.inside(served.gateway.reload_policy())
        client.push(streams[1], bytes(100_000))
        assert client.answer(streams[1]).status == 401
    assert files_under(served.path("in")) == ["put"]


@pytest.mark.parametrize(("method", "room"), [("HEAD", "tus"), ("PATCH", "tus"), ("PATCH", "uploads")])
def test_upload_that_is_whole_replaces_nothing_once_its_owner_may_only_create(
    served: Served, http: httpx.Client, policies: Policies, method: str, room: str
) -> None:
    who = policies.fields("lab")
    begun = {"upload-complete": "?0", "upload-length": "3", **who}
    upload = http.put("/files/in/there", content=b"new", headers=begun).headers["location"].rpartition("/")[2]
    policies.file.write_text(policies.file.read_text().replace(RIGHTS, "storage.create:/in"))
    served.inside(served.gateway.reload_policy())
    fields = {"upload-offset": "3", "upload-complete": "?1", "content-type": "application/offset+octet-stream", **TUS}
    http.request(method, f"/{room}/{upload}", headers={**fields, **who})
    assert served.path("in/there").read_bytes() == b"there"
    served.path("in/there").unlink()
    http.request(method, f"/{room}/{upload}", headers={**fields, **who})
    assert served.path("in/there").read_bytes() == b"new", "it may still be a file of its own"


def test_get_by_a_version_of_the_draft_needs_what_head_needs(
    served: Served, http: httpx.Client, policies: Policies
) -> None:
    who = policies.fields("lab")
    url = http.put("/files/in/f", content=b"half", headers={"upload-complete": "?0", **who}).headers["location"]
    policies.file.write_text(policies.file.read_text().replace(RIGHTS, "storage.read:/in"))
    served.inside(served.gateway.reload_policy())
    assert http.get(url, headers=who).status_code == 200
    assert http.get(url, headers={"upload-draft-interop-version": "8", **who}).status_code == 403


@pytest.mark.parametrize(
    ("then", "status"),
    [
        (Reply(403), 403),
        (Reply(401), 401),
        (Reply(500), 503),
        (Reply(headers=(("Remote-User", "bob"),)), 403),
        (None, 201),
    ],
    ids=["forbidden", "unauthenticated", "down", "somebody-else", "still"],
)
def test_who_another_server_vouches_for_is_asked_about_again_when_all_has_come(
    serve: Serve, policies: Policies, monkeypatch: pytest.MonkeyPatch, then: Reply | None, status: int
) -> None:
    monkeypatch.setattr(door, "_MOMENT_SECONDS", 0.0)
    alice = Reply(headers=(("Remote-User", "alice"),))
    answers = iter([alice, then or alice])
    with serving(lambda asked: next(answers)) as peer:
        policies.file.write_text("")
        policies.lines("[forward]", f'url = "{peer.url}/"', 'rights = "storage.modify:/"', "cache_seconds = 0")
        served = serve(auth=policies.file)
        with RawClient(served.url, served.ca) as client:
            fields = (("content-length", "200000"), ("authorization", "Bearer x"))
            stream = client.open("PUT", "/files/a", *fields)
            client.push(stream, bytes(200_000))
            assert client.answer(stream).status == status
        assert len(peer.asked) == 2
        assert served.path("a").exists() is (status == 201)


def test_another_server_is_asked_about_the_files_of_one_request_once_a_moment(
    serve: Serve, policies: Policies, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(door, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with serving(lambda asked: Reply(headers=(("Remote-User", "alice"),))) as peer:
        policies.file.write_text("")
        policies.lines("[forward]", f'url = "{peer.url}/"', 'rights = "storage.modify:/"', "cache_seconds = 0")
        served = serve(auth=policies.file)
        chain = served.gateway.chain
        assert chain is not None
        asked = evidence("x")
        principal = served.inside(chain.recognise(asked))
        again = door._Again(served.gateway, chain, principal, asked)
        for clock.now in (0.5, 1.1, 1.2, 1.9, 2.2, 2.3):
            assert served.inside(again()).name == principal.name
        assert len(peer.asked) == 1 + 2
