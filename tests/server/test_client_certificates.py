"""Certificates of clients, over real handshakes: who is named may what is written, others are nobody."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography import x509

from tests.conftest import Process, Spawn
from tests.front.policies import Policies
from tests.server.test_reload_policy import reload

HTTP2 = pytest.mark.parametrize("http2", [True, False], ids=["http2", "http1"])


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def leaves(authority: trustme.CA) -> dict[str, trustme.LeafCert]:
    return {
        "subject": authority.issue_cert("a.example", common_name="instrument 7", organization_name="Beamline, 2"),
        "san": authority.issue_cert("b.example", "me@example.com"),
        "fingerprint": authority.issue_cert("c.example"),
        "unnamed": authority.issue_cert("d.example"),
        "foreign": trustme.CA().issue_cert("b.example", "me@example.com"),
    }


def parsed(leaf: trustme.LeafCert) -> x509.Certificate:
    return x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())


@pytest.fixture
def process(tmp_path: Path, spawn: Spawn, authority: trustme.CA, leaves: dict[str, trustme.LeafCert]) -> Process:
    authority.cert_pem.write_to_path(tmp_path / "clients.pem")
    policies = Policies(tmp_path)
    policies.lines('client_ca = "clients.pem"')
    policies.key("reader", "storage.read:/")
    names = {
        "subject": parsed(leaves["subject"]).subject.rfc4514_string(),
        "san": "email:me@example.com",
        "fingerprint": hashlib.sha256(
            ssl.PEM_cert_to_DER_cert(leaves["fingerprint"].cert_chain_pems[0].bytes().decode())
        ).hexdigest(),
    }
    for kind, value in names.items():
        policies.lines(
            "[[certificates]]", f"{kind} = '{value}'", f"name = '{kind}'", f"rights = 'storage.create:/{kind}'"
        )
    return spawn("--auth", str(policies.file))


Connect = Callable[[str | None], httpx.Client]


@pytest.fixture
def connect(process: Process, tmp_path: Path, leaves: dict[str, trustme.LeafCert], http2: bool) -> Connect:
    def start(name: str | None) -> httpx.Client:
        context = ssl.create_default_context(cafile=process.ca)
        if name is not None:
            leaves[name].private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
            context.load_cert_chain(tmp_path / f"{name}.pem")
        return httpx.Client(http2=http2, http1=not http2, verify=context, base_url=process.url, timeout=30)

    return start


@HTTP2
@pytest.mark.parametrize("name", ["subject", "san", "fingerprint"])
def test_a_certificate_that_is_named_does_what_its_rights_say(connect: Connect, name: str) -> None:
    with connect(name) as client:
        assert client.put(f"/files/{name}/a", content=b"x").status_code == 201
        assert client.put("/files/elsewhere", content=b"x").status_code == 403


@HTTP2
@pytest.mark.parametrize("name", ["unnamed", None])
def test_a_certificate_that_nobody_has_named_is_nobody(connect: Connect, name: str | None) -> None:
    with connect(name) as client:
        answer = client.get("/files/")
        assert answer.status_code == 401
        assert "www-authenticate" in answer.headers
        assert client.get("/healthz").status_code == 200


@HTTP2
def test_a_certificate_of_another_authority_ends_the_handshake(connect: Connect) -> None:
    with connect("foreign") as client, pytest.raises((httpx.TransportError, ssl.SSLError)):
        client.get("/files/")


@HTTP2
def test_a_credential_that_was_sent_counts_before_the_certificate(connect: Connect, process: Process) -> None:
    with connect("subject") as client:
        bad = client.put(
            "/files/subject/a", content=b"x", headers={"authorization": "Bearer h2g_no_0123456789abcdefghij"}
        )
        unknown = client.put("/files/subject/a", content=b"x", headers={"authorization": "Bearer a.b.c"})
        assert (bad.status_code, unknown.status_code) == (401, 401)


@HTTP2
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "https://evil.example", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://HOST", "sec-fetch-site": "same-origin"}, 201),
        ({"origin": "https://HOST"}, 201),
        ({"sec-fetch-site": "none"}, 201),
        ({}, 201),
    ],
)
def test_a_page_of_another_origin_writes_nothing_with_what_the_browser_adds(
    connect: Connect, process: Process, fields: dict[str, str], status: int
) -> None:
    host = process.url.removeprefix("https://")
    with connect("subject") as client:
        headers = {name: value.replace("HOST", host) for name, value in fields.items()}
        assert client.put("/files/subject/b", content=b"x", headers=headers).status_code == status


@HTTP2
@pytest.mark.parametrize("leaves_out", ["file", "content"])
def test_an_authority_that_is_not_believed_any_more_vouches_for_nobody_on_open_connections_either(
    connect: Connect, process: Process, tmp_path: Path, authority: trustme.CA, leaves_out: str
) -> None:
    policy, other = tmp_path / "auth.toml", trustme.CA()
    with connect("subject") as client:
        assert client.put("/files/subject/a", content=b"x").status_code == 201
        with (tmp_path / "clients.pem").open("ab") as file:
            file.write(other.cert_pem.bytes())
        reload(process, 1, "certificate reloaded")
        assert client.put("/files/subject/b", content=b"x").status_code == 201, "one more is believed"
        if leaves_out == "file":
            other.cert_pem.write_to_path(tmp_path / "others.pem")
            policy.write_text(policy.read_text().replace("clients.pem", "others.pem"))
        else:
            other.cert_pem.write_to_path(tmp_path / "clients.pem")
        reload(process, 1, "certificate reloaded")
        assert client.put("/files/subject/c", content=b"x").status_code == 401
        assert client.get("/healthz").status_code == 200
    with connect("subject") as client, pytest.raises((httpx.TransportError, ssl.SSLError)):
        client.get("/files/")
