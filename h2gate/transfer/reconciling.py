"""Records and files of a tenant's folder are made to agree, after a start and before anybody is served.

What came into the folder some other way gets a record, so that it counts; a record whose file is gone goes. It costs a
look at every file below the folder: some seconds for a million.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from h2gate.errors import BadPath, NotFound
from h2gate.ledger.base import Ledger
from h2gate.storage.base import Storage
from h2gate.upload import Identity, Upload, checked_path, fresh_id

log = logging.getLogger("h2gate.transfer")

_TOGETHER = 256
"""Changes that share a transaction."""


async def reconcile(storage: Storage, ledger: Ledger, root: str) -> tuple[int, int]:
    """How many files were found that had no record, and how many records that had no file."""
    agreeing = _Agreeing(ledger)
    parent = root.rpartition("/")[0]
    if root:
        with suppress(NotFound, BadPath):
            records = [each for each in await ledger.under(parent) if each.path == root]
            await agreeing.agree(records, await _file_at(storage, root))
    left = {root, *await ledger.folders(root)}
    seen: set[str] = set()
    while left:
        folder = left.pop()
        seen.add(folder)
        files, folders = await _names_in(storage, folder)
        left |= folders - seen
        await agreeing.agree(await ledger.under(folder), files)
    if agreeing.n_found or agreeing.n_gone:
        log.info("/%s: %d files had no record, %d records no file", root, agreeing.n_found, agreeing.n_gone)
    return agreeing.n_found, agreeing.n_gone


async def _file_at(storage: Storage, path: str) -> Mapping[str, Identity]:
    try:
        return {path: await storage.stat(path)}
    except NotFound:
        return {}


async def _names_in(storage: Storage, folder: str) -> tuple[Mapping[str, Identity], set[str]]:
    """The files and the folders in a folder that have a name which a URL can say."""
    files: dict[str, Identity] = {}
    folders: set[str] = set()
    try:
        entries = await storage.entries(folder)
    except (NotFound, BadPath):
        return files, folders
    for each in entries:
        with suppress(BadPath):
            path = checked_path(f"{folder}/{each.name}" if folder else each.name)
            if each.is_folder:
                folders.add(path)
            else:
                files[path] = each.identity
    return files, folders


class _Agreeing:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.n_found = self.n_gone = 0

    async def agree(self, records: Sequence[Upload], files: Mapping[str, Identity]) -> None:
        """Each of `files` has one of `records` in the end, and each of these a file."""
        holding: dict[str, Upload] = {}
        gone: list[Upload] = []
        for each in records:
            if not _is_about(each, files.get(each.path)):
                gone.append(each)
                continue
            if each.path in holding:
                gone.append(holding[each.path])
            holding[each.path] = each
        found = [_adopted(path, identity) for path, identity in files.items() if path not in holding]
        self.n_gone += len(gone)
        self.n_found += len(found)
        await _together([self._ledger.remove(each.id) for each in gone])
        await _together([self._ledger.adopt(each) for each in found])


def _is_about(record: Upload, identity: Identity | None) -> bool:
    if identity is None:
        return False
    return record.identity == identity or (record.state == "appending" and record.identity.inode == identity.inode)


def _adopted(path: str, identity: Identity) -> Upload:
    """Its time here begins now, however old the file is."""
    return Upload(id=fresh_id(), path=path, identity=identity, completed_at=time.time())


async def _together(jobs: list[Coroutine[Any, Any, None]]) -> None:
    for start in range(0, len(jobs), _TOGETHER):
        await asyncio.gather(*jobs[start : start + _TOGETHER])
