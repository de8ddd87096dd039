"""The lines of the audit log: JSON, each with the hash of the one before it and its own at its end.

A line's hash covers every byte before it, so any change to a line shows in that line itself, and whatever is removed,
added or moved shows where its neighbours no longer fit. Nobody needs a key to check that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64
"""What the first line has for the hash of the one before it."""
MAX_LINE_BYTES = 32 << 10
"""Of a line that is written; a path has at most 4,000 bytes, and what peers say of themselves is cut."""

_OWN = b',"hash":"'
_END = b'"}'
_TAIL_BYTES = len(_OWN) + 64 + len(_END)


@dataclass(frozen=True, slots=True)
class Link:
    """One line's place in the chain."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is what it was when it was written."""

    link: Link
    prev: str
    members: Mapping[str, Any]


START = Link(0, GENESIS)


def encode(after: Link, time: str, members: Mapping[str, Any]) -> tuple[bytes, Link]:
    """The line that follows `after`, with its newline."""
    text = json.dumps(
        {"seq": after.seq + 1, "time": time, "prev": after.hash, **members}, ensure_ascii=False, separators=(",", ":")
    )
    covered = text.encode("utf-8", "backslashreplace")[:-1]
    own = hashlib.sha256(covered).hexdigest()
    return covered + _OWN + own.encode() + _END + b"\n", Link(after.seq + 1, own)


def decode(line: bytes) -> Line | None:
    """What a line (without its newline) says; None where it is not as it was written."""
    covered, tail = line[:-_TAIL_BYTES], line[-_TAIL_BYTES:]
    own = hashlib.sha256(covered).hexdigest()
    if tail != _OWN + own.encode() + _END:
        return None
    try:
        members = json.loads(line)
        return Line(Link(int(members["seq"]), own), str(members["prev"]), members)
    except (ValueError, KeyError, TypeError):
        return None
