"""An import goes down only, and rooms on one floor never import each other: who may know whom is decided once, here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

# Floors from the lowest up. The command line is one room: __main__ calls cli, which calls demo, auditing and granting;
# options are what its commands share.
FLOORS: tuple[dict[str, str], ...] = (
    {"errors": "errors", "effort": "effort"},
    {
        name: name
        for name in (
            "budget",
            "config",
            "fields",
            "heap",
            "lane",
            "logs",
            "metrics",
            "tables",
            "toll",
            "traces",
            "upload",
        )
    },
    {name: name for name in ("wire", "storage", "ledger", "codec", "auth", "audit", "events")},
    {"transfer": "transfer"},
    {"gateway": "gateway"},
    {name: name for name in ("server", "front", "client")},
    dict.fromkeys(("cli", "options", "auditing", "granting", "demo", "__main__"), "command line"),
)
ROOMS = {name: room for floor in FLOORS for name, room in floor.items()}
LEVELS = {room: level for level, floor in enumerate(FLOORS) for room in floor.values()}


class Edge(NamedTuple):
    importer: str
    """The importing module's path under `h2gate`, dotted; empty for the package itself."""
    imported: str
    line: int


def edges(source: str, module: str, *, is_package: bool = False) -> Iterator[Edge]:
    """Every import of the project by `module` (dotted, `h2gate…`), wherever in the file it stands."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    tree = ast.parse(source)
    if is_package and module == "h2gate":  # what it offers is imported when asked for; type checkers may know before
        tree.body = [each for each in tree.body if not _is_for_type_checkers(each)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Edge(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                yield Edge(module, ".".join([*base, *filter(None, [node.module]), alias.name]), node.lineno)


def _is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def fault(edge: Edge) -> str | None:
    """Why this import must not be, or None."""
    top, *rest = edge.imported.split(".")
    where = f"{edge.importer}:{edge.line}"
    if top in ("loadtest", "tests"):
        return f"{where} imports {edge.imported}, which is not part of the package"
    if top != "h2gate" or not rest or rest[0] not in ROOMS:
        return None
    imported = ROOMS[rest[0]]
    name = edge.importer.partition(".")[2].partition(".")[0]
    if name not in ROOMS:
        return f"{where} imports {edge.imported}, but has no floor itself"
    importer = ROOMS[name]
    if importer == imported or LEVELS[imported] < LEVELS[importer]:
        return None
    direction = "up" if LEVELS[imported] > LEVELS[importer] else "across"
    return f"{where} imports {direction}: {edge.imported}"


def faults(source: str, module: str, *, is_package: bool = False) -> list[str]:
    return [found for edge in edges(source, module, is_package=is_package) if (found := fault(edge))]


def package_files() -> list[Path]:
    return sorted((ROOT / "h2gate").rglob("*.py"))


def test_every_import_of_the_package_goes_down() -> None:
    found = []
    for file in package_files():
        parts = list(file.relative_to(ROOT).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        found += faults(file.read_text(), module, is_package=is_package)
    assert not found, "\n".join(found)


def test_every_room_of_the_package_has_a_floor() -> None:
    tops = {file.relative_to(ROOT / "h2gate").parts[0].removesuffix(".py") for file in package_files()}
    assert tops - {"__init__"} <= ROOMS.keys()
    assert {"errors", "wire"} <= tops, "the walk found the package"


@pytest.mark.parametrize(
    ("module", "source", "direction"),
    [
        ("h2gate.transfer.uploads", "from h2gate.gateway import Gateway", "up"),
        ("h2gate.transfer.uploads", "import h2gate.front.app as app", "up"),
        ("h2gate.transfer.uploads", "from h2gate import cli", "up"),
        ("h2gate.storage.disk", "from h2gate.ledger.base import Ledger", "across"),
        ("h2gate.front.app", "def late():\n    from h2gate.server import run", "across"),
        ("h2gate.storage.disk", "from ..ledger import sqlite", "across"),
        ("h2gate.config", "from . import fields", "across"),
        ("h2gate.errors", "from .config import Settings", "up"),
    ],
)
def test_import_up_or_across_is_found_and_told(module: str, source: str, direction: str) -> None:
    (found,) = faults(source, module)
    assert found.startswith(f"{module}:{source.count(chr(10)) + 1} imports {direction}: h2gate.")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("h2gate.wire.nghttp2", "from h2gate.wire.engine import Engine\nfrom .credit import Window"),
        ("h2gate.transfer.uploads", "from h2gate.errors import GateError\nimport h2gate.storage.base"),
        ("h2gate.__main__", "from h2gate.cli import main"),
        ("h2gate.client.session", "import httpx\nfrom client import h2gate\nfrom h2gate import __version__"),
    ],
)
def test_import_down_or_within_the_room_is_fine(module: str, source: str) -> None:
    assert faults(source, module) == []


def test_package_that_imports_its_rooms_is_found() -> None:
    (found,) = faults("from .errors import GateError", "h2gate", is_package=True)
    assert "no floor" in found


def test_room_that_imports_the_tests_is_found() -> None:
    (found,) = faults("from loadtest.run import main", "h2gate.demo")
    assert "not part of the package" in found
