"""Builds the sdist and the wheel, and beside them the bill of materials (CycloneDX 1.6): all that run.txt locks.

It names the same packages, versions and hashes that an installation is made from, and is the same whenever it is made.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flit_core import buildapi
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Package:
    """One that is locked: for every Python, or where `marker` holds. `hashes` (SHA-256) are of its files."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"


def locked(lock: str) -> Iterator[Package]:
    """The packages of a lock's text."""
    for block in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]:
        found = Requirement(block.split("\\", 1)[0])
        (pin,) = found.specifier
        marker = str(found.marker) if found.marker is not None else ""
        yield Package(canonicalize_name(found.name), pin.version, marker, tuple(_HASH.findall(block)))


def bill(project: dict[str, Any], packages: list[Package]) -> dict[str, Any]:
    """The document."""
    ours = f"pkg:pypi/{project['name']}@{project['version']}"
    direct = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": ours,
                "name": project["name"],
                "version": project["version"],
                "description": project["description"],
                "licenses": [{"license": {"id": project["license"]}}],
                "purl": ours,
            }
        },
        "components": [_component(each) for each in packages],
        "dependencies": [{"ref": ours, "dependsOn": [each.purl for each in packages if each.name in direct]}],
    }


def _component(package: Package) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "hashes": [{"alg": "SHA-256", "content": each} for each in package.hashes],
    }
    if package.marker:
        component["properties"] = [{"name": "python:marker", "value": package.marker}]
    return component


def main(dist: Path) -> None:
    """In the folder of the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = list(locked((ROOT / "requirements" / "run.txt").read_text()))
    dist.mkdir(exist_ok=True)
    for made in (buildapi.build_sdist(str(dist)), buildapi.build_wheel(str(dist))):
        print(dist / made)
    file = dist / f"{project['name']}-{project['version']}.cdx.json"
    file.write_text(json.dumps(bill(project, packages), indent=2) + "\n")
    print(f"{file}: {len(packages)} packages")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
