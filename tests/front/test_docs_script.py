"""The scripts in docs/http.md do what they say: each is run as it is written there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Served

DOCUMENT = Path(__file__).parents[2] / "docs/http.md"
MARK = "<!-- run by tests/front/test_docs_script.py, as it is -->"
SCRIPTS = re.findall(rf"^{MARK}\n```sh\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_script_of_the_documentation_runs_as_it_is_written(gateway: Served, tmp_path: Path, script: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    environment |= {"GATE": gateway.url, "CA": str(gateway.ca)}
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr


def test_there_is_a_script() -> None:
    assert SCRIPTS
