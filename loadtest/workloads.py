"""What is sent, and proof that it arrived: one large file, or thousands of small ones under paths of their own."""

from __future__ import annotations

import hashlib
import itertools
import os
from dataclasses import dataclass
from pathlib import Path

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


def make_source(path: Path, size: int) -> Source:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, PIECE):
            piece = os.urandom(min(PIECE, size - start))
            digest.update(piece)
            file.write(piece)
    return Source(path, size, digest.hexdigest())


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
