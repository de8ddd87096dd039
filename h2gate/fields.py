"""The grammar of the header fields we read and write: digests (RFC 9530), ranges, conditions and dates (RFC 9110).

Structured fields (RFC 9651) are parsed by a library; everything here raises `BadField`, naming the field.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

import http_sf

from h2gate.errors import BadField, PreconditionFailed, RangeNotSatisfiable

_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_TCHAR = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def digests(value: str, field: str) -> dict[str, bytes]:
    """`Repr-Digest`, `Content-Digest`: algorithm (lower case) to digest, unknown algorithms included."""
    if not value:
        return {}
    try:
        parsed = http_sf.parse(value.encode("latin1"), tltype="dictionary")
    except ValueError as error:
        raise BadField(f"{field}: not a dictionary of digests (RFC 9530): {error}") from error
    if not isinstance(parsed, dict):
        raise BadField(f"{field}: not a dictionary of digests (RFC 9530)")
    found: dict[str, bytes] = {}
    for name, member in parsed.items():
        if not isinstance(member, tuple) or not isinstance(member[0], bytes):
            raise BadField(f"{field}: {name} must be a byte sequence, written :base64:")
        found[name] = member[0]
    return found


def digest_field(name: str, digest: bytes) -> str:
    """The value of `Repr-Digest` for one digest."""
    return f"{name}=:{base64.b64encode(digest).decode()}:"


def integer(value: str | None) -> int | None:
    """An item that is a non-negative integer (RFC 9651 section 3.3.1); None for all else, as if it were missing."""
    found = _item(value)
    return found if type(found) is int and found >= 0 else None


def boolean(value: str | None) -> bool | None:
    """An item that is a boolean (RFC 9651 section 3.3.6); None for all else, as if it were missing."""
    found = _item(value)
    return found if isinstance(found, bool) else None


def _item(value: str | None) -> object:
    if not value:  # as almost always
        return None
    try:
        found = http_sf.parse(value.encode("latin1"), tltype="item")
    except ValueError:
        return None
    return found[0] if isinstance(found, tuple) else None


def wanted_digests(value: str | None) -> set[str]:
    """`Want-Repr-Digest`: the algorithms that are wanted at all (RFC 9530 section 4). None where it is malformed."""
    try:
        parsed = http_sf.parse((value or "").encode("latin1"), tltype="dictionary")
    except ValueError:
        return set()
    members = parsed.items() if isinstance(parsed, dict) else ()
    wishes = {name: member[0] for name, member in members if isinstance(member, tuple)}
    return {name for name, wish in wishes.items() if type(wish) is int and 0 < wish <= 10}


def preferred_wait(value: str) -> int | None:
    """`Prefer: wait=SECONDS` (RFC 7240 section 4.3); None if it is not there. Other preferences are ignored."""
    for preference in value.split(","):
        name, _, wait = preference.partition(";")[0].partition("=")
        wait = wait.strip().strip('"')
        if name.strip().lower() == "wait":
            return int(wait) if wait.isascii() and wait.isdigit() and len(wait) <= 18 else None
    return None


def announced(value: str | None) -> set[str]:
    """`Trailer`: the names of the fields that are to follow the body, in lower case."""
    return {name.strip().lower() for name in (value or "").replace("\t", ",").replace(" ", ",").split(",")} - {""}


def decimal(value: str, field: str) -> int:
    """A non-negative integer of plain digits."""
    if not (value.isascii() and value.isdigit()) or len(value) > 18:
        raise BadField(f"{field}: {value[:40]!r} is not a non-negative integer")
    return int(value)


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 has it, in UTC, to the second."""
    return moment(int(seconds) * 10**9).isoformat().replace("+00:00", "Z")


