"""Which file goes to which URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from h2gate.client.failures import LocalFile
from h2gate.client.names import below, download_target, last_name, origin, parse_url, uploads
from h2gate.errors import ConfigError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "photos/old").mkdir(parents=True)
    for name in ("photos/1.jpg", "photos/old/2.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def targets(paths: list[str], url: str) -> dict[str, str]:
    return {item.name: item.url for item in uploads(paths, url, lambda name, why: None)}


@pytest.mark.parametrize(
    ("paths", "url", "expected"),
    [
        (["notes.txt"], "https://h/", {"notes.txt": "https://h/files/notes.txt"}),
        (["notes.txt"], "https://h", {"notes.txt": "https://h/files/notes.txt"}),
        (["notes.txt"], "https://h/files/b.txt", {"notes.txt": "https://h/files/b.txt"}),
        (["./notes.txt"], "https://h/x/", {"notes.txt": "https://h/x/notes.txt"}),
        (
            ["photos"],
            "https://h/x/",
            {"photos/1.jpg": "https://h/x/photos/1.jpg", "photos/old/2.jpg": "https://h/x/photos/old/2.jpg"},
        ),
        (["photos/old/"], "https://h/x/", {"photos/old/2.jpg": "https://h/x/old/2.jpg"}),
        (
            ["."],
            "https://h/x/",
            {
                "notes.txt": "https://h/x/notes.txt",
                "photos/1.jpg": "https://h/x/photos/1.jpg",
                "photos/old/2.jpg": "https://h/x/photos/old/2.jpg",
            },
        ),
        (["-"], "https://h/x/y", {"-": "https://h/x/y"}),
    ],
)
def test_put_targets(here: Path, paths: list[str], url: str, expected: dict[str, str]) -> None:
    assert targets(paths, url) == expected


@pytest.mark.parametrize(
    ("paths", "url"), [(["notes.txt", "photos"], "https://h/x"), (["photos"], "https://h/x"), (["-"], "https://h/x/")]
)
def test_put_target_that_cannot_hold_it_is_a_usage_error(here: Path, paths: list[str], url: str) -> None:
    with pytest.raises(ConfigError):
        targets(paths, url)


def test_names_are_percent_encoded_and_back() -> None:
    url = below("https://h/x/", "a b", "ü%#?.txt")
    assert url == "https://h/x/a%20b/%C3%BC%25%23%3F.txt"
    assert last_name(url) == "ü%#?.txt"
    assert parse_url("https://h/ü b") == "https://h/%C3%BC%20b"


@pytest.mark.parametrize("url", ["https://h/x/..", "https://h/a%2Fb", "https://h/a%00b", "https://h/"])
def test_name_that_would_leave_the_folder_is_refused(url: str) -> None:
    with pytest.raises(LocalFile):
        last_name(url)


def test_get_targets(here: Path) -> None:
    assert download_target("https://h/files/a", "b") == Path("b")
    assert download_target("https://h/files/a", "photos") == Path("photos/a")
    assert download_target("https://h/files/a", "new/") == Path("new/a")
    assert download_target("https://h/files/a", "-") is None


@pytest.mark.parametrize("url", ["https://[x/", "https://\u2100/x", "http://h:99999/", "https://", "ftp://h/"])
def test_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not a URL"):
        parse_url(url)


@pytest.mark.parametrize("url", ["https://me:secret@h/", "https://secret@[x/", "http://secret@h"])
def test_url_with_a_password_is_refused_unsaid(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_url(url)
    assert "secret" not in str(refused.value)


def test_at_sign_in_a_path_is_no_password() -> None:
    assert parse_url("https://h/me@home") == "https://h/me@home"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://Host/files/a", "https://host"),
        ("https://host:443/", "https://host"),
        ("http://host:80/", "http://host"),
        ("https://host:8443/x", "https://host:8443"),
        ("https://[::1]:8443/", "https://[::1]:8443"),
        ("https://b\u00fccher.example/", "https://xn--bcher-kva.example"),
    ],
)
def test_origin_is_scheme_host_and_port(url: str, expected: str) -> None:
    assert origin(url) == expected
