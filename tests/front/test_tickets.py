"""Tickets over real connections: made by who may, used by who has one, refused to everybody else."""

from __future__ import annotations

import re
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from h2gate.auth.ticket import Keys, Ticket, ensure_keys
from tests.conftest import Serve, Served
from tests.front.parts import END, TYPE, part
from tests.front.policies import Policies
from tests.server.raw import eventually

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    found = Policies(tmp_path)
    found.key("maker", "storage.create:/ storage.read:/", 'tenant = "t"')
    found.key("narrow", "storage.create:/in/narrow")
    found.key("reader", "storage.read:/")
    found.key("admin", "storage.modify:/ storage.read:/")
    found.tenant("t", 'root = "room"', "max_bytes = 100_000")
    found.table("tickets", 'key = "tickets.key"', "max_seconds = 100")
    return found


@pytest.fixture
def served(policies: Policies, serve: Serve) -> Served:
    return serve(auth=policies.file, drain_seconds=0.2)


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.plain_url, timeout=30) as client:
        yield client


@pytest.fixture
def make(client: httpx.Client, policies: Policies) -> Make:
    """`make(folder="room/in", …)` is the answer to who makes one."""

    def ask(who: str = "maker", **claims: Any) -> dict[str, Any]:
        answer = client.post("/tickets/", json={"folder": "room/in", **claims}, headers=policies.fields(who))
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        assert answer.headers["location"] == f"/tickets/{found['id']}"
        assert answer.headers["cache-control"] == "no-store"
        return found

    return ask


def bearer(ticket: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {ticket['ticket']}"}


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_ticket_stores_files_in_its_folder_by_field_and_by_url(
    client: httpx.Client, make: Make, served: Served
) -> None:
    ticket = make()
    assert client.put("/files/room/in/a", content=b"1", headers=bearer(ticket)).status_code == 201
    answer = client.put("/files/room/in/b", content=b"2", params={"ticket": ticket["ticket"]})
    assert answer.status_code == 201
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "ticket" not in answer.headers["location"]
    assert served.path("room/in/b").read_bytes() == b"2"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "room/other", 403),
        ("PUT", "room/inn", 403),
        ("PUT", "room/in/%2e%2e/other", 400),
        ("PUT", "other/in/a", 403),
        ("PUT", "room/in/there", 403),
        ("PATCH", "room/in/there", 403),
        ("DELETE", "room/in/there", 403),
        ("GET", "room/in/there", 403),
        ("GET", "room/", 403),
        ("GET", "elsewhere", 404),
        ("HEAD", "room/in/there", 200),
    ],
)
def test_ticket_does_nothing_else(
    client: httpx.Client, make: Make, served: Served, method: str, path: str, status: int
) -> None:
    served.path("room/in").mkdir(parents=True)
    served.path("room/in/there").write_bytes(b"there")
    assert client.request(method, f"/files/{path}", headers=bearer(make())).status_code == status
    assert served.path("room/in/there").read_bytes() == b"there"


def test_ticket_for_names_is_for_these_only(client: httpx.Client, make: Make) -> None:
    ticket = make(names=["*.csv", "readme"])
    for name, status in (("a.csv", 201), ("readme", 201), ("a.txt", 403), ("x/a.csv", 403), ("readme/x", 403)):
        assert client.put(f"/files/room/in/{name}", content=b"", headers=bearer(ticket)).status_code == status, name
    metadata = f"filename {b64encode(b'room/in/b.txt').decode()}"
    fields = {**bearer(ticket), "tus-resumable": "1.0.0", "upload-length": "1", "upload-metadata": metadata}
    assert client.post("/tus/", headers=fields).status_code == 403


