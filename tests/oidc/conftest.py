"""oidc-provider as it is published, in Node on loopback, and a person who says yes in its pages.

The packages come with `npm ci` from the lock beside this file, once. Where a program is missing the tests skip.
"""

from __future__ import annotations

import html
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from tests import node

FOLDER = Path(__file__).parent
SECONDS = 30


@dataclass
class Provider:
    """The process; what it is told holds when the call returns."""

    url: str
    process: subprocess.Popen[str]

    def tell(self, words: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(words, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "done\n"

    def token(self, scope: str = "storage.create:/inbox") -> str:
        """An instrument's, by its own secret."""
        form = {"grant_type": "client_credentials", "scope": scope}
        answer = httpx.post(f"{self.url}/token", data=form, auth=("instrument", "a-secret-of-the-tests"))
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token

    def say_yes(self, address: str, name: str) -> None:
        """What a person does in a browser with the address that a device showed: logs in and agrees."""
        with httpx.Client(follow_redirects=True, timeout=SECONDS) as browser:
            page = browser.get(address)
            for _ in range(6):
                form = re.search(r"<form[^>]*action=\"([^\"]+)\"[^>]*>(.*?)</form>", page.text, re.DOTALL)
                if form is None:
                    break
                fields = dict(re.findall(r"<input[^>]*name=\"([^\"]+)\"[^>]*value=\"([^\"]*)\"", form[2]))
                fields = {key: html.unescape(value) for key, value in fields.items()}
                if 'name="login"' in form[2]:
                    fields |= {"login": name, "password": "x"}
                page = browser.post(urljoin(str(page.url), html.unescape(form[1])), data=fields)
            assert page.status_code == 200, page.text
            assert "Sign-in Success" in page.text, page.text


@pytest.fixture(scope="session")
def node_packages() -> None:
    """The packages of the lock, in node_modules beside it."""
    node.install(FOLDER)


@pytest.fixture
def provider(node_packages: None) -> Iterator[Provider]:
    process = subprocess.Popen(
        ["node", str(FOLDER / "provider.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            yield Provider(process.stdout.readline().strip(), process)
        finally:
            process.kill()
