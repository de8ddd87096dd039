"""Resumable uploads (draft-ietf-httpbis-resumable-upload): the fields of its versions, and what these differ in.

iPhones and tus-js-client in the field speak 3, 5 and 6; 8 is the newest. A request that names none of them is served
like 8, but gets no 104: the draft lets only those have it who say that they know it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from h2gate.config import Settings
from h2gate.fields import boolean, integer
from h2gate.front.request import Request
from h2gate.upload import Resumable

VERSION_FIELD = "upload-draft-interop-version"
_VERSIONS = (3, 5, 6, 8)
_ROOT = "/uploads/"

Lines = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Interop:
    """How one request speaks. `version` is None where it says nothing that is known here."""

    version: int | None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Interop:
        """What the request names."""
        found = integer(headers.get(VERSION_FIELD))
        return cls(found if found in _VERSIONS else None)

    @property
    def echo(self) -> Lines:
        """The version, for who named it."""
        return [(VERSION_FIELD, str(self.version))] if self.version is not None else []

    @property
    def append_status(self) -> int:
        """Of an append that leaves the upload incomplete: 201 until the drafts left it open."""
        return 201 if self.version in (3, 5, 6) else 204

    @property
    def names_media_type(self) -> bool:
        """Whether an append must have a media type that is known for it."""
        return self.version not in (3, 5)

    def complete(self, headers: Mapping[str, str]) -> bool | None:
        """Whether the upload ends with this request; None where that is not said."""
        if self.version == 3:
            incomplete = boolean(headers.get("upload-incomplete"))
            return None if incomplete is None else not incomplete
        return boolean(headers.get("upload-complete"))

    def ends(self, headers: Mapping[str, str]) -> bool | None:
        """Of an append: in the first drafts it is the last one unless it says otherwise; later ones must say."""
        found = self.complete(headers)
        return True if found is None and self.version in (3, 5) else found

    def told(self, *, complete: bool) -> tuple[str, str]:
        """The field that says whether the upload is complete."""
        if self.version == 3:
            return "upload-incomplete", "?0" if complete else "?1"
        return "upload-complete", "?1" if complete else "?0"

    async def announce(self, request: Request, settings: Settings, record: Resumable) -> None:
        """The first 104: where the upload is."""
        if self.version is not None:
            await request.inform(104, [*whereabouts(settings, record), *self.echo])

    async def progress(self, request: Request, offset: int) -> None:
        """A 104 that tells how much is durable."""
        if self.version is not None:
            await request.inform(104, [("upload-offset", str(offset)), *self.echo])


def upload_url(upload_id: str) -> str:
    """The path of the URL of an upload: without scheme and host, which a proxy may have changed."""
    return _ROOT + upload_id


def whereabouts(settings: Settings, record: Resumable) -> Lines:
    """What answers to a creation must all tell alike: where the upload is, and its limits."""
    return [("location", upload_url(record.id)), limit_field(settings, record)]


def limit_field(settings: Settings, record: Resumable | None = None) -> tuple[str, str]:
    """`Upload-Limit`: of one upload with the time that is left to it, else of all. Where there is no limit it says so
    in the one way it can."""
    limits = {"max-size": settings.max_size, "min-append-size": settings.min_append}
    limits |= {"max-append-size": settings.max_append}
    limits = {name: value for name, value in limits.items() if value}
    if record is not None:
        limits["max-age"] = max(0, math.floor(record.expires_at - time.time()))
    return "upload-limit", ", ".join(f"{name}={value}" for name, value in (limits or {"min-size": 0}).items())
