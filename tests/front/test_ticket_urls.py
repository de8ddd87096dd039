"""Tickets and URLs: what is called a ticket in one, beside a credential in a field, was signed by nobody, so nothing is
made of it; and what a URL tells who has the same ticket as others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from h2gate.auth.ticket import wanted
from tests.conftest import Serve, Served
from tests.front.policies import Fields, Policies
from tests.server.raw import RawClient

TUS = {"tus-resumable": "1.0.0", "upload-length": "3", "upload-metadata": "path aW4vYQ=="}
UNSIGNED = ["ticket=%0d%0aset-cookie:%20a=b", "ticket=h2gt_x.y", "ticket=", "ticket=%22%3E%3Cscript%3E"]


@pytest.fixture
def served(serve: Serve, tmp_path: Path) -> Served:
    policies = Policies(tmp_path)
    policies.key("maker", "storage.create:/")
    policies.table("tickets", 'key = "tickets.key"')
    served = serve(auth=policies.file, drain_seconds=0.2)
    served.path("in").mkdir()
    return served


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.plain_url, timeout=30) as client:
        yield client


@pytest.fixture
def ticket(served: Served) -> str:
    made = wanted({"folder": "in"}, tenant="", issuer="key:maker", max_seconds=100)
    assert served.gateway.tickets is not None
    return served.gateway.tickets.keys.sign(made)


@pytest.fixture
def fields(ticket: str) -> Fields:
    return {"authorization": f"Bearer {ticket}"}


@pytest.mark.parametrize("query", UNSIGNED)
def test_url_of_an_upload_has_none_that_is_not_the_credential(served: Served, fields: Fields, query: str) -> None:
    with RawClient(served.url, served.ca) as client:
        stream = client.open("POST", f"/tus/?{query}", *TUS.items(), *fields.items(), end=True)
        answer = client.answer(stream)
    assert answer.status == 201
    assert answer.headers["location"].partition("?")[1:] == ("", "")


def test_over_http1_it_is_no_field_of_the_answer(http: httpx.Client, fields: Fields) -> None:
    answer = http.post(f"/tus/?{UNSIGNED[0]}", headers={**TUS, **fields})
    assert answer.status_code == 201
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("query", UNSIGNED)
def test_page_is_for_who_came_by_the_url(http: httpx.Client, fields: Fields, ticket: str, query: str) -> None:
    assert http.get(f"/files/in/?{query}", headers=fields).status_code == 403
    assert http.get(f"/files/in/?ticket={ticket}").status_code == 200


@pytest.mark.parametrize(
    "query", ["", "?path=", "?path=/files/in/", "?path=/files/", "?path=in/", "?paths=/files/in/a"]
)
def test_who_has_a_ticket_is_not_told_what_others_send_with_it(http: httpx.Client, fields: Fields, query: str) -> None:
    url = http.put("/files/in/a", content=b"half", headers={"upload-complete": "?0", **fields}).headers["location"]
    for method in ("GET", "HEAD"):
        assert http.request(method, f"/uploads/{query}", headers=fields).status_code == 403
    (found,) = http.get("/uploads/?path=/files/in/a", headers=fields).json()["uploads"]
    assert found["url"] == url


def test_blank_one_behind_it_takes_nothing_away(http: httpx.Client, ticket: str) -> None:
    answer = http.post(f"/tus/?ticket={ticket}&ticket=", headers=TUS)
    assert answer.headers["location"].endswith(f"?ticket={ticket}")
