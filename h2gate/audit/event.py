"""What the audit log says of one thing that was done, or refused: who, from where, with which right, what came of it.

Values only, and none of them a secret: no token, ticket, key, query or body is ever among them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

MAX_TEXT_CHARACTERS = 300
"""Of what a peer says of itself; a path is longer."""
_MAX_PATH_CHARACTERS = 4100


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One of them. Members that are "" or None are left out of the line."""

    event: str
    """create, replace, append, delete, begin, receive, complete, cancel, read, issue, revoke; expire, join, found where
    the gateway did it; deny, fail where it was not done; omit where a line stands for many."""
    who: str = ""
    """The principal's name; "" is nobody in particular."""
    via: str = ""
    credential: str = ""
    """Which token, key or ticket: an id."""
    tenant: str = ""
    peer: str = ""
    """Address."""
    forwarded: str = ""
    """For whom a proxy says that it asks: as credible as the proxy."""
    method: str = ""
    path: str = ""
    """Below /files/ where it is a file's, else of the URL, without the query."""
    upload_id: str = ""
    right: str = ""
    n_bytes: int | None = None
    """That came (or, of a read, went) with this request."""
    size: int | None = None
    """Of the file or upload, afterwards."""
    sha256: str = ""
    status: int | None = None
    code: str = ""
    """Of the error."""
    count: int | None = None
    """How many were left out."""
    request_id: str = ""
    detail: str = ""

    def members(self) -> dict[str, Any]:
        """For the line."""
        found = {name: value for name, value in asdict(self).items() if value not in ("", None)}
        for name, value in found.items():
            if isinstance(value, str):
                found[name] = value[: _MAX_PATH_CHARACTERS if name in ("path", "right") else MAX_TEXT_CHARACTERS]
        return found
