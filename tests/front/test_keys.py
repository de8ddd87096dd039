"""Static keys over real connections: 401, 403 and 404 before anything of a body is read."""

from __future__ import annotations

import json
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from h2gate.auth import keys
from tests.conftest import Serve, Served
from tests.server.raw import RawClient

KEYS = {
    "reader": 'rights = "storage.read:/in"',
    "creator": 'rights = "storage.create:/in"',
    "modifier": 'rights = ["storage.modify:/in", "storage.read:/in"]',
    "old": 'rights = "storage.modify:/ storage.read:/"\nexpires = 2001-01-01T00:00:00Z',
}


def policy(folder: Path) -> tuple[Path, dict[str, str]]:
    """The file that says who may what, and the secrets."""
    secrets, text = {}, ""
    for name, rights in KEYS.items():
        secrets[name], digest = keys.make(name)
        text += f'[[keys]]\nid = "{name}"\nsha256 = "{digest}"\n{rights}\n\n'
    (folder / "auth.toml").write_text(text)
    return folder / "auth.toml", secrets


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    return policy(tmp_path)[1]


@pytest.fixture
def served(tmp_path: Path, secrets: dict[str, str], serve: Serve) -> Served:
    found = serve(auth=tmp_path / "auth.toml", drain_seconds=0.2)
    found.path("in").mkdir()
    found.path("in/there").write_bytes(b"there")
    found.path("out").write_bytes(b"out")
    return found


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(verify=False, http2=True, base_url=served.plain_url, timeout=30) as client:  # noqa: S501
        yield client


@pytest.fixture
def connect(served: Served) -> Iterator[Callable[[], RawClient]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(RawClient(served.url, served.ca))


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_without_a_key_nothing_is_told_and_the_answer_says_how_to_ask(client: httpx.Client) -> None:
    for path in ("/files/", "/files/in/there", "/files/none", "/files/%00", "/uploads/", "/tus/", "/metrics"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers.get_list("www-authenticate") == [
            'Bearer realm="h2gate"',
            'Basic realm="h2gate", charset="UTF-8"',
        ]
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


@pytest.mark.parametrize("name", ["creator", "reader", "modifier"])
def test_a_key_does_what_its_rights_say(client: httpx.Client, secrets: dict[str, str], name: str) -> None:
    client.headers = bearer(secrets[name])
    reads, creates, modifies = name != "creator", name != "reader", name == "modifier"
    assert client.get("/files/in/there").status_code == (200 if reads else 403)
    assert client.head("/files/in/there").status_code == 200
    assert client.get("/files/out").status_code == 404
    assert client.put("/files/in/new", content=b"1").status_code == (201 if creates else 403)
    assert client.put("/files/in/there", content=b"2").status_code == (204 if modifies else 403)
    assert client.patch("/files/in/there", content=b"3").status_code == (204 if modifies else 403)
    assert client.delete("/files/in/there").status_code == (204 if modifies else 403)
    assert client.put("/files/out", content=b"4").status_code == 403
    assert client.delete("/files/out").status_code == client.patch("/files/out", content=b"5").status_code == 404


def test_the_key_is_a_password_too(client: httpx.Client, secrets: dict[str, str]) -> None:
    assert client.get("/files/in/there", auth=("whoever", secrets["reader"])).content == b"there"


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("Bearer {old}", "expired_credential"),
        ("Bearer {reader}x", "unauthenticated"),
        ("Bearer {reader}, Bearer {reader}", "unauthenticated"),
        ("Bearer h2g_nobody_0123456789abcdefghijklmnop", "unauthenticated"),
        ("Bearer", "unauthenticated"),
        ("Digest {reader}", "unauthenticated"),
        ("Basic {reader}", "unauthenticated"),
        (f"Basic {b64encode(bytes([255, 58, 255])).decode()}", "unauthenticated"),
        ("Bearer a.b.c", "unauthenticated"),
    ],
)
def test_a_key_that_is_no_good_is_told_so(
    client: httpx.Client, secrets: dict[str, str], authorization: str, code: str
) -> None:
    answer = client.get("/files/in/there", headers={"authorization": authorization.format(**secrets)})
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert 'error="invalid_token"' in answer.headers.get_list("www-authenticate")[0]
    assert not any(secret in answer.text for secret in secrets.values())


def test_not_allowed_tells_the_scope_that_would_do(client: httpx.Client, secrets: dict[str, str]) -> None:
    answer = client.put("/files/in/n%C3%A4w", content=b"x", headers=bearer(secrets["reader"]))
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="h2gate", error="insufficient_scope", scope="storage.create:/in/n%C3%A4w"'
    )


