"""oidc-provider as it is published, in Node on loopback, and a person who says yes in its pages.

The packages come with `npm ci` from the lock beside this file, once. Where a program is missing the tests skip.
"""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

FOLDER = Path(__file__).parent
SECONDS = 30
_INSTALL_SECONDS = 90
_NODE_MAJOR = 20


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


def needs(program: str, package: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"there is no {program}: install Debian's package {package}")
    return found


@pytest.fixture(scope="session")
def node_packages() -> None:
    """The packages of the lock, in node_modules beside it."""
    version = subprocess.run([needs("node", "nodejs"), "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip().lstrip("v").partition(".")[0]) < _NODE_MAJOR:
        pytest.skip(f"this is Node {version.strip()}: install version {_NODE_MAJOR} or newer")
    lock = (FOLDER / "package-lock.json").read_text()
    installed = FOLDER / "node_modules" / ".lock-of-this"
    if not installed.exists() or installed.read_text() != lock:
        command = [needs("npm", "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(
            command, cwd=FOLDER, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=_INSTALL_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        installed.write_text(lock)


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
