"""Tables of a TOML file, taken key by key: what has the wrong type, is missing or was asked for by nobody is an error.

The error names the file, the table and the key, since a misspelt limit would otherwise be no limit.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from h2gate.errors import BadPath, BadScope, ConfigError


class Table:
    """One table. Whoever owns it takes its keys and then calls `end`."""

    def __init__(self, file: Path, name: str, values: Mapping[str, Any]) -> None:
        self.file = file
        self.name = name
        """As it is written, `[tenants.physics]` without the brackets; "" is the top of the file."""
        self._values = dict(values)

    def error(self, key: str, what: str) -> ConfigError:
        """To be raised: `what` is wrong with the value of `key`."""
        return ConfigError(f"{self.file}: {f'[{self.name}] ' if self.name else ''}{key}: {what}")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def _take(self, key: str, kinds: tuple[type, ...], what: str, default: Any) -> Any:
        value = self._values.pop(key, default)
        if value is ...:
            raise self.error(key, "is missing")
        if value is not default and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise self.error(key, f"{value!r} is not {what}")
        return value

    # Each takes a key; `default` holds where it is not there, and `...` is that it must be.

    def text(self, key: str, default: Any = ...) -> str:
        found: str = self._take(key, (str,), "a text", default)
        return found

    def integer(self, key: str, default: Any = ..., *, least: int = 0) -> int:
        found: int = self._take(key, (int,), "a whole number", default)
        if found is not default and found < least:
            raise self.error(key, f"{found} is less than {least}")
        return found

    def number(self, key: str, default: Any = ..., *, least: float = 0.0) -> float:
        found: float = self._take(key, (int, float), "a number", default)
        if found is not default and not least <= found < float("inf"):
            raise self.error(key, f"{found} is not a number from {least:g} on")
        return found

    def flag(self, key: str, default: Any = ...) -> bool:
        found: bool = self._take(key, (bool,), "true or false", default)
        return found

    def texts(self, key: str, default: Any = ...) -> tuple[str, ...]:
        """A list of texts; one text alone is a list of one."""
        found = self._take(key, (str, list), "a list of texts", default)
        words = (found,) if isinstance(found, str) else found
        if found is not default and not all(isinstance(each, str) for each in words):
            raise self.error(key, f"{found!r} is not a list of texts")
        return tuple(words)

    def moment(self, key: str, default: Any = ...) -> float:
        """A TOML date and time, in seconds since the epoch; without an offset it is UTC."""
        found = self._take(key, (datetime,), "a date and time, as 2030-01-31T12:00:00Z", default)
        if not isinstance(found, datetime):
            return default  # type: ignore[no-any-return]
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()

    def path(self, key: str, default: Any = ...) -> Path:
        """Of a file; one that does not begin at the root is sought beside the file that names it."""
        found = self._take(key, (str,), "the name of a file", default)
        return self.file.parent / found if isinstance(found, str) else found

    def table(self, key: str) -> Table:
        """A table within, empty where there is none."""
        return Table(self.file, f"{self.name}.{key}".lstrip("."), self._take(key, (dict,), "a table", {}))

    def tables(self, key: str) -> list[Table]:
        """A list of tables (`[[keys]]`), numbered from 1 in their names."""
        found = self._take(key, (list,), "a list of tables", ())
        if not all(isinstance(each, dict) for each in found):
            raise self.error(key, "not a list of tables")
        return [Table(self.file, f"{self.name}.{key} {n}".lstrip("."), each) for n, each in enumerate(found, 1)]

    def named(self) -> Iterator[Table]:
        """Every table within, by its name."""
        for key in list(self._values):
            yield self.table(key)

    def names(self) -> list[str]:
        """The keys that nobody has taken yet."""
        return list(self._values)

    def texts_by_name(self) -> dict[str, str]:
        """All of it, where all values are texts."""
        return {key: self.text(key) for key in list(self._values)}

    @contextmanager
    def about(self, key: str) -> Iterator[None]:
        """What is raised inside about a right, a path or a value is about `key`."""
        try:
            yield
        except (BadScope, BadPath, ValueError) as error:
            raise self.error(key, str(error)) from None

    def end(self, known: Collection[str] = ()) -> None:
        """All is taken. Raises `ConfigError` for what is left, but for the keys in `known`."""
        for key in self._values.keys() - set(known):
            raise self.error(key, "nothing is called so")


def read(file: Path) -> Table:
    """The top of a file. Raises `ConfigError`."""
    try:
        return Table(file, "", tomllib.loads(file.read_text()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from None
