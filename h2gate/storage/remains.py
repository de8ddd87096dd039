"""Files that are nobody's any more and could not be removed, since the disk failed: removed as soon as it does not.

Nobody waits for that, and no error of theirs hides the one that made them nobody's.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress

log = logging.getLogger("h2gate.storage")


class Remains:
    """Of one process. What it could not remove before its end is found after the next start. Its methods block."""

    def __init__(self) -> None:
        self._names: set[tuple[int, str]] = set()

    def remove(self, folder: int, name: str) -> None:
        """Remove a file, now or later; none is there afterwards. `folder` is a descriptor that stays open."""
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("%s cannot be removed now: %s", name, error)
            self._names.add((folder, name))
            return
        self._names.discard((folder, name))

    def clear(self, folder: int, name: str) -> None:
        """Before the name is used again: what is left under it is gone. Raises `OSError`."""
        if (folder, name) in self._names:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            self._names.discard((folder, name))

    def sweep(self) -> None:
        """Try again to remove what is left."""
        for folder, name in list(self._names):
            self.remove(folder, name)
