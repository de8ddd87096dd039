"""A gateway that trusts a real OpenID provider: instruments, people, keys that change and tokens that end midway."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Serve, Served
from tests.oidc.conftest import SECONDS, Provider

POLICY = """
[[issuers]]
issuer = "{issuer}"
audience = "https://gate.example"
leeway_seconds = 0
keys_seconds = {keys_seconds}
claims = {{ groups = "groups" }}
[issuers.group_rights]
staff = "storage.read:/shared"
"""
MIB = 1 << 20

Start = Callable[..., Served]


@pytest.fixture
def start(tmp_path: Path, serve: Serve, provider: Provider) -> Start:
    def start(keys_seconds: float = 600, **settings: Any) -> Served:
        (tmp_path / "auth.toml").write_text(POLICY.format(issuer=provider.url, keys_seconds=keys_seconds))
        served = serve(auth=tmp_path / "auth.toml", **settings)
        for folder in ("inbox", "shared"):
            served.path(folder).mkdir()
        served.path("shared/there").write_bytes(b"there")
        return served

    return start


@pytest.fixture
def http(certificates: Any) -> Iterator[httpx.Client]:
    with httpx.Client(verify=False, timeout=SECONDS) as client:  # noqa: S501
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def put(http: httpx.Client, served: Served, token: str, name: str = "inbox/a") -> httpx.Response:
    return http.put(f"{served.plain_url}/files/{name}", content=name.encode(), headers=bearer(token))


def test_gateway_tells_where_to_log_in(start: Start, provider: Provider, http: httpx.Client) -> None:
    served = start()
    url = f"{served.plain_url}/.well-known/oauth-protected-resource"
    told = http.get(url).json()
    assert (told["resource"], told["authorization_servers"]) == (served.plain_url, [provider.url])
    refused = http.get(f"{served.plain_url}/files/")
    assert f'resource_metadata="{url}"' in refused.headers["www-authenticate"]


def test_instrument_uploads_where_its_scope_says_and_nowhere_else(
    start: Start, provider: Provider, http: httpx.Client
) -> None:
    served, token = start(), provider.token("storage.create:/inbox")
    assert put(http, served, token).status_code == 201
    assert served.path("inbox/a").read_bytes() == b"inbox/a"
    again, elsewhere = put(http, served, token), put(http, served, token, "outbox/a")
    assert (again.status_code, elsewhere.status_code) == (403, 403)
    assert 'error="insufficient_scope"' in elsewhere.headers["www-authenticate"]
    assert not served.path("outbox").exists()


def test_group_gives_rights_to_a_token_without_scopes_of_storage(
    start: Start, provider: Provider, http: httpx.Client
) -> None:
    served, token = start(), provider.token("")
    assert http.get(f"{served.plain_url}/files/shared/there", headers=bearer(token)).content == b"there"
    assert put(http, served, token).status_code == 403


def test_scope_that_climbs_is_refused_though_the_provider_signed_it(
    start: Start, provider: Provider, http: httpx.Client
) -> None:
    refused = put(http, start(), provider.token("storage.read:/a/../.."))
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("kind", ["RSA", "EC"])
def test_keys_rotate_while_files_go_up(start: Start, provider: Provider, http: httpx.Client, kind: str) -> None:
    served = start(keys_seconds=1)
    old = provider.token()
    assert put(http, served, old, "inbox/before").status_code == 201

    def body() -> Iterator[bytes]:
        yield b"first "
        provider.tell(f"rotate {kind}")
        tokens.append(provider.token())
        assert put(http, served, tokens[0], "inbox/new-key").status_code == 201
        assert put(http, served, old, "inbox/old-key").status_code == 201
        provider.tell("withdraw")
        wait_until(lambda: put(http, served, old, "inbox/withdrawn").status_code == 401)
        yield b"last"

    tokens: list[str] = []
    with httpx.Client(timeout=SECONDS) as other:
        long = other.put(f"{served.plain_url}/files/inbox/long", content=body(), headers=bearer(old))
    assert long.status_code == 201
    assert served.path("inbox/long").read_bytes() == b"first last"
    assert put(http, served, tokens[0], "inbox/after").status_code == 201


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize(("expired_seconds", "status"), [(60.0, 201), (0.0, 401)])
def test_token_that_expires_midway_ends_the_upload_well_within_the_time_that_the_setting_gives(
    start: Start, provider: Provider, http: httpx.Client, expired_seconds: float, status: int
) -> None:
    served = start(expired_seconds=expired_seconds)
    provider.tell("ttl 4")

    def body() -> Iterator[bytes]:
        yield b"first "
        wait_until(lambda: put(http, served, token, "inbox/other").status_code == 401)
        yield b"last"

    with httpx.Client(timeout=SECONDS) as other:
        token = provider.token()
        long = other.put(f"{served.plain_url}/files/inbox/long", content=body(), headers=bearer(token))
    assert long.status_code == status
    assert served.path("inbox/long").exists() is (status == 201)
    next_one = put(http, served, token, "inbox/next")
    assert (next_one.status_code, next_one.json()["code"]) == (401, "expired_credential")


def test_forged_token_is_refused_and_its_neighbours_on_the_connection_go_on(
    start: Start, provider: Provider, certificates: Any
) -> None:
    served, good = start(), provider.token()
    header, payload, signature = good.split(".")
    none = urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    forged = [f"{header}.{payload}.{signature[:-4]}AAAA", f"{none}.{payload}.", f"{none}.{payload}.{signature}"]
    with httpx.Client(verify=False, http2=True, timeout=SECONDS) as client:  # noqa: S501
        for n, token in enumerate(forged):
            url = f"{served.url}/files/inbox"
            assert client.put(f"{url}/bad", content=b"x" * MIB, headers=bearer(token)).status_code == 401
            assert client.put(f"{url}/good-{n}", content=b"x" * MIB, headers=bearer(good)).status_code == 201
    assert sorted(path.name for path in served.path("inbox").iterdir()) == ["good-0", "good-1", "good-2"]


class Person:
    """Runs commands as a person does, with a home of their own."""

    def __init__(self, home: Path, served: Served) -> None:
        self.served = served
        hidden = ("H2GATE_TOKEN", "H2GATE_TOKEN_FILE", "BEARER_TOKEN", "BEARER_TOKEN_FILE", "XDG_RUNTIME_DIR")
        self._env = {name: value for name, value in os.environ.items() if name not in hidden}
        self._env["XDG_STATE_HOME"] = str(home)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "h2gate", words[0], "--ca", str(self.served.ca), *words[1:]]
        return subprocess.Popen(command, env=self._env, stderr=subprocess.PIPE, text=True)

    def run(self, *words: str) -> int:
        with self.begin(*words) as process:
            _, said = process.communicate(timeout=2 * SECONDS)
        assert "eyJ" not in said
        return process.returncode

    def log_in(self, provider: Provider, scope: str) -> None:
        with self.begin("login", "--scope", scope, f"{self.served.url}/") as process:
            assert process.stderr is not None
            said = ""
            while not (found := re.search(r"(http://\S+user_code=\S+)", said)):
                line = process.stderr.readline()
                assert line, said
                said += line
            provider.say_yes(found[1], "alice")
            _, rest = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, rest


def test_person_logs_in_by_a_device_code_and_uploads_while_keys_rotate_and_the_token_expires(
    start: Start, provider: Provider, tmp_path: Path
) -> None:
    served = start(expired_seconds=0.0)
    person = Person(tmp_path / "home", served)
    provider.tell("ttl 3")
    person.log_in(provider, "openid offline_access storage.create:/inbox storage.read:/")
    (tmp_path / "large").write_bytes(os.urandom(4 * MIB))
    (tmp_path / "small").write_bytes(b"small")
    url = f"{served.url}/files/inbox/"
    assert person.run("ls", url) == 0
    with person.begin("put", "--limit-rate", "1M", str(tmp_path / "large"), url) as long:
        assert person.run("put", "--quiet", str(tmp_path / "small"), url) == 0
        provider.tell("rotate EC")
        _, said = long.communicate(timeout=2 * SECONDS)
    assert long.returncode == 0, said
    assert "goes on" in said, "no upload outlived its token"
    for name in ("large", "small"):
        assert served.path(f"inbox/{name}").read_bytes() == (tmp_path / name).read_bytes()
    (tmp_path / "large").write_bytes(b"another")
    assert person.run("put", str(tmp_path / "large"), url) == 7, "who may create only has replaced a file"
    assert person.run("logout", f"{served.url}/") == 0
    assert person.run("ls", url) == 7
