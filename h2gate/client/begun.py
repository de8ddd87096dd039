"""What earlier runs began below a folder and nobody remembers: asked for once, for all files that are going there."""

from __future__ import annotations

import asyncio
from urllib.parse import quote, unquote, urlsplit

import httpx

from h2gate.client.asking import Asker
from h2gate.errors import GateError

LISTED = 1000
"""A gateway tells of so many at most."""
_SOON = {"timeout": httpx.Timeout(30).as_dict()}


async def uploads_at(asker: Asker, url: str) -> list[dict[str, object]]:
    """One's own resumable uploads of the file at `url`, or, where it ends in a slash, of all below it. Raises
    `GateError`; `ValueError`, `KeyError` and `TypeError` for an answer that is no such list."""
    parts = urlsplit(url)
    list_url = f"{parts.scheme}://{parts.netloc}/uploads/?path={quote(parts.path, safe='')}"
    answer = await asker.ask("GET", list_url, {"accept": "application/json"}, extensions=_SOON)
    return [{**each} for each in answer.json()["uploads"]]


async def paths_below(asker: Asker, folder: str) -> frozenset[str] | None:
    """The files below the folder at this URL that have such an upload. None where that cannot be told, or not of all:
    whoever asks for one file meets what is in the way."""
    try:
        uploads = await uploads_at(asker, folder)
        return frozenset(unquote(str(each["path"])) for each in uploads) if len(uploads) < LISTED else None
    except (GateError, ValueError, KeyError, TypeError):
        return None


class Begun:
    """What `paths_below` will tell; asked by many files, for which one of them may not end the asking."""

    def __init__(self, paths: asyncio.Future[frozenset[str] | None]) -> None:
        self._paths = paths

    async def may_be(self, url: str) -> bool:
        """Whether it is worth asking for one of this very file."""
        paths = await asyncio.shield(self._paths)
        return paths is None or unquote(urlsplit(url).path) in paths
