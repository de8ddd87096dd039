"""The writer's bytes: aligned or not, past the page cache or not, and after a disk that failed in the middle."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2gate.storage.blocks import ALIGNMENT, BLOCK, Blocks
from h2gate.storage.writer import Writer

LIMITS = settings(max_examples=60, deadline=None, database=None)
CHUNKS = st.lists(
    st.sampled_from([0, 1, ALIGNMENT - 1, ALIGNMENT, ALIGNMENT + 1, BLOCK - 1, BLOCK, BLOCK + 1])
    | st.integers(0, 9000),
    max_size=5,
)


class Seen:
    """A tap that keeps what it saw."""

    def __init__(self) -> None:
        self.data = b""

    def update(self, data: memoryview | bytes, /) -> None:
        self.data += bytes(data)


@pytest.fixture(scope="module")
def fd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    fd = os.open(tmp_path_factory.mktemp("writer") / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def content(fd: int) -> bytes:
    """What is in the file, read by another descriptor: this one may be past the page cache."""
    return Path(f"/proc/self/fd/{fd}").read_bytes()


@LIMITS
@given(
    before=st.sampled_from([0, 1, ALIGNMENT - 1, ALIGNMENT, ALIGNMENT + 1]) | st.integers(0, 9000),
    writes=st.lists(CHUNKS, max_size=4),
    direct=st.booleans(),
)
def test_bytes_land_behind_those_that_were_there_and_taps_see_what_is_written_and_no_more(
    fd: int, before: int, writes: Sequence[Sequence[int]], direct: bool
) -> None:
    whole = os.urandom(before + sum(map(sum, writes)))
    os.ftruncate(fd, 0)
    os.pwrite(fd, whole[:before], 0)
    seen = Seen()
    writer = Writer(fd, before, Blocks(), [seen], direct=direct, fsync=False)
    at = before
    for sizes in writes:
        chunks = []
        for size in sizes:
            chunks.append(whole[at : at + size])
            at += size
        writer.write(chunks)
        end = max(before, writer.offset)
        assert at - ALIGNMENT < end <= at
        assert seen.data == whole[before:end]
        assert content(fd) == whole[:end]
    writer.finish()
    assert writer.offset == len(whole)
    assert seen.data == whole[before:]
    assert content(fd) == whole


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("before", [0, 100])
def test_sync_in_between_keeps_what_is_held_back(fd: int, before: int, direct: bool) -> None:
    whole = os.urandom(before + 3 * 5000)
    os.ftruncate(fd, 0)
    os.pwrite(fd, whole[:before], 0)
    seen = Seen()
    writer = Writer(fd, before, Blocks(), [seen], direct=direct, fsync=True)
    for at in range(before, len(whole), 5000):
        writer.write([whole[at : at + 5000]])
        writer.sync()
        assert seen.data == whole[before : writer.offset]
    writer.flush()
    writer.sync()
    assert (content(fd), seen.data) == (whole, whole[before:])


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("written", [0, 4096, 5000])
def test_write_that_failed_leaves_nothing_to_be_written_behind_the_hole(
    fd: int, direct: bool, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = os.urandom(100), os.urandom(20_000)
    os.ftruncate(fd, 0)
    writer = Writer(fd, 0, Blocks(), [], direct=direct, fsync=False)
    writer.write([first])
    real, calls = os.pwrite, iter([written])

    def fails(fd: int, data: memoryview, offset: int) -> int:
        for size in calls:
            if size:
                return real(fd, data[:size], offset)
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fails)
        with pytest.raises(OSError, match="no space"):
            writer.write([second])
    writer.flush()
    assert content(fd) == (first + second)[: writer.offset]
    assert writer.offset <= 100 + written
