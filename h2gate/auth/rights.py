"""What may be done where, in the words of the WLCG token profile: `storage.create:/inbox storage.read:/`.

`storage.create` makes files and folders and neither replaces nor deletes; `storage.modify` does that too;
`storage.read` reads and lists. Any of them lets its holder see size, time and digest (HEAD) of what is under its path.
Paths are compared by segments, after the same decoding as a URL's, so that there is no second spelling of a right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, unquote_to_bytes

from h2gate.errors import BadPath, BadScope
from h2gate.tables import Table
from h2gate.upload import checked_path

_PREFIX = "storage."


class Action(StrEnum):
    """What a request does to a path."""

    STAT = "stat"
    READ = "read"
    CREATE = "create"
    MODIFY = "modify"


_ALLOWS: dict[Action, frozenset[Action]] = {
    Action.READ: frozenset({Action.READ, Action.STAT}),
    Action.CREATE: frozenset({Action.CREATE, Action.STAT}),
    Action.MODIFY: frozenset({Action.MODIFY, Action.CREATE, Action.STAT}),
}


@dataclass(frozen=True, slots=True)
class Right:
    """One action at and below one path."""

    action: Action
    segments: tuple[str, ...] = ()
    """() is the root."""

    def allows(self, action: Action, segments: tuple[str, ...]) -> bool:
        """Whether `action` on the path of `segments` is covered."""
        above = self.segments
        return action in _ALLOWS[self.action] and (not above or segments[: len(above)] == above)

    def __str__(self) -> str:
        return f"{_PREFIX}{self.action}:/{'/'.join(quote(each, safe='') for each in self.segments)}"


@dataclass(frozen=True, slots=True)
class Rights:
    """All that somebody may do."""

    all: tuple[Right, ...] = ()

    def allow(self, action: Action, path: str) -> bool:
        """Whether `action` on `path` (as in `upload.Upload.path`: no leading slash, "" is the root) is covered."""
        segments = _segments(path)
        for right in self.all:  # noqa: SIM110 - every request comes by here; `any` costs twice as much
            if right.allows(action, segments):
                return True
        return False

    def which(self, action: Action, path: str) -> str:
        """The right that covers `action` on `path`, in words; "" where none does."""
        segments = _segments(path)
        return next((str(right) for right in self.all if right.allows(action, segments)), "")

    def reach(self, action: Action, path: str) -> bool:
        """Whether `action` is covered at `path`, or somewhere below it."""
        segments = _segments(path)
        n = len(segments)
        for right in self.all:
            if action in _ALLOWS[right.action] and right.segments[:n] == segments[: len(right.segments)]:
                return True
        return False

    def touch(self, path: str) -> bool:
        """Whether there is any right at, above or below `path`: whoever has none is not told that it exists."""
        segments = _segments(path)
        n = len(segments)
        return any(r.segments[:n] == segments or segments[: len(r.segments)] == r.segments for r in self.all)

    def under(self, root: str) -> Rights:
        """The same rights, their paths taken relative to `root`, a tenant's folder."""
        above = _segments(root)
        return Rights(tuple(Right(each.action, above + each.segments) for each in self.all))

    def __str__(self) -> str:
        return " ".join(map(str, self.all))


EVERYTHING = Rights((Right(Action.READ), Right(Action.MODIFY)))


def _segments(path: str) -> tuple[str, ...]:
    return tuple(path.split("/")) if path else ()


def parse(scope: str | Iterable[str]) -> Rights:
    """The rights in a `scope`, words between spaces or one by one; words of others are passed by.

    Raises `BadScope` for a `storage.` word that cannot be taken at its word: a token with one is refused whole, since a
    repaired right is another right.
    """
    words = scope.split(" ") if isinstance(scope, str) else scope
    found = [_right(word) for word in words if word.startswith(_PREFIX)]
    return Rights(tuple(dict.fromkeys(each for each in found if each is not None)))


def configured(table: Table, key: str = "rights") -> Rights:
    """Those that an operator wrote down: a text, or a list of them. Raises `ConfigError`, also for words of others."""
    with table.about(key):
        return strict(" ".join(table.texts(key)))


def strict(text: str) -> Rights:
    """Like `parse`, where a word of others can only be a mistake. Raises `BadScope`."""
    words = text.split()
    for word in words:
        if not word.startswith(_PREFIX):
            raise BadScope(f"{word[:100]!r}: not a right")
    return parse(words)


def _right(word: str) -> Right | None:
    name, colon, path = word.removeprefix(_PREFIX).partition(":")
    if name in ("stage", "poll"):  # of tape, which is not here
        return None
    if name not in (Action.READ, Action.CREATE, Action.MODIFY):
        raise BadScope(f"{word[:100]!r}: no such action")
    if not colon or not path.startswith("/"):
        raise BadScope(f"{word[:100]!r}: a path that begins with a slash must follow the action")
    try:
        raw = [unquote_to_bytes(each) for each in path[1:].removesuffix("/").split("/")]
        if any(b"/" in each for each in raw):
            raise BadScope(f"{word[:100]!r}: an encoded slash")
        return Right(Action(name), _segments(checked_path("/".join(each.decode() for each in raw))))
    except (BadPath, UnicodeDecodeError) as error:
        raise BadScope(f"{word[:100]!r}: {error}") from None
