"""After a crash, while nobody serves: ledger and storage are made to agree about all uploads again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from h2gate.errors import LedgerFailed
from h2gate.ledger.base import Ledger
from h2gate.storage.base import Storage
from h2gate.transfer.undoing import upload_of
from h2gate.upload import ENDING_STATES, OPEN_STATES

log = logging.getLogger("h2gate.transfer")


async def recover(storage: Storage, ledger: Ledger, settle: Callable[[str], Awaitable[object]]) -> int:
    """How many differed. `settle` makes both agree about one upload."""
    sizes = await storage.partials()
    unfinished = await ledger.resumables_in(OPEN_STATES)
    known = {each.id for each in unfinished}
    for key in sizes:
        if upload_of(key) not in known:
            await _collect(storage, ledger, key)
    differing = [each for each in unfinished if each.verified is not None or sizes.get(each.id) != each.offset]
    differing += [each for each in unfinished if each.state in ENDING_STATES and each not in differing]
    for record in differing:
        if record.state != "joining":
            await _settle(record.id, settle)
    return len(differing)


async def _collect(storage: Storage, ledger: Ledger, key: str) -> None:
    """Remove an unfinished file that no upload has, unless it is a part of a concatenation."""
    try:
        record = await ledger.resumable(upload_of(key))
    except LedgerFailed as error:  # there is one, and its bytes are kept for whoever can mend it
        log.error("upload %s: %s", key, error)
        return
    if record is None or record.state != "complete" or not record.is_part:
        log.info("removing the unfinished file %s, which belongs to no upload", key)
        await storage.drop(key)


async def _settle(upload_id: str, settle: Callable[[str], Awaitable[object]]) -> None:
    try:
        await settle(upload_id)
    except Exception as error:  # noqa: BLE001 - one upload must not keep the gateway from starting
        log.warning("upload %s, after the last run: %s", upload_id, error)
