"""Which of the files that are found go: patterns as in .gitignore, relative to the PATH or URL that was named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from h2gate.errors import ConfigError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

Links = Literal["skip", "follow"]


@dataclass(frozen=True, slots=True)
class Selection:
    """A file goes if it matches one of `include` (or there is none) and none of `exclude`; folders that match one of
    `exclude` are not entered. `links`: what becomes of symbolic links below a folder. Raises `ConfigError`."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    links: Links = "skip"
    _included: GitIgnoreSpec | None = field(init=False, repr=False, compare=False)
    _excluded: GitIgnoreSpec | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_included", _spec("--include", self.include))
        object.__setattr__(self, "_excluded", _spec("--exclude", self.exclude))

    def takes(self, name: str) -> bool:
        """Whether this file goes; `name` is relative, with slashes."""
        if self._included is not None and not self._included.match_file(name):
            return False
        return self._excluded is None or not self._excluded.match_file(name)

    def enters(self, name: str) -> bool:
        """Whether this folder is looked into; `name` without a slash at its end."""
        return self._excluded is None or not self._excluded.match_file(name + "/")


def _spec(option: str, patterns: Sequence[str]) -> GitIgnoreSpec | None:
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - most runs name no pattern, and need not wait for it

    for pattern in patterns:
        try:
            GitIgnoreSpec.from_lines([pattern])
        except ValueError as error:
            raise ConfigError(f"{option} {pattern!r}: not a pattern ({error})") from error
    return GitIgnoreSpec.from_lines(patterns)


ALL = Selection()
