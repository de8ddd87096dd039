"""Gateways that ask who somebody is, for tests: a file of keys, and their secrets."""

from __future__ import annotations

from pathlib import Path

from h2gate.auth import keys

Fields = dict[str, str]


class Policies:
    """The file of `--auth`, written from what each key is given."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "auth.toml"
        self._lines: list[str] = []
        self._secrets: dict[str, str] = {}

    def key(self, name: str, rights: str, *more: str) -> None:
        """One more; `more` are lines of its table."""
        self._secrets[name], digest = keys.make(name)
        self._lines += ["[[keys]]", f'id = "{name}"', f'sha256 = "{digest}"', f'rights = "{rights}"', *more]
        self.write()

    def tenant(self, name: str, *more: str) -> None:
        self.table(f"tenants.{name}", *more)

    def table(self, name: str, *lines: str) -> None:
        self._lines += [f"[{name}]", *lines]
        self.write()

    def lines(self, *lines: str) -> None:
        """Further ones, as they are."""
        self._lines += lines
        self.write()

    def withdraw(self) -> None:
        """No key is known any more but one that nobody has."""
        self._lines = []
        self.key("other", "storage.read:/")

    def write(self) -> None:
        self.file.write_text("\n".join(self._lines) + "\n")

    def secret(self, name: str) -> str:
        return self._secrets[name]

    def fields(self, name: str | None) -> Fields:
        """What a request of theirs carries; None is nobody."""
        return {} if name is None else {"authorization": f"Bearer {self.secret(name)}"}
