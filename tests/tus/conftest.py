"""tus-js-client as it is published, in Node over HTTP/1.1 and in headless Chromium over HTTP/2, against a real gateway.

The packages come with `npm ci` from the lock beside this file, once. Where a program is missing the tests skip.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from h2gate.server.certificates import Certificates
from tests import node
from tests.conftest import Serve, Served

FOLDER = Path(__file__).parent
MIB = 1 << 20
SIZE = 24 * MIB + 4321
_RUN_SECONDS = 90


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer the client got: `at` is the Upload-Offset of the request, `offset` that of the answer."""

    method: str
    status: int
    at: int | None
    offset: int | None


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a scenario."""

    url: str | None
    answers: list[Answer]

    def of(self, method: str) -> list[Answer]:
        return [answer for answer in self.answers if answer.method == method]

    @property
    def resumed_at(self) -> int:
        """The offset the client was told when it came back; the sum of all parts of an upload in parts.

        Where bytes of before the cut came behind what it was told (409), it was told again.
        """
        told = [answer.offset for answer in self.of("HEAD") if answer.offset is not None]
        assert told
        return sum(told) - sum(answer.at or 0 for answer in self.of("PATCH") if answer.status == 409)


@dataclass(frozen=True, slots=True)
class Client:
    """One of the drivers beside this file, and the gateway it talks to."""

    script: str
    base: str
    protocol: str
    job: dict[str, Any]

    @property
    def in_node(self) -> bool:
        return self.script == "node.mjs"

    def facing(self, url: str) -> Client:
        """This client, of another gateway."""
        return replace(self, base=url, job=self.job | {"page": f"{url}/"})

    def run(
        self,
        scenario: str,
        file: Path,
        *,
        endpoint: str = "/tus/",
        source: str = "file",
        beyond: int = 0,
        pace: int = 48 * MIB,
        **options: Any,
    ) -> Result:
        """Run a scenario (scenarios.mjs tells what each is) with options of tus-js-client; nothing is retried.

        A browser sends `pace` bytes a second, so that an upload lasts.
        """
        options = {"retryDelays": None, "endpoint": self.base + endpoint, **options}
        job = {**self.job, "scenario": scenario, "file": str(file), "source": source, "beyond": beyond}
        job |= {"pace": pace, "options": options}
        command = ["node", str(FOLDER / self.script), json.dumps(job)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_RUN_SECONDS)
        assert ran.returncode == 0, ran.stderr
        told = json.loads(ran.stdout)
        assert told["protocols"] == [self.protocol]
        return Result(told["url"], [_answer(**each) for each in told["answers"]])

    def cut(self, scenario: str, file: Path, **options: Any) -> Result:
        """A scenario whose upload is cut within a request; the second one in Node, where none lasts long.

        Node may ask how far it is before the gateway has seen the request that was cut, whose bytes then come behind
        the answer: as with any server, the client is told 409, asks again and goes on, which is its default.
        """
        if self.in_node:
            options = {"chunkSize": 8 * MIB, "retryDelays": [0, 100, 1000], **options}
        return self.run(scenario, file, beyond=8 * MIB, **options)


def _answer(method: str, status: int, at: str | None, offset: str | None, protocol: str | None) -> Answer:
    return Answer(method, status, None if at is None else int(at), None if offset is None else int(offset))


@pytest.fixture(scope="session")
def node_packages() -> None:
    """The packages of the lock, in node_modules beside it."""
    node.install(FOLDER)


@pytest.fixture
def gateway(serve: Serve) -> Served:
    return serve()


@pytest.fixture(params=["node", "chromium"])
def client(
    request: pytest.FixtureRequest, node_packages: None, gateway: Served, certificates: Certificates, tmp_path: Path
) -> Client:
    job = {"store": str(tmp_path / "stored.json")}
    if request.param == "node":
        return Client("node.mjs", gateway.plain_url, "http/1.1", job)
    job |= {"executable": node.needs("chromium", "chromium"), "certificate": str(certificates.cert)}
    return Client("chromium.mjs", "", "h2", job).facing(gateway.url)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that takes a while to send; its size is no multiple of anything."""
    file = tmp_path_factory.mktemp("large") / "large.bin"
    file.write_bytes(os.urandom(SIZE))
    return file


@pytest.fixture
def arrived(gateway: Served) -> Callable[[str, Path], bool]:
    """`arrived(name, file)`: what is stored under the name is the file."""

    def same(name: str, file: Path) -> bool:
        return _sha256(gateway.path(name)) == _sha256(file)

    return same


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
