"""Which files of the gateway go to which place here: one, or all below a folder, under the folder's own name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from h2gate.client import names
from h2gate.client.asking import Asker
from h2gate.client.listener import Item
from h2gate.client.selection import Selection


async def downloads(asker: Asker, url: str, target: str, selection: Selection) -> AsyncIterator[Item]:
    """What `get URL TARGET` fetches to where. Raises `GateError`."""
    if not names.is_folder(url):
        local = names.download_target(url, target)
        if selection.takes(names.last_name(url)):
            yield Item(url, local, url)
        return
    root = Path(target)
    above = len(url) if url.removesuffix("/").endswith("/files") else len(url.rstrip("/").rpartition("/")[0]) + 1
    async for entry in asker.walk(url, selection):
        parts = [names.last_name(part) for part in entry.url[above:].split("/")]
        yield Item(entry.url, root.joinpath(*parts), entry.url, entry.size)