def moment(ns: int) -> datetime:
    """Nanoseconds since the epoch, to the second; times that no calendar has become the first or last that it has."""
    return datetime.fromtimestamp(min(max(ns // 10**9, _FIRST_SECOND), _LAST_SECOND), UTC)


def http_date(ns: int) -> str:
    """Nanoseconds since the epoch as an HTTP-date (RFC 9110 section 5.6.7)."""
    return format_datetime(moment(ns), usegmt=True)


def parse_date(value: str, field: str) -> int:
    """An HTTP-date, also in its obsolete forms, as nanoseconds since the epoch: 64 bits, as file systems have."""
    try:
        found = parsedate_to_datetime(value)
        ns = int(found.replace(tzinfo=found.tzinfo or UTC).timestamp()) * 10**9
    except (ValueError, TypeError, OverflowError) as error:
        raise BadField(f"{field}: {value[:60]!r} is not an HTTP-date") from error
    if abs(ns) >= 2**63:
        raise BadField(f"{field}: {value[:60]!r} is not a time that a file can have")
    return ns


def is_token(text: str) -> bool:
    """A token of RFC 9110 section 5.6.2."""
    return bool(text) and _TCHAR.issuperset(text)


def entity_tags(value: str, field: str) -> list[str] | None:
    """`If-Match`, `If-None-Match`: the tags as written, weak ones with their `W/`; None for `*`."""
    if value.strip() == "*":
        return None
    tags = []
    rest = value.strip()
    while rest:
        weak = rest.startswith("W/")
        body = rest[2:] if weak else rest
        end = body.find('"', 1)
        if not body.startswith('"') or end < 0:
            raise BadField(f"{field}: {value[:60]!r} is not a list of entity tags")
        tags.append(("W/" if weak else "") + body[: end + 1])
        rest = body[end + 1 :].lstrip(" \t,")
    return tags


def check_conditions(headers: Mapping[str, str], etag: str | None, modified_ns: int, *, reading: bool) -> bool:
    """Preconditions in the order of RFC 9110 section 13.2.2. `etag` is None when nothing is there.

    True to go on, False to answer 304. Raises `PreconditionFailed`.
    """
    if "if-match" in headers:
        tags = entity_tags(headers["if-match"], "If-Match")
        if etag is None or (tags is not None and etag not in tags):
            raise PreconditionFailed("If-Match: the file is not, or no longer, the one named")
    elif "if-unmodified-since" in headers and etag is not None:
        since = _date_or_none(headers["if-unmodified-since"])
        if since is not None and modified_ns // 10**9 * 10**9 > since:
            raise PreconditionFailed("If-Unmodified-Since: the file was changed since")
    if "if-none-match" in headers:
        tags = entity_tags(headers["if-none-match"], "If-None-Match")
        if etag is not None and (tags is None or etag in {tag.removeprefix("W/") for tag in tags}):
            if reading:
                return False
            raise PreconditionFailed("If-None-Match: the file is there already")
    elif reading and "if-modified-since" in headers and etag is not None:
        since = _date_or_none(headers["if-modified-since"])
        return since is None or modified_ns // 10**9 * 10**9 > since
    return True


def _date_or_none(value: str) -> int | None:
    """Of a condition that is not a date nothing may be made (RFC 9110 sections 13.1.3 and 13.1.4)."""
    try:
        return parse_date(value, "")
    except BadField:
        return None


def byte_range(headers: Mapping[str, str], etag: str, modified_ns: int, size: int) -> tuple[int, int] | None:
    """`Range` with `If-Range` (RFC 9110 section 14): start and stop (exclusive), or None for the whole file.

    Several ranges, other units and malformed ranges are ignored, as section 14.2 lets a server do. Raises
    `RangeNotSatisfiable`.
    """
    value = headers.get("range", "")
    unit, _, spec = value.partition("=")
    first, dash, last = spec.strip().partition("-")
    digits = first + last
    if unit.strip().lower() != "bytes" or not dash or not (digits.isascii() and digits.isdigit()) or len(digits) > 36:
        return None
    if_range = headers.get("if-range", "").strip()
    if if_range and if_range not in (etag, http_date(modified_ns)):
        return None
    if not first:
        start, stop = max(0, size - int(last)), size
        satisfiable = int(last) > 0 and size > 0
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < int(first):
            return None
        satisfiable = start < size
    if not satisfiable:
        raise RangeNotSatisfiable(f"the file has {size} bytes")
    return start, stop


def opaque(value: bytes) -> str:
    """Bytes as URL-safe Base64 without padding, e.g. for an entity tag."""
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def from_base64(value: str, field: str) -> bytes:
    """Strict Base64. Raises `BadField`."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadField(f"{field}: not Base64") from error
