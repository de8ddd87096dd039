"""`Upload-Metadata`: what it may be, that it comes back as it was, where the file appears by it."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from h2gate.errors import BadField
from h2gate.front import metadata
from tests.front.tusser import Tus, code, encoded

ID = "0" * 32


@pytest.mark.parametrize(
    "value",
    ["a YQ==", "a YQ==,b Yg==", "a YQ==, b Yg==", "a", "a ,b", "a,b", "a , b YQ==", "A YQ==,a YQ==", "a+b:c;d= YQ==",
     "bin //8=", "\u00e9 YQ=="],
)  # fmt: skip
def test_metadata_comes_back_as_it_was_given(tus: Tus, value: str) -> None:
    head = tus.head(tus.create(3, upload_metadata=value)).headers
    [came_back] = [raw for name, raw in head.raw if name.lower() == b"upload-metadata"]
    assert came_back == value.encode("latin1")


def test_upload_without_metadata_has_none(tus: Tus) -> None:
    for value in (None, ""):
        assert "upload-metadata" not in tus.head(tus.create(3, upload_metadata=value)).headers


@pytest.mark.parametrize(
    "value",
    ["a YQ==,a Yg==", "a,a", ",", "a YQ==,", ",a YQ==", "a YQ==,,b Yg==", "a YQ== Yg==", "a b YQ==", "a  YQ==",
     "a Y", "a YQ", "a Y_==", "a \u00e9"],
)  # fmt: skip
def test_metadata_that_is_malformed_is_400(tus: Tus, value: str) -> None:
    for concat in (None, "partial"):
        assert code(tus.post(upload_length=3, upload_metadata=value, upload_concat=concat)) == (400, "bad_field")


def test_metadata_that_is_too_long_is_400(tus: Tus) -> None:
    most = "a" * metadata.MAX_BYTES
    assert tus.post(upload_length=3, upload_metadata=most).status_code == 201
    assert code(tus.post(upload_length=3, upload_metadata=most + "a")) == (400, "bad_field")


@pytest.mark.parametrize("key", ["path", "relativePath", "filename", "name", "filetype", "type"])
@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\x00", b"a\x7fb", b"\xff", b"a\tb", "a\u0085".encode()])
def test_what_would_smuggle_something_in_is_400(tus: Tus, key: str, value: bytes) -> None:
    assert code(tus.post(upload_length=3, upload_metadata=encoded({key: value}))) == (400, "bad_field")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, ID),
        ({"filename": ""}, ID),
        ({"name": "n"}, "n"),
        ({"name": "n", "filename": "f"}, "f"),
        ({"name": "null"}, "null"),
        ({"filename": "f", "relativePath": "null"}, "f"),
        ({"filename": "f", "relativePath": ""}, "f"),
        ({"filename": "f", "relativePath": "r/f"}, "r/f"),
        ({"filename": "f", "relativePath": "/r/f"}, "r/f"),
        ({"filename": "f", "relativePath": "r/f", "path": "p/q"}, "p/q"),
        ({"path": "/p/q"}, "p/q"),
        ({"path": "p/", "filename": "f"}, "p/f"),
        ({"path": "p/", "name": "n", "relativePath": "r/f"}, "p/n"),
        ({"path": "p/"}, f"p/{ID}"),
        ({"path": "/", "filename": "f"}, "f"),
        ({"filename": "gr\u00f6\u00dfer als 1 \u2603.txt"}, "gr\u00f6\u00dfer als 1 \u2603.txt"),
    ],
    ids=str,
)
def test_path_is_found(given: dict[str, str], path: str) -> None:
    pairs = metadata.parse(encoded(given))
    assert metadata.path(pairs, ID) == path


def test_file_appears_where_the_metadata_say_with_its_type(tus: Tus) -> None:
    for name, media_type in (("b c/\u00e9", "text/plain; charset=utf-8"), ("d", "image/svg+xml")):
        url = tus.create(3, upload_metadata=f"{tus.named(name)},{encoded({'filetype': media_type})}")
        assert tus.patch(url, 0, b"abc").status_code == 204
        assert tus.get(name).headers["content-type"] == media_type


def test_file_without_a_name_is_called_by_its_upload(tus: Tus) -> None:
    url = tus.create(3, upload_metadata=None)
    location = tus.patch(url, 0, b"abc").headers["content-location"]
    assert location == f"/files/{url.removeprefix('/tus/')}"
    assert tus.http.get(location).content == b"abc"


@pytest.mark.parametrize("path", ["../a", "a/../b", "a//b", "//a", "./a", "a\\b", "a/" * 200 + "b", "x" * 256])
@pytest.mark.parametrize("key", ["path", "relativePath", "filename", "name"])
def test_path_that_cannot_be_stored_is_400(tus: Tus, key: str, path: str) -> None:
    assert code(tus.post(upload_length=3, upload_metadata=encoded({key: path}))) == (400, "bad_path")


@pytest.mark.parametrize("value", ["", "text", "text/", "/plain", "text/pl ain", "a/b, c/d", "a/b; c", "\u00e9/b"])
def test_what_is_no_media_type_is_no_content_type(value: str) -> None:
    assert metadata.fields(metadata.parse(encoded({"filetype": value}))) == {}


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_any_text_is_parsed_or_a_bad_field(value: str) -> None:
    try:
        found = metadata.parse(value)
    except BadField:
        return
    assert all(key and " " not in key and "," not in key for key in found)
