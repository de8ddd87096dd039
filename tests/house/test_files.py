"""What no file of the project may hold or be called, and where other projects' internals may be touched."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Joined here, so that this file does not hold them. Where packages come from is for each machine's settings to say.
REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("crates", "io"),
        ("golang", "org"),
        ("debian", "org"),
        ("maven", "org"),
        ("ghcr", "io"),
        ("docker", "io"),
    )
)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/\w|[.]pyenv\b|\b[A-Z]:\\\\?Users")
VAGUE = {"utils", "helpers", "common", "manager", "service", "misc"}

# What a project documents of itself; all else of it may change with any release, so one room alone depends on it.
PUBLIC = {
    "hypercorn": {"hypercorn", "hypercorn.asyncio", "hypercorn.config", "hypercorn.middleware", "hypercorn.typing"},
    "quart": {"quart", "quart.testing", "quart.typing", "quart.utils", "quart.views"},
}
KEEPER = {"hypercorn": "h2gate/server", "quart": "h2gate/front"}


def files() -> list[Path]:
    """What git keeps or would keep; without git, everything but hidden folders."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*")]
        names = [name for name in names if not re.search(r"(^|/)(\.(?!ci\b)|__pycache__|node_modules)", name)]
    return sorted(ROOT / name for name in names if name and (ROOT / name).is_file())


def foreign_text(text: str) -> list[str]:
    """The registries and machine paths that `text` names."""
    return [host for host in REGISTRIES if host in text.lower()] + [found[0] for found in MACHINE_PATH.finditer(text)]


def private_imports(source: str) -> Iterator[tuple[str, str]]:
    """Each import of another project's internals, with the room that alone may hold it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        for module, name in names:
            project = module.partition(".")[0]
            if project in PUBLIC and (module not in PUBLIC[project] or name.startswith("_")):
                yield f"{module} {name}".strip(), KEEPER[project]


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = []
    for file in files():
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{file.relative_to(ROOT)}: {what}" for what in foreign_text(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        f"https://{REGISTRIES[0]}/simple",
        f"files.{REGISTRIES[1].upper()}",
        *(f"'/{top}/me'" for top in ("home", "root")),
    ],
)
def test_registry_or_machine_path_is_found(text: str) -> None:
    assert foreign_text(text)


@pytest.mark.parametrize("text", ["httpx==0.28", "PUT /files/home/me", "https://example.com/home/me", "/data"])
def test_text_that_names_neither_is_fine(text: str) -> None:
    assert not foreign_text(text)


def test_no_folder_of_tests_shadows_the_standard_library() -> None:
    folders = {
        part for file in files() for part in file.relative_to(ROOT).parts[1:-1] if (ROOT / "tests") in file.parents
    }
    assert "house" in folders
    assert not folders & sys.stdlib_module_names, "a folder called http hides the standard library's"
    assert "http" in sys.stdlib_module_names


def test_no_file_has_a_name_that_says_nothing() -> None:
    vague = [file for file in files() if VAGUE & set(file.relative_to(ROOT).with_suffix("").parts)]
    assert not vague


def test_internals_of_other_projects_are_touched_in_one_room_only() -> None:
    found = []
    for file in files():
        if file.suffix == ".py":
            name = file.relative_to(ROOT).as_posix()
            imports = private_imports(file.read_text())
            rooms = {keeper: (f"{keeper}/", f"tests/{keeper.partition('/')[2]}/") for keeper in KEEPER.values()}
            found += [f"{name} imports {what}" for what, keeper in imports if not name.startswith(rooms[keeper])]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import hypercorn.asyncio.tcp_server", [("hypercorn.asyncio.tcp_server", "h2gate/server")]),
        ("from hypercorn.protocol.h2 import H2Protocol", [("hypercorn.protocol.h2 H2Protocol", "h2gate/server")]),
        ("from quart.asgi import ASGIHTTPConnection", [("quart.asgi ASGIHTTPConnection", "h2gate/front")]),
        ("from hypercorn.config import Config\nfrom quart import Quart\nimport quartz.asgi", []),
    ],
)
def test_import_of_internals_is_found(source: str, found: list[tuple[str, str]]) -> None:
    assert list(private_imports(source)) == found