def test_ticket_for_one_file_is_used_up_by_one_and_not_by_what_was_refused(client: httpx.Client, make: Make) -> None:
    ticket = make(once=True, max_file_bytes=5)
    assert code(client.put("/files/room/in/a", content=b"123456", headers=bearer(ticket))) == (413, "too_large")
    assert client.put("/files/room/in/a", content=b"12345", headers=bearer(ticket)).status_code == 201
    for path in ("a", "b"):
        assert code(client.put(f"/files/room/in/{path}", content=b"1", headers=bearer(ticket))) == (403, "forbidden")
    metadata = f"filename {b64encode(b'room/in/c').decode()}"
    fields = {**bearer(ticket), "tus-resumable": "1.0.0", "upload-length": "1", "upload-metadata": metadata}
    assert client.post("/tus/", headers=fields).status_code == 403


def test_uploads_that_race_with_one_ticket_store_one_file(served: Served, make: Make) -> None:
    ticket = make(once=True)
    statuses: list[int] = []

    def send(n: int) -> None:
        with httpx.Client(base_url=served.plain_url, timeout=30) as client:
            answer = client.put(f"/files/room/in/{n}", content=iter([b"1"] * 50), headers=bearer(ticket))
            statuses.append(answer.status_code)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert sorted(statuses) == [201] + [403] * 7
    assert len(list(served.path("room/in").iterdir())) == 1


def test_ticket_counts_bytes_and_is_told_what_is_left(client: httpx.Client, make: Make) -> None:
    ticket = make(max_bytes=10)
    assert client.put("/files/room/in/a", content=b"1234", headers=bearer(ticket)).status_code == 201
    answer = client.put("/files/room/in/b", content=b"1234567", headers=bearer(ticket))
    assert code(answer) == (507, "over_quota")
    assert answer.json()["left"] == {"bytes": 6, "files": None}
    assert client.put("/files/room/in/b", content=b"123456", headers=bearer(ticket)).status_code == 201


def test_tenants_quota_holds_for_tickets_too(client: httpx.Client, make: Make) -> None:
    answer = client.put("/files/room/in/a", content=bytes(100_001), headers=bearer(make()))
    assert code(answer) == (507, "over_quota")
    assert answer.json()["left"] == {"bytes": 100_000, "files": None}


def test_revoked_ticket_is_refused_at_once(client: httpx.Client, make: Make, policies: Policies) -> None:
    ticket = make()
    url = f"/tickets/{ticket['id']}"
    assert client.put("/files/room/in/a", content=b"1", headers=bearer(ticket)).status_code == 201
    found = client.get(url, headers=policies.fields("maker")).json()
    assert (found["bytes"], found["files"], found["revoked"]) == (1, 1, False)
    assert client.delete(url, headers=policies.fields("maker")).status_code == 204
    answer = client.put("/files/room/in/b", content=b"1", headers=bearer(ticket))
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert client.get(url, headers=policies.fields("maker")).json()["revoked"] is True


def test_ticket_that_was_made_for_longer_than_is_allowed_by_now_stays_revoked_until_it_expires(
    client: httpx.Client, served: Served, policies: Policies, tmp_path: Path
) -> None:
    month = 30 * 86400.0
    ticket = Ticket(folder="in", tenant="t", expires_at=time.time() + month)
    fields = {"authorization": f"Bearer {ensure_keys(tmp_path / 'tickets.key').sign(ticket)}"}
    assert client.delete(f"/tickets/{ticket.id}", headers=policies.fields("admin")).status_code == 204
    served.inside(served.gateway._ledger.forget_accounts(time.time() + month))
    assert client.put("/files/room/in/a", content=b"1", headers=fields).status_code == 401


def test_ticket_that_is_revoked_while_the_body_comes_stores_nothing(
    served: Served, client: httpx.Client, make: Make, policies: Policies
) -> None:
    ticket, goes_on, answers = make(), threading.Event(), []

    def body() -> Iterator[bytes]:
        yield b"1" * 1000
        goes_on.wait(30)
        yield b"2"

    def send() -> None:
        with httpx.Client(base_url=served.plain_url, timeout=30) as other:
            answers.append(other.put("/files/room/in/a", content=body(), headers=bearer(ticket)))

    thread = threading.Thread(target=send)
    thread.start()
    eventually(lambda: bool(served.staged()) or _is_held(served, ticket), "the upload has begun")
    assert client.delete(f"/tickets/{ticket['id']}", headers=policies.fields("maker")).status_code == 204
    goes_on.set()
    thread.join(30)
    assert answers[0].status_code in (401, 403)
    assert not served.path("room/in/a").exists()


