"""What an upload is, in values: the description that came with it, the record of it, and a body that is pulled.

Shared by every floor above, so that the socket and the HTTP dialects can stay strangers to each other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from h2gate.errors import BadPath

MAX_PATH_BYTES = 4000
MAX_SEGMENT_BYTES = 255
MAX_SEGMENTS = 128
"""A folder that is missing costs a sync."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ID_BYTES = 12
_IDS_DRAWN = 256
_ids: list[str] = []


@dataclass(slots=True)
class Batch:
    """Body bytes as they came, not joined. `last` tells that the body ended with them, whole."""

    chunks: Sequence[bytes]
    n_bytes: int
    last: bool


class Body(Protocol):
    """A request body that flows only when it is pulled.

    Whatever a `pull` returned counts as taken when `pull` is called again (or the request is answered): that is when
    the sender gets credit for it. So pull again only when the bytes are where they should be.
    """

    length: int | None
    """Bytes, when the sender said so (Content-Length)."""

    async def pull(self) -> Batch:
        """The next bytes; waits for a fair amount, the end, or a moment's silence. Not to be called after `last`.

        It may be cancelled while it waits: the next call has what came.

        Raises `PeerGone` when the sender left or reset the stream, `BodyCut` when the body is shorter than announced.
        """

    @property
    def trailers(self) -> Sequence[tuple[bytes, bytes]]:
        """The fields after the body (RFC 9110 section 6.5), known once `last` was seen."""


class Tap(Protocol):
    """Sees every stored byte in order, in the thread that writes it: a hashlib object is one."""

    def update(self, data: memoryview | bytes, /) -> None:
        """Take the next bytes; `data` is reused afterwards."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which file a record speaks of: a record whose identity is not the visible file's is not about that file."""

    inode: int
    size: int
    modified_ns: int
    """Time of the last change, nanoseconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """The ledger's record of one file that came in.

    `state` is "complete", or "appending" while a PATCH writes behind `identity.size`: what lies beyond it is not
    acknowledged, not shown, and cut off after a crash.
    """

    id: str
    path: str
    """Where it appears under /files/: segments joined by "/", no leading slash."""
    state: str = "complete"
    identity: Identity
    sha256: bytes | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    """Fields describing the file, lower-case names: content-type, content-disposition, last-modified, meta-…."""
    completed_at: float = 0.0
    """Seconds since the epoch."""
    version: int = 0


OPEN_STATES = ("receiving", "decoding", "completing", "joining")
ENDING_STATES = ("decoding", "completing")
"""All bytes are in, and were verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumable:
    """The ledger's record of one resumable upload, whatever protocol began it or goes on with it.

    `state` is "receiving"; "completing" once all bytes are in and durable, where they are coded "decoding" before that;
    "joining" for a concatenation that waits for
    its parts or is being made of them; then "complete", or "expired", "cancelled", "failed": it is over.
    """

    id: str
    """Cannot be guessed; in its URL, and the storage's key."""
    path: str
    """Where the file will appear under /files/; "" for a part of a concatenation, which never does."""
    owner: str = ""
    state: str = "receiving"
    offset: int = 0
    """Bytes that are durable. The storage may have more: it is asked before anybody is told."""
    verified: int | None = None
    """While a body comes in that counts only if its checksum is right: what lies beyond this is not counted."""
    length: int | None = None
    """Bytes of the whole, once somebody said so."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Fields describing the file, as in `Upload`, and content-encoding, where the bytes are coded with that."""
    metadata: str = ""
    """tus: `Upload-Metadata` as it was given."""
    expected: Mapping[str, bytes] = field(default_factory=dict)
    """Digests that the whole must have, by RFC 9530's names; and what it decodes to, see `codec.digest.unencoded`."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """Preconditions of the creating request, which must hold at completion too."""
    modified_ns: int | None = None
    """The time the file is to have."""
    parts: tuple[str, ...] = ()
    """Of a concatenation: the ids of its parts, in order."""
    hash_state: bytes | None = None
    """A running SHA-256 of the first bytes (`codec.sha256`), so that they need not be read again."""
    sha256: bytes | None = None
    """Of the whole, once it is complete."""
    replaced: bool = False
    """At completion another file was at `path`."""
    bytes_per_second: float = 0.0
    """How fast the last bytes came in."""
    reason: str = ""
    """Why it failed, for a person."""
    created_at: float = 0.0
    changed_at: float = 0.0
    expires_at: float = 0.0
    """Seconds since the epoch, like the two above."""
    version: int = 0

    @property
    def is_coded(self) -> bool:
        """Its bytes are a coded form of the file."""
        return "content-encoding" in self.fields

    @property
    def is_part(self) -> bool:
        """tus: `Upload-Concat: partial`."""
        return not self.path

    @property
    def has_offset(self) -> bool:
        """Unlike a concatenation until it is made: nobody can go on with that."""
        return not self.parts or self.state == "complete"

    @property
    def is_open(self) -> bool:
        """Not over, and not complete."""
        return self.state in OPEN_STATES

    @property
    def is_over(self) -> bool:
        """It has ended, and came to nothing."""
        return not self.is_open and self.state != "complete"


def fresh_id() -> str:
    """For a record: 24 hexadecimal digits that nobody guesses. Drawn many at a time: each draw lets go of the
    interpreter, and then waits for it behind all threads that are at work."""
    if not _ids:
        drawn = os.urandom(_ID_BYTES * _IDS_DRAWN)
        _ids.extend(drawn[at : at + _ID_BYTES].hex() for at in range(0, len(drawn), _ID_BYTES))
    return _ids.pop()


os.register_at_fork(after_in_child=_ids.clear)


def checked_path(text: str) -> str:
    """`text` (already percent-decoded) as a path that can be stored: every segment a plain name.

    Raises `BadPath`: nothing is repaired, since a repaired name is another name. An empty path is the root folder.
    """
    if not text:
        return ""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        raise BadPath(f"the path is longer than {MAX_PATH_BYTES} bytes")
    segments = text.split("/")
    if len(segments) > MAX_SEGMENTS:
        raise BadPath(f"the path has more than {MAX_SEGMENTS} segments")
    for segment in segments:
        _check_segment(segment)
    return text


def _check_segment(segment: str) -> None:
    if segment in ("", ".", ".."):
        raise BadPath(f"the path has {'an empty' if not segment else 'the'} segment {segment!r}")
    try:
        encoded = segment.encode()
    except UnicodeEncodeError:
        raise BadPath("the path is not UTF-8") from None
    if len(encoded) > MAX_SEGMENT_BYTES:
        raise BadPath(f"a name in the path is longer than {MAX_SEGMENT_BYTES} bytes")
    if _CONTROL.search(segment):
        raise BadPath("the path has a control character")
    if "\\" in segment:
        raise BadPath("the path has a backslash")
