"""The examples in docs/client.md do what they say: each is run as it is written there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Serve

DOCUMENT = Path(__file__).parents[2] / "docs/client.md"
MARK = "<!-- run by tests/client/test_docs_examples.py, as it is -->"
EXAMPLES = re.findall(rf"^{MARK}\n```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


def test_every_example_is_run() -> None:
    assert len(EXAMPLES) == DOCUMENT.read_text().count("```python") > 3


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_of_the_documentation_runs_as_it_is_written(serve: Serve, tmp_path: Path, example: str) -> None:
    served = serve()
    (tmp_path / "results").mkdir()
    for number in range(30):
        (tmp_path / f"results/{number}").write_bytes(os.urandom(1000 * number))
    (tmp_path / "a.bin").write_bytes(os.urandom(3 << 20))
    (tmp_path / "notes.txt").write_text("notes")
    environment = {**os.environ, "GATE": served.url, "CA": str(served.ca), "PYTHONPATH": str(DOCUMENT.parents[1])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    print(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