def _is_held(served: Served, ticket: dict[str, Any]) -> bool:
    return served.inside(served.gateway.quotas.used(ticket["id"])).held_files > 0


def test_tickets_of_others_are_not_there_but_for_who_may_change_everything(
    client: httpx.Client, make: Make, policies: Policies
) -> None:
    ticket = make()
    for who in ("reader", "narrow"):
        for method in ("GET", "DELETE"):
            assert client.request(method, f"/tickets/{ticket['id']}", headers=policies.fields(who)).status_code == 404
    for bad in ("0" * 16, "x", ticket["id"] + "0"):
        assert client.get(f"/tickets/{bad}", headers=policies.fields("maker")).status_code == 404
    assert client.delete(f"/tickets/{ticket['id']}", headers=policies.fields("admin")).status_code == 204
    assert client.put("/files/room/in/a", content=b"1", headers=bearer(ticket)).status_code == 401


@pytest.mark.parametrize(
    ("who", "folder", "status"),
    [
        ("maker", "room", 201),
        ("maker", "", 403),
        ("maker", "roomy", 403),
        ("narrow", "in/narrow/deep", 201),
        ("narrow", "in", 403),
        ("reader", "in", 403),
        ("admin", "", 201),
        ("admin", "../x", 400),
    ],
)
def test_nobody_gives_more_than_they_have(
    client: httpx.Client, policies: Policies, who: str, folder: str, status: int
) -> None:
    answer = client.post("/tickets", json={"folder": folder}, headers=policies.fields(who))
    assert answer.status_code == status
    if status == 201:
        path = f"/files/{folder}/new" if folder else "/files/new"
        assert client.put(path, content=b"1", headers=bearer(answer.json())).status_code == 201


@pytest.mark.parametrize("content", [b"", b"[]", b"x", b'{"folder": 1}', b'{"folder": "room", "byte": 1}', b"[" * 9999])
def test_request_for_a_ticket_that_cannot_be_meant_is_400(
    client: httpx.Client, policies: Policies, content: bytes
) -> None:
    assert code(client.post("/tickets", content=content, headers=policies.fields("maker"))) == (400, "bad_ticket")


def test_request_for_a_ticket_is_short_and_comes_from_somebody(
    client: httpx.Client, policies: Policies, make: Make
) -> None:
    assert client.post("/tickets", content=b" " * 20_000, headers=policies.fields("maker")).status_code == 413
    assert client.post("/tickets", json={"folder": "room"}).status_code == 401
    assert code(client.post("/tickets", json={"folder": "room/in"}, headers=bearer(make()))) == (403, "forbidden")
    assert (
        client.post("/tickets", json={"folder": "room", "seconds": 101}, headers=policies.fields("maker")).status_code
        == 400
    )


def test_ticket_that_would_be_too_long_to_be_taken_is_not_made(client: httpx.Client, policies: Policies) -> None:
    asked = {"folder": "room/in", "names": ["\N{SNOWMAN}" * 1000]}
    assert code(client.post("/tickets", json=asked, headers=policies.fields("maker"))) == (400, "bad_ticket")


def test_ticket_puts_no_file_in_the_place_of_its_folder(client: httpx.Client, make: Make, served: Served) -> None:
    for ticket in (make(folder="room/in/box"), make(folder="room")):
        path = ticket["folder"]
        metadata = f"path {b64encode(path.encode()).decode()}"
        fields = {**bearer(ticket), "tus-resumable": "1.0.0", "upload-length": "1", "upload-metadata": metadata}
        assert code(client.put(f"/files/{path}", content=b"1", headers=bearer(ticket))) == (403, "forbidden")
        assert code(client.post("/tus/", headers=fields)) == (403, "forbidden")
        assert not served.path(path).exists()
    assert (
        client.put("/files/room/in/box/a", content=b"1", headers=bearer(make(folder="room/in/box"))).status_code == 201
    )


