"""What is sent, the same bytes for all and in every run, and proof that it arrived: one file, or whole trees."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from loadtest.peers import Peer

PIECE = 1 << 20
SMALL_BYTES = 10 * 1024

_serial = itertools.count(1)


class BytesLost(RuntimeError):
    """What is stored is not what was sent: the run is void."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file of random bytes, and its SHA-256."""

    path: Path
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Folder:
    """What is sent: `count` files below `path`, `size` bytes in all."""

    path: Path
    count: int
    size: int

    def files(self) -> list[Path]:
        return sorted(file for file in self.path.rglob("*") if file.is_file())


def content(seed: object, size: int) -> Iterator[bytes]:
    """Bytes that do not shrink, the same for the same seed."""
    made = Random(str(seed))  # noqa: S311 - what is sent is no secret
    for start in range(0, size, PIECE):
        yield made.randbytes(min(PIECE, size - start))


def make_source(path: Path, size: int) -> Source:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in content(f"source {size}", size):
            digest.update(piece)
            file.write(piece)
    return Source(path, size, digest.hexdigest())


def make_folder(path: Path, count: int, size: int) -> Folder:
    """`count` files of `size` bytes, at most 500 in a folder."""
    return _write(path, [size] * count)


def make_alike(path: Path, count: int, size: int) -> Folder:
    """The same, but each of the same bytes: a sender that has one body for all can send them."""
    return _write(path, [size] * count, alike=True)


def make_day(path: Path, count: int, size: int) -> Folder:
    """An instrument's day: sizes spread log-normally (one in 100 is 100 times the median), on average `size` bytes."""
    drawn = Random(f"day {count}")  # noqa: S311 - as above
    weights = [drawn.lognormvariate(0, math.log(100) / 2.33) for _ in range(count)]
    return _write(path, [max(1, round(count * size * weight / sum(weights))) for weight in weights])


def make_sparse(path: Path, size: int) -> Folder:
    """One file that takes hardly any room here: zeros, and 1 MiB that is not in every 64."""
    path.mkdir(parents=True)
    with (path / "000000").open("wb") as file:
        file.truncate(size)
        for number, piece in enumerate(content("sparse", math.ceil(size / (64 * PIECE)) * PIECE)):
            file.seek(number * 64 * PIECE)
            file.write(piece[: size - number * 64 * PIECE])
    return Folder(path, 1, size)


def _write(path: Path, sizes: list[int], *, alike: bool = False) -> Folder:
    for number, size in enumerate(sizes):
        file = path / f"{number // 500:03}" / f"{number:06}"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as written:
            for piece in content("alike" if alike else number, size):
                written.write(piece)
    return Folder(path, len(sizes), sum(sizes))


def fresh_name(prefix: str) -> str:
    """A name that no upload of this process had before."""
    return f"{prefix}-{os.getpid()}-{next(_serial)}"


def verify(peer: Peer, name: str, source: Source) -> None:
    """Raises `BytesLost` unless the peer stored exactly the source under that name."""
    try:
        with peer.stored(name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except LookupError as error:
        raise BytesLost(str(error)) from None
    if digest != source.digest:
        raise BytesLost(f"{peer.name} stored other bytes than were sent as {name}")


@dataclass(frozen=True, slots=True)
class SmallFiles:
    """As many paths as requests, all below a folder of a fresh name, and the list of them that h2load reads."""

    folder: str
    count: int
    urls: Path

    def verify(self, peer: Peer, source: Source) -> None:
        """Raises `BytesLost` unless each of the files holds exactly the source."""
        wanted = source.path.read_bytes()
        try:
            stored = [each for each in peer.stored(self.folder).iterdir() if each.is_file()]
        except LookupError as error:
            raise BytesLost(str(error)) from None
        right = sum(each.read_bytes() == wanted for each in stored)
        if right != self.count or len(stored) != self.count:
            raise BytesLost(f"{peer.name} stored {right} of {self.count} small files ({len(stored)} in the folder)")


def plan_small_files(peer: Peer, count: int, urls: Path) -> SmallFiles:
    folder = fresh_name("small")
    urls.write_text("".join(f"{peer.url(f'{folder}/{number:06}')}\n" for number in range(count)))
    return SmallFiles(folder, count, urls)
