"""A visible file and what is known of it: a record is believed only where it is about the very file that is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from h2gate.fields import check_conditions, digest_field, opaque
from h2gate.storage.base import Entry
from h2gate.upload import Identity, Upload


@dataclass(frozen=True, slots=True)
class File:
    """A visible file and what is known of it."""

    path: str
    identity: Identity
    upload: Upload | None
    """Its record; None if it came into the folder some other way."""

    @property
    def size(self) -> int:
        """Bytes that are acknowledged: those of the record while something is being appended."""
        return self.identity.size

    @property
    def etag(self) -> str:
        """A strong entity tag: of the content where its digest is known, else of inode, size and time."""
        if self.upload is not None and self.upload.sha256 is not None:
            return f'"{opaque(self.upload.sha256[:18])}"'
        identity = self.identity
        return f'"{identity.inode:x}-{identity.size:x}-{identity.modified_ns:x}"'

    @property
    def repr_digest(self) -> str | None:
        """The value of `Repr-Digest`, where the digest is known."""
        if self.upload is None or self.upload.sha256 is None:
            return None
        return digest_field("sha-256", self.upload.sha256)

    @property
    def fields(self) -> Mapping[str, str]:
        """The fields that came with it."""
        return self.upload.fields if self.upload is not None else {}


Precondition = Callable[[File | None], None]
"""Raises `PreconditionFailed` for the file that is there now (None: nothing is)."""


def conditional(conditions: Mapping[str, str]) -> Precondition | None:
    """The precondition that these fields make (lower-case names); None if none does."""
    if not conditions:
        return None

    def check(file: File | None) -> None:
        etag, modified_ns = (file.etag, file.identity.modified_ns) if file is not None else (None, 0)
        check_conditions(conditions, etag, modified_ns, reading=False)

    return check


def known_by(path: str, upload: Upload) -> tuple[str, int, Identity | None]:
    """What a file must have in common with its record; while one is appended to, size and time are not."""
    return path, upload.identity.inode, None if upload.state == "appending" else upload.identity


def listed(path: str, entry: Entry, records: Mapping[tuple[str, int, Identity | None], Upload]) -> File:
    """The file of an entry, with the one of `records` (see `known_by`) that is about it."""
    inode = entry.identity.inode
    upload = records.get((path, inode, None))
    if upload is not None:
        return File(path, upload.identity, upload)
    return File(path, entry.identity, records.get((path, inode, entry.identity)))
