"""Field values: whatever a client says in one is understood or refused as `GateError`, and what we write reads back.

Structured fields (RFC 9651), dates, ranges, tags, digests, checksums, tus's metadata: everything that takes a string.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from h2gate import fields
from h2gate.codec import checksum, digest
from h2gate.errors import GateError
from h2gate.front import metadata, plain, tus_fields
from h2gate.front.request import joined
from h2gate.upload import MAX_PATH_BYTES, checked_path
from tests.fuzz.source import Source

ETAG = '"a-1"'
NAMES = (
    *("upload-length", "upload-defer-length", "upload-concat", "upload-offset", "tus-resumable", "upload-checksum"),
    *("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "range", "if-range", "content-encoding"),
    *("content-digest", "repr-digest", "unencoded-digest", "trailer", "prefer", "content-type", "last-modified"),
    *("meta-a", "content-disposition", "content-length", "upload-complete", "want-repr-digest", "content-range"),
)


def run(data: bytes) -> None:
    source = Source(data)
    check = source.one_of(CHECKS)
    try:
        check(source)
    except GateError as error:
        assert 400 <= error.status < 500, error
        assert str(error).encode("utf-8", "backslashreplace")


def _text(source: Source) -> str:
    """Each character of a field's value is a byte."""
    return source.rest().decode("latin1")


def _digests(source: Source) -> None:
    found = fields.digests(_text(source), "Repr-Digest")
    for name, value in found.items():
        assert fields.digests(fields.digest_field(name, value), "") == {name: value}
    sent, decoded = digest.parted(digest.merged(found, digest.unencoded(found)))
    assert sent == decoded == found


def _trailers(source: Source) -> None:
    lines = [line.partition(b":")[::2] for line in source.rest().split(b"\n")]
    assert isinstance(digest.trailer_digests(lines), dict)
    assert isinstance(joined(lines), dict)


def _items(source: Source) -> None:
    text = _text(source)
    number, truth = fields.integer(text), fields.boolean(text)
    assert number is None or (truth is None and 0 <= number < 10**15)
    assert fields.wanted_digests(text) <= {each.lower() for each in fields.wanted_digests(text)}
    assert all(name == name.strip() and name for name in fields.announced(text))
    wait = fields.preferred_wait(text)
    assert wait is None or wait >= 0


def _number(source: Source) -> None:
    text = _text(source)
    assert fields.decimal(text, "X") == int(text) < 10**18


def _date(source: Source) -> None:
    ns = fields.parse_date(_text(source), "Last-Modified")
    assert abs(ns) < 2**63
    assert ns % 10**9 == 0
    assert fields.parse_date(fields.http_date(ns), "") == ns
    assert fields.timestamp(ns / 1e9).endswith("Z")


def _tags(source: Source) -> None:
    text = _text(source)
    tags = fields.entity_tags(text, "If-Match")
    if tags is None:
        assert text.strip() == "*"
        return
    assert all(tag.removeprefix("W/").count('"') == 2 and tag.endswith('"') for tag in tags)
    assert fields.entity_tags(", ".join(tags), "If-Match") == tags


def _range(source: Source) -> None:
    size = source.number(300)
    found = fields.byte_range({"range": _text(source)}, ETAG, 0, size)
    assert found is None or 0 <= found[0] < found[1] <= size


def _base64(source: Source) -> None:
    text = _text(source)
    value = fields.from_base64(text, "X")
    assert len(value) <= len(text)
    assert base64.urlsafe_b64decode(fields.opaque(value) + "=" * (-len(value) % 3)) == value


def _checksum(source: Source) -> None:
    found = checksum.parse(_text(source))
    assert found.name in checksum.ALGORITHMS
    value = base64.b64encode(found.digest).decode()
    assert checksum.parse(f"{found.name} {value}") == found
    checksum.verify(found, found.digest)


def _metadata(source: Source) -> None:
    raw = source.flag()
    pairs = [source.rest()] if raw else [b"path ", base64.b64encode(source.taken(200)), b",filename "]
    text = b"".join(pairs if raw else [*pairs, base64.b64encode(source.rest())]).decode("latin1")
    found = metadata.parse(text)
    again = ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in found.items())
    assert len(again) > metadata.MAX_BYTES or metadata.parse(again) == found
    assert set(metadata.fields(found)) <= {"content-type"}
    assert all(value.isprintable() or "\t" in value for value in metadata.fields(found).values())
    path = metadata.path(found, "0" * 32)
    assert checked_path(path) == path
    assert len(path.encode()) <= MAX_PATH_BYTES


def _request(source: Source) -> None:
    """Everything that looks at the fields of a request, at once."""
    headers: dict[str, str] = {}
    while not source.is_empty and len(headers) < len(NAMES):
        name, size = source.one_of(NAMES), source.number(60)
        headers[name] = source.taken(size).decode("latin1")
    for look in LOOKS:
        try:
            look(headers)
        except GateError as error:
            assert 400 <= error.status < 500, error


LOOKS: tuple[Callable[[dict[str, str]], object], ...] = (
    tus_fields.check_version,
    tus_fields.planned_length,
    tus_fields.told_length,
    tus_fields.concatenation,
    tus_fields.is_upload,
    tus_fields.offset,
    plain.check_whole,
    plain.check_append_type,
    plain.expected_digests,
    plain.description,
    plain.modified,
    plain.conditions,
    lambda headers: fields.check_conditions(headers, ETAG, 10**18, reading=True),
    lambda headers: fields.check_conditions(headers, None, 0, reading=False),
    lambda headers: fields.byte_range(headers, ETAG, 10**18, 1000),
)

CHECKS: tuple[Callable[[Source], None], ...] = (
    *(_digests, _trailers, _items, _number, _date, _tags, _range, _base64, _checksum, _metadata, _request),
)
