"""The bill of materials holds all that is locked, and an audit fails for what is vulnerable and for nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from requirements.audit import LOCK as AUDITED
from requirements.audit import command, judge
from requirements.bill import bill, locked

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements" / "run.txt").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return bill(PROJECT, list(locked(LOCK)))


def test_bill_has_every_locked_package_with_its_version_and_all_its_hashes(document: dict[str, Any]) -> None:
    pins = set(re.findall(r"^([a-z0-9.-]+)==([^ ;\\]+)", LOCK, re.MULTILINE))
    assert len(pins) > 20
    found = document["components"]
    assert {(each["name"].replace("-", "."), each["version"]) for each in found} == {
        (name.replace("-", "."), version) for name, version in pins
    }
    hashes = [each["content"] for component in found for each in component["hashes"]]
    assert sorted(hashes) == sorted(re.findall(r"sha256:([0-9a-f]{64})", LOCK))


def test_bill_tells_which_packages_the_gateway_itself_asks_for(document: dict[str, Any]) -> None:
    (root,) = document["dependencies"]
    assert root["ref"] == document["metadata"]["component"]["bom-ref"]
    assert len({each.partition("@")[0] for each in root["dependsOn"]}) == len(PROJECT["dependencies"])
    assert set(root["dependsOn"]) <= {each["bom-ref"] for each in document["components"]}


def test_references_of_the_bill_are_unique_and_name_no_registry(document: dict[str, Any]) -> None:
    refs = [each["bom-ref"] for each in document["components"]]
    assert len(refs) == len(set(refs))
    assert "://" not in json.dumps(document)


def test_build_makes_sdist_wheel_and_bill_of_this_version(document: dict[str, Any], tmp_path: Path) -> None:
    command = [sys.executable, "requirements/bill.py", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=100)
    stem = f"{PROJECT['name']}-{PROJECT['version']}"
    assert json.loads((tmp_path / f"{stem}.cdx.json").read_text()) == document
    assert "h2gate/cli.py" in zipfile.ZipFile(tmp_path / f"{stem}-py3-none-any.whl").namelist()
    with tarfile.open(tmp_path / f"{stem}.tar.gz") as sdist:
        assert f"{stem}/h2gate/cli.py" in sdist.getnames()


def known(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


FINE = {"name": "a", "version": "1", "vulns": []}
FLAWED = {"name": "b", "version": "2", "vulns": [{"id": "X-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (known(FINE), 0, "1 packages checked, 0 vulnerabilities"),
        (known(FINE, FLAWED), 1, "b 2: X-1, fixed in 3"),
        (known(FINE, SKIPPED), 0, "NOT CHECKED: the service does not know 1 of 2 packages"),
        (known(FLAWED, SKIPPED), 1, "NOT CHECKED: the service does not know 1 of 2 packages"),
        ("", 0, "NOT CHECKED: the vulnerability service could not be asked"),
        ("[]", 0, "NOT CHECKED"),
    ],
)
def test_audit_fails_for_vulnerabilities_alone_and_says_what_was_not_checked(answer: str, code: int, said: str) -> None:
    found, lines = judge(answer)
    assert found == code
    assert said in "\n".join(lines)


def test_audit_can_read_the_lock_and_asks_about_all_that_is_in_it() -> None:
    dry = subprocess.run([*command(AUDITED), "--dry-run"], capture_output=True, text=True, timeout=100, check=True)
    found = re.search(r"would have audited (\d+) packages", dry.stderr)
    assert found, dry.stderr
    assert int(found[1]) >= len(list(locked(LOCK)))