def test_who_may_only_create_never_replaces_a_file_that_came_meanwhile(
    served: Served, connect: Callable[[], RawClient], secrets: dict[str, str]
) -> None:
    client = connect()
    fields = ("authorization", f"Bearer {secrets['creator']}")
    stream = client.open("PUT", "/files/in/new", ("content-length", "300000"), fields)
    client.push(stream, bytes(200_000), end=False)
    client.quiet()
    served.path("in/new").write_bytes(b"another's")
    client.push(stream, bytes(100_000))
    answer = client.answer(stream)
    assert (answer.status, json.loads(answer.body)["code"]) == (403, "forbidden")
    assert served.path("in/new").read_bytes() == b"another's"
    assert served.staged() == []


def test_a_refusal_comes_before_the_body_and_harms_no_neighbour(
    served: Served, connect: Callable[[], RawClient], secrets: dict[str, str]
) -> None:
    client = connect()
    good = ("authorization", f"Bearer {secrets['modifier']}")
    neighbour = client.open("PUT", "/files/in/neighbour", ("content-length", "3000000"), good)
    client.push(neighbour, bytes(1_000_000), end=False)
    for fields, status in (((), 401), ((("authorization", f"Bearer {secrets['reader']}"),), 403)):
        for method, path in (
            ("PUT", "/files/in/x"),
            ("POST", "/files/in/"),
            ("POST", "/tus/"),
            ("PATCH", "/files/in/there"),
        ):
            lines = [("tus-resumable", "1.0.0"), ("upload-length", "10"), ("expect", "100-continue"), *fields]
            stream = client.open(method, path, *lines)
            answer = client.answer(stream)
            assert (answer.status, answer.informational) == (status, []), (method, path)
    client.push(neighbour, bytes(2_000_000))
    assert client.answer(neighbour).status == 201
    assert not client.goaways


def test_over_http1_a_body_that_waits_for_100_is_never_asked_for(served: Served, secrets: dict[str, str]) -> None:
    for fields, status in (("", b"401"), (f"authorization: Bearer {secrets['reader']}\r\n", b"403")):
        with socket.create_connection(("127.0.0.1", served.plain_port), timeout=20) as sock:
            head = f"PUT /files/in/x HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\nexpect: 100-continue\r\n{fields}\r\n"
            sock.sendall(head.encode())
            assert sock.recv(65536).split()[1] == status


def test_a_page_of_another_origin_writes_nothing_with_the_password_that_a_browser_knows(
    client: httpx.Client, secrets: dict[str, str]
) -> None:
    fields = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    basic = ("", secrets["modifier"])
    assert client.put("/files/in/new", content=b"x", headers=fields, auth=basic).status_code == 403
    assert client.get("/files/in/there", headers=fields, auth=basic).status_code == 200
    assert client.put("/files/in/new", content=b"x", headers=fields | bearer(secrets["modifier"])).status_code == 201


@pytest.mark.parametrize("origin", ["http://[", "null", "//h", "http://", "https://evil.example"])
def test_without_sec_fetch_site_only_the_origin_of_the_gateway_itself_writes(
    client: httpx.Client, secrets: dict[str, str], origin: str
) -> None:
    basic = ("", secrets["modifier"])
    own = f"https://{client.base_url.netloc.decode()}"
    assert client.put("/files/in/new", content=b"x", headers={"origin": origin}, auth=basic).status_code == 403
    assert client.put("/files/in/new", content=b"x", headers={"origin": own}, auth=basic).status_code == 201


def test_a_page_of_an_origin_that_is_named_may_ask_and_read_what_is_wrong(
    tmp_path: Path, serve: Serve, secrets: dict[str, str]
) -> None:
    served = serve(auth=tmp_path / "auth.toml", cors_origins=("https://app.example",))
    fields = {"origin": "https://app.example"}
    asked = {"access-control-request-method": "PUT", "access-control-request-headers": "authorization"}
    preflight = httpx.options(f"{served.plain_url}/files/in/new", headers=fields | asked)
    assert (preflight.status_code, preflight.headers["access-control-allow-headers"]) == (204, "authorization")
    refused = httpx.put(f"{served.plain_url}/files/in/new", content=b"x", headers=fields)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://app.example")
    assert "WWW-Authenticate" in refused.headers["access-control-expose-headers"]