def test_forged_and_expired_tickets_are_401(client: httpx.Client, make: Make, tmp_path: Path) -> None:
    make()
    keys = ensure_keys(tmp_path / "tickets.key")
    expired = keys.sign(Ticket(folder="in", tenant="t", expires_at=time.time() - 1))
    forged = Keys((b"x" * 32,)).sign(Ticket(folder="in", tenant="t", expires_at=time.time() + 100))
    for text in (expired, forged, expired[:-1], "h2gt_", "nonsense"):
        for answer in (
            client.put("/files/room/in/a", content=b"1", params={"ticket": text}),
            client.put("/files/room/in/a", content=b"1", headers={"authorization": f"Bearer {text}"}),
        ):
            assert answer.status_code == 401
            assert text not in answer.text


def test_tus_upload_with_a_ticket_in_the_url_goes_on_by_the_url_it_is_given(
    client: httpx.Client, make: Make, served: Served
) -> None:
    ticket = make(once=True)
    metadata = f"filename {b64encode(b'room/in/a').decode()}"
    fields = {"tus-resumable": "1.0.0", "upload-length": "4", "upload-metadata": metadata}
    answer = client.post("/tus/", params={"ticket": ticket["ticket"]}, headers=fields)
    assert answer.status_code == 201
    url = answer.headers["location"]
    assert client.head(url, headers={"tus-resumable": "1.0.0"}).headers["upload-offset"] == "0"
    more = {"tus-resumable": "1.0.0", "upload-offset": "0", "content-type": "application/offset+octet-stream"}
    assert client.patch(url.partition("?")[0], content=b"1234", headers=more).status_code == 401
    assert client.patch(url, content=b"1234", headers=more).status_code == 204
    assert served.path("room/in/a").read_bytes() == b"1234"


def test_browser_shows_a_form_at_the_url_and_sends_it_without_a_script(
    client: httpx.Client, make: Make, served: Served
) -> None:
    ticket = make(names=["*.csv"], max_files=3)
    shown = client.get(ticket["url"], headers={"accept": "text/html"})
    assert shown.status_code == 200
    assert "3 files" in shown.text
    assert re.search(r"<form method=post enctype=multipart/form-data>", shown.text)
    assert "<script" not in shown.text
    assert ticket["ticket"] not in shown.text
    assert shown.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    body = part("a.csv", b"1") + part("<b>.txt", b"2") + END
    sent = client.post(ticket["url"], content=body, headers={**TYPE, "accept": "text/html,*/*"})
    assert sent.status_code == 207
    assert sent.headers["content-type"].startswith("text/html")
    assert "a.csv: stored" in sent.text
    assert "<b>" not in sent.text
    assert [each.name for each in served.path("room/in").iterdir()] == ["a.csv"]
    assert client.post(ticket["url"], content=body, headers=TYPE).json()["files"][1]["code"] == "forbidden"


def test_page_is_for_the_folder_of_the_ticket_only(client: httpx.Client, make: Make) -> None:
    ticket = make()
    for path in ("/files/room/other/", "/files/elsewhere/"):
        assert client.get(path, params={"ticket": ticket["ticket"]}).status_code == 403


def test_gateway_without_a_key_for_tickets_makes_none(serve: Serve, tmp_path: Path) -> None:
    policies = Policies(tmp_path)
    policies.key("admin", "storage.modify:/ storage.read:/")
    with httpx.Client(base_url=serve(auth=policies.file).plain_url, timeout=30) as client:
        assert client.post("/tickets", json={"folder": "a"}, headers=policies.fields("admin")).status_code == 404
        assert client.put("/files/a", content=b"", params={"ticket": "h2gt_x.y"}).status_code == 401
