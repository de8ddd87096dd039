"""What has to be done now and then: uploads that expired go, concatenations that were interrupted are gone on with.

One worker does it, whichever has the lock in the data folder; it may be interrupted anywhere and begins anew.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from h2gate.errors import GateError
from h2gate.transfer.resumables import Resumables
from h2gate.transfer.retention import Retention

log = logging.getLogger("h2gate.transfer")

_PROGRESS_EVERY = 1000


async def keep_up(resumables: Resumables, retention: Retention, lock: Path, seconds: float) -> None:
    """Look after the uploads every `seconds`, until cancelled. The file `lock` is there."""
    while True:
        try:
            await resumables.tidy()
            with _alone(lock) as is_alone:
                if is_alone:
                    await run(resumables)
                    await retention.run()
        except Exception as error:
            log.warning("upkeep: %s", error, exc_info=not isinstance(error, GateError))
        await asyncio.sleep(seconds)


async def run(resumables: Resumables) -> None:
    """One round."""
    await resumables.rejoin()
    ended = told = 0
    while n_ended := await resumables.expire():
        ended += n_ended
        if ended - told >= _PROGRESS_EVERY:
            told = ended
            log.info("upkeep: %d uploads so far had expired", ended)
    if ended:
        log.info("upkeep: %d uploads had expired or were long over", ended)


@contextmanager
def _alone(lock: Path) -> Iterator[bool]:
    """Whether no other worker is at it; none will be, inside."""
    fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)  # nothing that waits for a disk
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(fd)
