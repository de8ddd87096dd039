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


class Begun:
    """`ask` once, as a task; `may_be` waits for that."""

    def __init__(self, asker: Asker, folder: str) -> None:
        """`folder`: its URL."""
        self._asker = asker
        self._folder = folder
        self._paths: asyncio.Future[frozenset[str] | None] = asyncio.get_running_loop().create_future()

    async def ask(self) -> None:
        """Where there is no such list, or not all of it, anything may be."""
        found = None
        try:
            uploads = await uploads_at(self._asker, self._folder)
            if len(uploads) < LISTED:
                found = frozenset(unquote(str(each["path"])) for each in uploads)
        except (GateError, ValueError, KeyError, TypeError):
            pass
        finally:
            if not self._paths.done():
                self._paths.set_result(found)

    async def may_be(self, url: str) -> bool:
        """Whether it is worth asking for one of this very file."""
        paths = await asyncio.shield(self._paths)
        return paths is None or unquote(urlsplit(url).path) in paths
