"""The seam for storage. It alone knows which bytes are safe; nothing it has not called durable is acknowledged.

A file is staged under a key, then committed to its path: before that nobody sees it, after that it is whole. Paths come
checked (`upload.checked_path`). Everything raises `StorageFull`, `StorageFailed`, `NotFound`, `Conflict`, `BadPath`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from h2gate.upload import Body, Identity, Tap


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder."""

    name: str
    is_folder: bool
    identity: Identity


class Storage(Protocol):
    async def stage(self, key: str, body: Body, taps: Sequence[Tap], *, modified_ns: int | None) -> Identity:
        """Pull `body` to its end and keep it under `key`, durable when this returns. On an error nothing is kept.

        `modified_ns` becomes the file's time, if given. Raises whatever `body.pull` raises.
        """

    async def commit(self, key: str, path: str, *, may_replace: bool) -> bool:
        """Show the staged file under `path`, for good when this returns; True if it replaced another file.

        Raises `PreconditionFailed` when a file is there and `may_replace` is False, `Conflict` when a folder is in the
        way; nothing is shown then. After `StorageFailed` it may be shown or not.
        """

    async def discard(self, key: str) -> None:
        """Forget a staged file, if there is one."""

    async def staged(self) -> list[str]:
        """Keys of files staged and not committed (after a crash)."""

    async def extend(
        self, path: str, identity: Identity, body: Body, taps: Sequence[Tap], check: Callable[[], None]
    ) -> Identity:
        """Write `body` behind the last byte of a visible file, durable when this returns.

        `check` is called when the body is whole and may raise. On any error the file has its old bytes and size again.
        Raises `Conflict` if another file than `identity` is there by now, `Locked` while somebody else extends it.
        """

    async def restore(self, path: str, identity: Identity) -> Identity | None:
        """After a crash in `extend`: cut the file back to `identity`. None if another file, or none, is there."""

    async def stat(self, path: str) -> Identity:
        """The visible file. Raises `NotFound`, also for a folder."""

    def read(self, path: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Bytes `start` to `stop` (exclusive) of the file that is there at the first step, whatever replaces it."""

    async def feed(self, path: str, size: int, tap: Tap) -> None:
        """Read the first `size` bytes of a visible file into `tap`."""

    async def feed_staged(self, key: str, tap: Tap) -> None:
        """Read a staged file into `tap`."""

    async def remove(self, path: str) -> None:
        """Remove a file or an empty folder, for good when this returns. Raises `Conflict` if it is not empty."""

    async def entries(self, path: str) -> list[Entry]:
        """The names in a folder, sorted. Raises `NotFound`, also for a file."""

    async def close(self) -> None:
        """Finish what was begun and let go of everything."""
