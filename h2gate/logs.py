"""The log: lines of text or of JSON, with the request and the upload that each is about.

It cannot be flooded: of lines that say the same a few pass in ten seconds; the next one tells how many did not. So a
peer who causes a line with each of a million frames costs an operator a handful of lines.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
FORMATS = ("text", "json")
LINES = 5
SECONDS = 10.0
ACCESS = "h2gate.access"
"""A line for each request, where somebody asked for that: each of them passes."""
_KINDS = 1000
"""So many kinds of lines are told apart."""


@dataclass(slots=True)
class Errand:
    """What a task is about."""

    request_id: str
    upload_id: str = ""


errand: ContextVar[Errand | None] = ContextVar("h2gate_errand", default=None)
"""Of the running task and those that it starts."""


class Moderation(logging.Filter):
    """Lines are the same when they come from one logger and are made from one message, whatever it was filled with."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}
        """When the count began, and how many lines there were since."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == ACCESS:
            return True
        kind, now = (record.name, str(record.msg)), self._clock()
        since, n_lines = self._kinds.get(kind, (now, 0))
        left_out = max(0, n_lines - LINES)
        if now - since >= SECONDS:
            since, n_lines = now, 0
            if left_out:
                record.msg = f"{record.msg!s} [{left_out} more like this were left out]"
        if len(self._kinds) >= _KINDS:
            self._kinds.clear()
        self._kinds[kind] = since, n_lines + 1
        return n_lines < LINES


class TextFormatter(logging.Formatter):
    """One line a record, whatever a peer has called a file: a traceback follows in lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = plain(record.message)
        return super().formatMessage(record)


def plain(text: str) -> str:
    """With what ends a line, or what a terminal obeys, written as an escape (C0, C1, the separators of Unicode, and the
    marks that turn the direction of writing)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


class JsonFormatter(logging.Formatter):
    """One object a line. What a record has in `extra={"members": …}` are members of it."""

    def format(self, record: logging.LogRecord) -> str:
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (about := errand.get()) is not None:
            found["request_id"] = about.request_id
            if about.upload_id:
                found["upload_id"] = about.upload_id
        found |= getattr(record, "members", {})
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return json.dumps(found, default=str)


def configure(style: str = "text") -> None:
    """The log of a gateway's process: standard error, moderated. `style` is one of `FORMATS`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter(FORMAT))
    handler.addFilter(Moderation())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
