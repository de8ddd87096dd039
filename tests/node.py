"""Programs and packages of Node that tests drive: the packages come with `npm ci` from a lock, once. Where a program is
missing the tests skip.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_INSTALL_SECONDS = 90
_NODE_MAJOR = 20


def needs(program: str, package: str) -> str:
    """Where the program is; without it the test is skipped, and says which package of Debian has it."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"there is no {program}: install Debian's package {package}")
    return found


def install(folder: Path) -> None:
    """The packages of the lock in `folder`, in node_modules beside it."""
    version = subprocess.run([needs("node", "nodejs"), "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip().lstrip("v").partition(".")[0]) < _NODE_MAJOR:
        pytest.skip(f"this is Node {version.strip()}: install version {_NODE_MAJOR} or newer")
    lock = (folder / "package-lock.json").read_text()
    installed = folder / "node_modules" / ".lock-of-this"
    if installed.exists() and installed.read_text() == lock:
        return
    done = subprocess.run(
        [needs("npm", "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_INSTALL_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    installed.write_text(lock)
