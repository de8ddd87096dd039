"""The seam for storage. It alone knows which bytes are safe; nothing it has not called durable is acknowledged.

A file is staged under a key, then committed to its path: before that nobody sees it, after that it is whole. Paths come
checked (`upload.checked_path`). Everything raises `StorageFull`, `StorageFailed`, `NotFound`, `Conflict`, `BadPath`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from h2gate.upload import Body, Identity, Tap


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder."""

    name: str
    is_folder: bool
    identity: Identity


class Extension(Protocol):
    """A visible file that nobody else may extend now."""

    identity: Identity
    """Of the file as it was found."""

    async def write(self, body: Body, taps: Sequence[Tap], check: Callable[[], None]) -> Identity:
        """Pull `body` to its end and write it behind the last byte, durable when this returns.

        `check` is called when the body is whole and may raise. On an error some bytes may be there: `cut` them.
        """

    async def cut(self, identity: Identity) -> None:
        """Give the file the size and time of `identity` again, durably."""


class Partial(Protocol):
    """An unfinished file that nobody else may write now, in whatever process."""

    size: int
    """Bytes that are durable. They stay what they are, but for `cut`."""

    @property
    def is_doubtful(self) -> bool:
        """A sync has failed: what came since the last one that did not must be `cut`. The system may forget that it
        could not write, so no later sync would tell, and `size` is not to be relied on until then."""

    def begin(self, taps: Sequence[Tap], n_bytes: int | None = None) -> None:
        """Write behind `size` from now on: `n_bytes`, where that is known; if they do not fit, the first `write` raises
        `StorageFull`. `taps` see the bytes that are written, just before they are."""

    async def write(self, chunks: Sequence[bytes]) -> None:
        """Take bytes. They are not durable yet; some may still be held back, unseen by the taps. On an error the taps
        may have seen more than is there, and no more may be written before `begin`."""

    async def sync(self) -> int:
        """What is written is durable; returns the new `size`, which is what the taps have seen. Once this has failed
        it fails until `cut`, see `is_doubtful`."""

    async def finish(self) -> int:
        """As `sync`, with what was held back. To be called also when the body broke off, or what it brought is lost."""

    async def stamp(self, modified_ns: int | None) -> Identity:
        """Give the file its time, durably, and tell what it is now: it is whole."""

    async def cut(self, size: int) -> None:
        """Drop what lies beyond `size`, durably."""

    async def feed(self, start: int, stop: int, tap: Tap) -> None:
        """Read bytes `start` to `stop` (exclusive) into `tap`."""

    async def join(self, keys: Sequence[str]) -> None:
        """Write the unfinished files `keys` behind each other, as `write` does. Raises `NotFound`."""


class Storage(Protocol):
    async def stage(self, key: str, body: Body, taps: Sequence[Tap], *, modified_ns: int | None) -> Identity:
        """Pull `body` to its end and keep it under `key`, durable when this returns. On an error nothing is kept.

        `modified_ns` becomes the file's time, if given. Raises whatever `body.pull` raises.
        """

    async def look_ahead(self, path: str | None, n_bytes: int | None) -> None:
        """Raises what would come of `n_bytes` more on their way to `path` as things are now: `StorageFull`, `Conflict`,
        `BadPath`. None is not known, or nowhere."""

    async def commit(
        self, key: str, path: str, *, may_replace: bool | Identity, partial: bool = False
    ) -> Identity | None:
        """Show the staged file (or the unfinished one, which must be held) under `path`, for good when this returns;
        the file that it replaced, if any.

        `may_replace`: True is whatever file is there, False none, an `Identity` this one only. Raises
        `PreconditionFailed` when another is there, `Conflict` when a folder is in the way, `BadPath` when a symbolic
        link is; nothing is shown then. After `StorageFailed` it may be shown or not, and for good or not.
        """

    async def confirm(self, path: str) -> None:
        """What was found at `path`, of which it is not known how its `commit` ended, is there for good."""

    async def discard(self, key: str) -> None:
        """Forget a staged file, if there is one. Where the disk fails it is removed later, see `tidy`."""

    async def tidy(self) -> None:
        """Remove what is nobody's and could not be removed. To be called now and then, in every process."""

    async def staged(self) -> list[str]:
        """Keys of files staged and not committed (after a crash)."""

    async def begin(self, key: str) -> None:
        """Make an empty unfinished file, durably."""

    def holding(self, key: str) -> AbstractAsyncContextManager[Partial]:
        """Hold an unfinished file. Raises `NotFound` when there is none (any more), `Locked` while another holds it."""

    async def partials(self) -> dict[str, int]:
        """Keys of all unfinished files, and their sizes; not all of their bytes may be durable."""

    async def drop(self, key: str) -> None:
        """Remove an unfinished file, if there is one, as `discard` does. It should be held, or nobody's."""

    def extending(self, path: str) -> AbstractAsyncContextManager[Extension]:
        """Hold the file at `path` for writing behind its end. Raises `NotFound`, and `Locked` while another holds it,
        in whatever process."""

    async def restore(self, path: str, identity: Identity) -> Identity | None:
        """After a crash in `extending`: cut the file back to `identity`. None if another file, or none, is there."""

    async def stat(self, path: str) -> Identity:
        """The visible file. Raises `NotFound`, also for a folder."""

    def read(self, path: str, inode: int, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Bytes `start` to `stop` (exclusive) of the file with this inode, whatever replaces it once the first were
        read. Raises `Conflict` at the first step if another file is there, later if it became shorter."""

    async def feed(self, path: str, size: int, tap: Tap) -> None:
        """Read the first `size` bytes of a visible file into `tap`."""

    async def feed_staged(self, key: str, tap: Tap) -> None:
        """Read a staged file into `tap`."""

    async def remove(self, path: str) -> Identity:
        """Remove a file or an empty folder, for good when this returns. Raises `Conflict` if it is not empty."""

    async def entries(self, path: str) -> list[Entry]:
        """The names in a folder, sorted. Raises `NotFound`, also for a file."""

    async def close(self) -> None:
        """Finish what was begun and let go of everything."""
