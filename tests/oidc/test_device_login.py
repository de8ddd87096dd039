"""`h2gate login` at an OpenID provider as it is published: a person says yes in a browser, files move for longer than a
token lives, and after `h2gate logout` nobody is known any more."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from tests.conftest import Serve, Served

FOLDER = Path(__file__).parent
MIB = 1 << 20
SECONDS = 3
"""How long an access token lives; an upload takes longer."""
RESOURCE = "https://gate.example"
_INSTALL_SECONDS = 90
_WAIT_SECONDS = 60
_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture(scope="module")
def provider_packages() -> None:
    """The packages of the lock, in node_modules beside it."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
    lock, mark = (FOLDER / "package-lock.json").read_text(), FOLDER / "node_modules/.lock-of-this"
    if not mark.exists() or mark.read_text() != lock:
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(
            command, cwd=FOLDER, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=_INSTALL_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        mark.write_text(lock)


class Provider:
    """The process, where it is, and what it has granted."""

    def __init__(self, process: asyncio.subprocess.Process, issuer: str) -> None:
        self.issuer = issuer
        self.grants: list[dict[str, str]] = []
        self._process = process

    async def follow(self) -> None:
        async for told in _told(self._process):
            self.grants.append(told)

    def granted(self, kind: str) -> int:
        return self.grants.count({"grant": kind})


async def _told(process: asyncio.subprocess.Process) -> AsyncIterator[dict[str, str]]:
    """What the script says; the provider itself says other things between."""
    assert process.stdout is not None
    async for line in process.stdout:
        if line.startswith(b"{"):
            yield json.loads(line)


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    job = json.dumps({"resource": RESOURCE, "seconds": SECONDS})
    quiet = {**os.environ, "NODE_NO_WARNINGS": "1"}
    process = await asyncio.create_subprocess_exec(
        "node", str(FOLDER / "device_provider.mjs"), job, env=quiet,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            told = await anext(_told(process))
        found = Provider(process, told["issuer"])
        following = asyncio.create_task(found.follow())
        yield found
    finally:
        process.kill()
        await process.wait()
    await following


class _Form(HTMLParser):
    """The first form of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self._is_inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action, self._is_inside = found["action"], True
        elif tag == "input" and self._is_inside and "name" in found:
            self.fields[found["name"]] = found.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._is_inside = False


async def say_yes(url: str) -> None:
    """What a person does in a browser: opens the page, confirms the code, logs in, agrees."""
    async with httpx.AsyncClient(follow_redirects=True, trust_env=False) as browser:
        page = await browser.get(url)
        for _ in range(10):
            assert page.status_code == 200, page.text
            form = _Form(page.text)
            if not form.action:
                assert "Success" in page.text, page.text
                return
            known = {"login": "astronomer", "password": "any"}
            fields = {name: known.get(name, value) for name, value in form.fields.items()}
            page = await browser.post(urljoin(str(page.url), form.action), data=fields)
    raise AssertionError("the pages do not come to an end")


class Shell:
    def __init__(self, folder: Path, served: Served) -> None:
        self._folder = folder
        self._ca = str(served.ca)
        told = ("H2GATE_TOKEN", "H2GATE_TOKEN_FILE", "BEARER_TOKEN", "BEARER_TOKEN_FILE", "XDG_RUNTIME_DIR")
        self._environment = {name: value for name, value in os.environ.items() if name not in told}
        self._environment |= {"PYTHONPATH": str(FOLDER.parents[1]), "XDG_STATE_HOME": str(folder / "state")}

    @asynccontextmanager
    async def running(self, verb: str, *args: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "h2gate", verb, "--ca", self._ca, *args), cwd=self._folder, env=self._environment,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def run(self, verb: str, *args: str) -> tuple[int | None, str]:
        async with self.running(verb, *args) as process:
            _, err = await process.communicate()
            return process.returncode, err.decode()

    async def log_in(self, *args: str) -> tuple[int | None, str]:
        """As a person does, who reads what is said and opens what is named."""
        said = ""
        async with self.running("login", *args) as process:
            assert process.stderr is not None
            async for line in process.stderr:
                said += line.decode()
                if found := re.match(r"or open (\S+) and", line.decode()):
                    await say_yes(found[1])
            return await process.wait(), said


@pytest.fixture
def policy(tmp_path: Path) -> Iterator[Any]:
    """Writes the file of `--auth` that trusts an issuer."""

    def write(issuer: str) -> Path:
        file = tmp_path / "auth.toml"
        file.write_text(f'[[issuers]]\nissuer = "{issuer}"\naudience = ["{RESOURCE}"]\nleeway_seconds = 0\n')
        return file

    yield write


async def _scenario(serve: Serve, policy: Any, folder: Path) -> None:
    async with provider() as issuer:
        served = serve(auth=policy(issuer.issuer), expired_seconds=0.0, progress_seconds=0.1)
        shell = Shell(folder, served)
        nobody, said = await shell.run("ls", served.url)
        assert (nobody, f"h2gate login {served.url}" in said) == (7, True)
        wanted = ["--scope", "openid offline_access storage.read:/ storage.create:/", "--resource", RESOURCE]
        code, said = await shell.log_in(*wanted, served.url)
        assert code == 0, said
        assert issuer.granted(_DEVICE) == 1
        content = os.urandom(8 * MIB)
        (folder / "large").write_bytes(content)
        code, said = await shell.run("put", "--limit-rate", "1M", "large", served.url)
        assert code == 0, said
        assert served.path("large").read_bytes() == content
        assert "goes on large at" in said  # its token ended under way
        assert issuer.granted("refresh_token") >= 1
        # what was written may not be replaced: the token's scope says create, not modify
        (folder / "large").write_bytes(b"other")
        code, said = await shell.run("put", "large", served.url)
        assert code == 7, said
        await asyncio.gather(*(shell.run("ls", served.url) for _ in range(3)))
        assert not [each for each in issuer.grants if each.get("error", "") == "invalid_grant"]
        assert (await shell.run("logout", served.url))[0] == 0
        assert (await shell.run("ls", served.url))[0] == 7


def test_login_by_device_flow_lasts_longer_than_its_tokens(
    provider_packages: None, serve: Serve, policy: Any, tmp_path: Path
) -> None:
    asyncio.run(_scenario(serve, policy, tmp_path))
