"""The locks follow pyproject.toml on every Python, and nothing is installed that was not vouched for by a hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = PROJECT["dependency-groups"]
RUN = [*PROJECT["project"]["dependencies"], *GROUPS["build"]]
DIRECT = {"run.txt": RUN, "dev.txt": [*RUN, *PROJECT["project"]["optional-dependencies"]["otel"], *GROUPS["dev"]]}
PYTHONS = ("3.11", "3.12", "3.13")


def pins(lock: str, python: str) -> dict[str, str]:
    """Package → version, as `pip` of this Python reads the lock."""
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    found: dict[str, str] = {}
    for line in re.findall(r"^[a-z0-9].*(?= \\$)", (ROOT / "requirements" / lock).read_text(), re.MULTILINE):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in found, f"{requirement.name} is pinned twice for Python {python}"
            found[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", DIRECT)
def test_lock_holds_a_fitting_version_of_every_dependency(lock: str, python: str) -> None:
    found = pins(lock, python)
    for line in DIRECT[lock]:
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate():
            version = found.get(canonicalize_name(wanted.name))
            assert version is not None and version in wanted.specifier, f"{line}: {version}; run `make lock`"


@pytest.mark.parametrize("python", PYTHONS)
def test_what_fuzzing_is_better_for_is_locked_too(python: str) -> None:
    (line,) = GROUPS["fuzz"]
    (version,) = re.findall(r"^atheris==(\S+)", (ROOT / "requirements/fuzz.txt").read_text(), re.MULTILINE)
    assert version in Requirement(line).specifier
    assert pins("fuzz.txt", python).keys() <= {"atheris"}


@pytest.mark.parametrize("python", PYTHONS)
def test_servers_put_beside_it_are_locked_too_and_change_no_version_of_the_tests(python: str) -> None:
    found = pins("peers.txt", python)
    for line in GROUPS["peers"]:
        assert found[Requirement(line).name] in Requirement(line).specifier
    theirs = pins("dev.txt", python)
    assert {name: version for name, version in found.items() if theirs.get(name, version) != version} == {}


@pytest.mark.parametrize("python", PYTHONS)
def test_tests_run_with_the_versions_the_gateway_runs_with(python: str) -> None:
    assert pins("run.txt", python).items() <= pins("dev.txt", python).items()


@pytest.mark.parametrize(("lock", "at_least"), [*((lock, 20) for lock in DIRECT), ("peers.txt", 2)])
def test_every_package_of_the_lock_has_hashes(lock: str, at_least: int) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    packages = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(packages) > at_least
    assert [each for each in packages if "--hash=sha256:" not in each] == []
    assert "://" not in text


def test_build_backend_is_the_one_in_the_lock() -> None:
    assert PROJECT["build-system"]["requires"] == GROUPS["build"]
