"""Patterns, and what becomes of links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from h2gate.client import Client, Selection
from h2gate.client.local import scan
from h2gate.client.selection import Links
from h2gate.errors import ConfigError
from tests.conftest import Serve

FILES = ("a.jpg", "a.txt", "old/b.jpg", "old/b.txt", "old/temp/c.jpg", "temp/d.jpg", "docs/e.txt")


def found(top: Path, selection: Selection) -> tuple[list[str], dict[str, str]]:
    told: dict[str, str] = {}

    def skipped(name: str, why: str) -> None:
        told[os.path.relpath(name, top)] = why

    return [str(path.relative_to(top)) for path, _ in scan(top, skipped, selection)], told


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(b"x")
    return tmp_path / "tree"


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), set(FILES)),
        (("*.jpg",), (), {"a.jpg", "old/b.jpg", "old/temp/c.jpg", "temp/d.jpg"}),
        (("*.jpg",), ("temp/",), {"a.jpg", "old/b.jpg"}),
        ((), ("/temp/",), set(FILES) - {"temp/d.jpg"}),
        (("docs/", "/a.*"), ("*.txt",), {"a.jpg"}),
        ((), ("*.txt", "!a.txt"), set(FILES) - {"old/b.txt", "docs/e.txt"}),
        (("nothing",), (), set()),
        (("old/**/*.jpg",), (), {"old/b.jpg", "old/temp/c.jpg"}),
    ],
)
def test_patterns_choose(tree: Path, include: tuple[str, ...], exclude: tuple[str, ...], expected: set[str]) -> None:
    names, _ = found(tree, Selection(include, exclude))
    assert set(names) == expected


def test_excluded_folder_is_not_looked_into_and_excluded_things_are_not_told(tree: Path) -> None:
    os.mkfifo(tree / "temp/pipe")
    os.mkfifo(tree / "pipe")
    (tree / "link").symlink_to("a.jpg")
    names, told = found(tree, Selection(exclude=("temp/", "link", "pipe")))
    assert told == {}
    assert "temp/d.jpg" not in names


def test_file_that_is_named_is_chosen_by_its_name(tree: Path) -> None:
    assert not list(scan(tree / "a.txt", lambda name, why: None, Selection(exclude=("*.txt",))))


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_what_is_no_pattern_is_a_usage_error(option: str) -> None:
    with pytest.raises(ConfigError, match=f"--{option} '!'"):
        Selection(**{option: ("*.c", "!")})  # type: ignore[arg-type]


@pytest.mark.parametrize("links", ["skip", "follow"])
def test_links_are_skipped_or_followed_and_never_for_ever(tree: Path, links: Links) -> None:
    (tree.parent / "away").mkdir()
    (tree.parent / "away/far").write_bytes(b"far")
    (tree.parent / "away/up").symlink_to(tree)
    (tree / "file").symlink_to("a.jpg")
    (tree / "folder").symlink_to(tree.parent / "away")
    (tree / "old/loop").symlink_to("..")
    (tree / "nowhere").symlink_to("nothing")
    (tree / "itself").symlink_to("itself")
    names, told = found(tree, Selection(links=links))
    loop = "a link to a folder that it is in: following it would never end"
    if links == "skip":
        assert set(names) == set(FILES)
        assert told == dict.fromkeys(("file", "folder", "old/loop", "nowhere", "itself"), "a symbolic link")
    else:
        assert set(names) == {*FILES, "file", "folder/far"}
        nowhere = "a link that leads nowhere"
        assert told == {"folder/up": loop, "old/loop": loop, "nowhere": nowhere, "itself": nowhere}


async def test_linked_files_are_sent_and_patterns_hold_for_get(serve: Serve, tree: Path) -> None:
    served, back = serve(), tree.parent / "back"
    (tree / "link.jpg").symlink_to("a.jpg")
    async with Client(served.url, ca=[served.ca]) as gate:
        put = await gate.put([tree], selection=Selection(("*.jpg",), links="follow"))
        assert not [each.error for each in put if each.error]
        assert served.path("tree/link.jpg").read_bytes() == b"x"
        assert not served.path("tree/a.txt").exists()
        await gate.get([f"{served.url}/files/tree/"], f"{back}/", selection=Selection(exclude=("temp/", "/a.*")))
    assert {str(path.relative_to(back)) for path in back.rglob("*.*")} == {"tree/link.jpg", "tree/old/b.jpg"}
