"""The grammar of fields: what is read is right or refused as a bad field, whatever comes."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.errors import BadField, PreconditionFailed, RangeNotSatisfiable
from h2gate.fields import (
    byte_range,
    check_conditions,
    decimal,
    digest_field,
    digests,
    entity_tags,
    from_base64,
    http_date,
    is_token,
    opaque,
    parse_date,
)

LATIN = st.text(st.characters(max_codepoint=255), max_size=60)
GRAMMAR = st.lists(
    st.sampled_from(
        ["sha-256=", ":", "YQ==", ",", ";", "(", ")", '"', "W/", "*", "bytes", "=", "-", "1", "0" * 20, " "]
    )
).map("".join)
EVENT = "Sun, 06 Nov 1994 08:49:37 GMT"
EVENT_NS = 784_111_777 * 10**9


@pytest.mark.parametrize("read", [digests, decimal, parse_date, entity_tags, from_base64])
@given(value=LATIN | GRAMMAR | st.text(max_size=30))
def test_any_value_is_read_or_refused_as_a_bad_field(read: Callable[[str, str], Any], value: str) -> None:
    try:
        read(value, "Name")
    except BadField as error:
        assert str(error).startswith("Name: ")


@given(st.dictionaries(st.sampled_from(["sha-256", "sha-512", "md5", "x*"]), st.binary(max_size=64)))
def test_digests_that_were_written_are_read(given_: dict[str, bytes]) -> None:
    value = ", ".join(digest_field(name, digest) for name, digest in given_.items())
    assert digests(value, "Repr-Digest") == given_


@pytest.mark.parametrize("value", [EVENT, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_all_three_forms_of_a_date_are_utc(value: str) -> None:
    assert parse_date(value, "Date") == EVENT_NS


@given(st.integers(-(2**40), 2**33))
def test_date_that_was_written_is_read(seconds: int) -> None:
    seconds = max(seconds, -30_000_000_000)
    written = http_date(seconds * 10**9 + 5)
    if seconds > -9_000_000_000:
        assert parse_date(written, "Date") == seconds * 10**9


@pytest.mark.parametrize("ns", [2**80, -(2**80)])
def test_time_that_no_calendar_has_is_written_as_one_that_it_has(ns: int) -> None:
    assert http_date(ns).endswith("GMT")


@pytest.mark.parametrize("value", ["Fri, 31 Dec 9999 23:59:59 GMT", "Sun, 06 Nov 1600 08:49:37 GMT", "", "0", "today"])
def test_date_that_no_file_can_have_is_refused(value: str) -> None:
    with pytest.raises(BadField):
        parse_date(value, "Last-Modified")


@pytest.mark.parametrize(
    ("value", "tags"),
    [('"a"', ['"a"']), ('W/"a" , "b,c",""', ['W/"a"', '"b,c"', '""']), (" * ", None), ("", [])],
)
def test_entity_tags_are_read(value: str, tags: list[str] | None) -> None:
    assert entity_tags(value, "If-Match") == tags


@given(LATIN | GRAMMAR, st.integers(0, 1000))
def test_any_range_is_within_the_file_ignored_or_unsatisfiable(value: str, size: int) -> None:
    for text in (value, f"bytes={value}"):
        try:
            found = byte_range({"range": text}, '"e"', 0, size)
        except RangeNotSatisfiable:
            continue
        assert found is None or 0 <= found[0] < found[1] <= size


@given(st.dictionaries(st.sampled_from(["if-match", "if-none-match", "if-modified-since"]), GRAMMAR), st.booleans())
def test_any_condition_holds_fails_or_is_refused(headers: dict[str, str], reading: bool) -> None:
    try:
        assert check_conditions(headers, '"e"', 0, reading=reading) or reading
    except (BadField, PreconditionFailed):
        assert headers


def test_decimal_is_plain_digits_only() -> None:
    assert decimal("0012", "Upload-Offset") == 12
    for value in ("", "+1", "-1", "1_0", " 1", "1.0", "\u0661", "1" * 19):
        with pytest.raises(BadField):
            decimal(value, "Upload-Offset")


def test_token_and_base64_are_strict() -> None:
    assert is_token("meta-a_b.c~1")
    assert not any(map(is_token, ("", "a b", "a:b", "\u00e9", "a\n")))
    assert from_base64("YQ==", "x") == b"a"
    assert base64.urlsafe_b64decode(opaque(b"\xff" * 3)) == b"\xff" * 3
    with pytest.raises(BadField):
        from_base64("YQ", "x")
