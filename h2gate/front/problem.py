"""The only place where errors become answers: RFC 9457 problem+json with a stable `code`."""

from __future__ import annotations

import json
import logging

from h2gate.errors import Exhausted, GateError

log = logging.getLogger("h2gate.front")

MEDIA_TYPE = "application/problem+json"


def document(error: GateError) -> bytes:
    """The problem document of an error."""
    return json.dumps(
        {
            "type": error.type_uri or f"urn:h2gate:problem:{error.code}",
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            "code": error.code,
            **error.members,
        }
    ).encode()


def of(error: Exception, what: str) -> GateError:
    """`error` as one of ours; anything unforeseen is logged whole and told as "internal"."""
    if isinstance(error, MemoryError):  # it may come anywhere, so nobody translates it where it does
        error = Exhausted("out of memory")
    if isinstance(error, GateError):
        if error.status >= 500:
            log.warning("%s: %s (%s)", what, error, error.code)
        return error
    log.exception("%s failed", what, exc_info=error)
    return GateError("something went wrong here; the log says what")
