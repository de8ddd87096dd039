"""The commands, as processes, to a gateway that wants to know who asks: what they say, how they end, what they hide."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from h2gate.client import Client
from h2gate.client.logins import Store
from h2gate.errors import ConfigError, ExpiredCredential, GateError
from tests.client.conftest import Tls
from tests.client.guard import Guard
from tests.client.issuer import Issuer
from tests.client.peer import Call, Peer
from tests.conftest import Serve

SECONDS = 60


@dataclass
class Done:
    code: int | None
    out: str
    err: str


class Shell:
    """Runs commands in a folder, with an environment that says nothing of who this is."""

    def __init__(self, folder: Path, *ca: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self._ca = [word for file in ca for word in ("--ca", str(file))]
        told = ("H2GATE_TOKEN", "H2GATE_TOKEN_FILE", "BEARER_TOKEN", "BEARER_TOKEN_FILE", "XDG_RUNTIME_DIR")
        self.environment = {name: value for name, value in os.environ.items() if name not in told}
        self.environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "XDG_STATE_HOME": str(self.state)}

    async def run(self, verb: str, *args: str, told: Mapping[str, str] | None = None) -> Done:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "h2gate", verb, *self._ca, *args),
            cwd=self.folder,
            env={**self.environment, **(told or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
        )
        try:
            async with asyncio.timeout(SECONDS):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Done(process.returncode, out.decode(), err.decode())

    def remembered(self) -> str:
        """All that the state folder holds beside the logins."""
        files = [file for file in self.state.rglob("*") if file.is_file() and file.parent.name != "logins"]
        return "".join(file.read_text() for file in files)

    def tree(self, n_files: int) -> None:
        (self.folder / "tree").mkdir()
        for number in range(n_files):
            (self.folder / f"tree/{number}").write_bytes(b"x")


async def test_login_put_expiry_in_the_middle_and_logout(tls: Tls, tmp_path: Path, serve: Serve) -> None:
    issuer = Issuer()
    issuer.device = {"interval": 0}
    issuer.answers = ["authorization_pending"]
    async with issuer.serving(tls.server):
        guard = Guard(issuer.live, issuers=[issuer.url])
        served = serve(make_app=guard, progress_seconds=0.01)
        shell = Shell(tmp_path, served.ca, tls.ca)
        content = os.urandom(12 << 20)
        (tmp_path / "large").write_bytes(content)

        def cut(path: str, n_bytes: int) -> None:
            if n_bytes > 4 << 20 and "access-1" in issuer.live:
                issuer.live.clear()
                raise ExpiredCredential

        guard.on_body = cut
        done = await shell.run("login", served.url)
        assert (done.code, done.out) == (0, "")
        assert f"open {issuer.url}/activate and enter WDJB-MJHT\n" in done.err
        assert f"logged in to {served.url}, at {issuer.url}\n" in done.err
        put = await shell.run("put", "large", served.url)
        assert put.code == 0, put.err
        assert ("PATCH", "access-2") in {(method, token) for method, _, token in guard.seen}
        listed = await shell.run("ls", served.url)
        assert (listed.code, listed.out.split()[-1]) == (0, "large")
        assert served.path("large").read_bytes() == content
        out = await shell.run("logout", served.url)
        assert (out.code, out.err) == (0, "logged out\n")
        assert not Store(shell.state / "h2gate").file(served.url).exists()
        nobody = await shell.run("ls", served.url)
        assert nobody.code == 7
        assert "access-" not in "".join([done.err, put.out, put.err, listed.err, out.err, shell.remembered()])
        assert "refresh-" not in "".join([done.err, put.out, put.err, listed.err, out.err, shell.remembered()])


async def test_nobody_is_refused_in_one_line_however_many_files(tmp_path: Path, serve: Serve) -> None:
    served = serve(make_app=Guard({"good"}))
    shell = Shell(tmp_path, served.ca)
    shell.tree(30)
    done = await shell.run("put", "tree", served.url, told={"H2GATE_TOKEN": "secret"})
    lines = done.err.splitlines()
    assert done.code == 7
    assert len(lines) == 2, done.err
    assert f"{served.url} does not take this credential" in lines[0]
    assert lines[1].endswith("30 failed")
    assert "secret" not in done.err
    done = await shell.run("put", "tree", served.url)
    assert done.code == 7
    assert f"h2gate login {served.url}" in done.err.splitlines()[0]
    told = await shell.run("put", "--json", "tree", served.url, told={"H2GATE_TOKEN": "secret"})
    errors = [json.loads(line)["error"] for line in told.out.splitlines()[:-1]]
    assert (told.code, told.err) == (7, "")
    assert {(error["code"], error["retry"]) for error in errors} == {("expired_credential", False)}
    assert "secret" not in told.out


async def test_token_comes_from_file_command_and_environment(tmp_path: Path, serve: Serve) -> None:
    guard = Guard({"good"})
    served = serve(make_app=guard)
    shell = Shell(tmp_path, served.ca)
    file = tmp_path / "token"
    file.write_text("good\n")
    file.chmod(0o600)
    (tmp_path / "a").write_bytes(b"abc")
    assert (await shell.run("put", "--token-file", "token", "a", served.url)).code == 0
    assert (await shell.run("get", "--token-command", "cat token", f"{served.url}/files/a", "back")).code == 0
    assert (await shell.run("status", served.url, told={"BEARER_TOKEN": "good"})).code == 0
    told = {"H2GATE_TOKEN_FILE": "token", "BEARER_TOKEN": "bad"}
    assert (await shell.run("rm", f"{served.url}/files/a", told=told)).code == 0
    assert {token for _, _, token in guard.seen} == {"good"}
    failed = await shell.run("ls", "--token-command", "false", served.url)
    assert (failed.code, failed.err) == (7, "h2gate: --token-command: false ended with 1\n")
    both = await shell.run("ls", "--token-command", "cat token", "--token-file", "token", served.url)
    assert both.code == 2
    given = await shell.run("ls", "--token", "good", served.url)
    assert given.code == 2


async def test_login_that_is_denied_ends_with_7(tls: Tls, tmp_path: Path) -> None:
    issuer = Issuer()
    issuer.device, issuer.answers = {"interval": 0}, ["access_denied"]
    async with issuer.serving(tls.server):
        shell = Shell(tmp_path, tls.ca)
        done = await shell.run("login", "--issuer", issuer.url, "https://gate.example/")
    assert done.code == 7
    assert done.err.splitlines()[-1] == "h2gate: the login was denied"


# -- certificates


@pytest.fixture
def asking(tls: Tls, authority: trustme.CA) -> ssl.SSLContext:
    """A server's context that wants a certificate of the client."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2"])
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_certificate_is_shown_to_who_asks_for_one(
    asking: ssl.SSLContext, tls: Tls, authority: trustme.CA, tmp_path: Path
) -> None:
    async def serve(call: Call) -> None:
        certificate = call.connection.transport.get_extra_info("peercert")
        names.append(certificate["subjectAltName"])
        call.answer(204)

    names: list[object] = []
    pair = authority.issue_cert("instrument@lab.example")
    pair.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    pair.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    pair.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    peer, shell = Peer(serve), Shell(tmp_path, tls.ca)
    async with peer.serving(asking):
        assert (await shell.run("rm", "--client-cert", "both.pem", f"{peer.url}/a")).code == 0
        two = ["--client-cert", "cert.pem", "--client-key", "key.pem"]
        assert (await shell.run("rm", *two, f"{peer.url}/a")).code == 0
        async with Client(peer.url, ca=[tls.ca], cert=tmp_path / "cert.pem", key=tmp_path / "key.pem") as gate:
            await gate.rm("a")
    assert names == [(("email", "instrument@lab.example"),)] * 3


async def test_gateway_that_wants_a_certificate_refuses_who_has_none(asking: ssl.SSLContext, tls: Tls) -> None:
    async def serve(call: Call) -> None:
        call.answer(204)

    peer = Peer(serve)
    async with peer.serving(asking), Client(peer.url, ca=[tls.ca], retries=0) as gate:
        (outcome,) = await gate.rm("a")
    assert isinstance(outcome.error, GateError)
    assert not peer.calls


def test_key_with_a_password_is_refused_and_nobody_asked_for_it(tmp_path: Path, authority: trustme.CA) -> None:
    pair = authority.issue_cert("a@example.org")
    pair.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    key = ec.generate_private_key(ec.SECP256R1())
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "key.pem").write_bytes(locked)
    with pytest.raises(ConfigError, match="without password"):
        Client("https://localhost/", cert=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    with pytest.raises(ConfigError, match="key without"):
        Client("https://localhost/", key=tmp_path / "key.pem")
