"""Hashing beside the writing: in order, whoever does it; errors reach whoever waits; nothing of a block is kept."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from h2gate.storage.blocks import BLOCK, Blocks
from h2gate.storage.writer import Writer


@pytest.fixture
def blocks() -> Iterator[Blocks]:
    found = Blocks()
    yield found
    found.close()


class Where:
    """A tap that remembers in which thread it was fed, and waits until it may go on."""

    def __init__(self) -> None:
        self.thread = ""
        self.may_go_on = threading.Event()

    def update(self, data: memoryview | bytes, /) -> None:
        self.thread = threading.current_thread().name
        assert self.may_go_on.wait(10)


class Broken:
    def update(self, data: memoryview | bytes, /) -> None:
        raise ArithmeticError("no more")


def test_a_job_fills_two_blocks_in_turn_and_the_next_job_has_the_same(blocks: Blocks) -> None:
    with blocks.pair() as pair:
        first, second = pair.next(), pair.next()
        assert (len(first), len(second)) == (BLOCK, BLOCK)
        first[:], second[:] = b"1" * BLOCK, b"2" * BLOCK
        assert pair.next() is first
        assert pair.next() is second
        assert (first[0], second[-1]) == (ord("1"), ord("2"))
        with blocks.pair() as beside:
            other = beside.next()
            assert other is not first
            assert other is not second
    with blocks.pair() as pair, blocks.pair() as beside:
        found = [pair.next(), pair.next(), beside.next(), beside.next()]
    assert len({id(each) for each in found}) == 4
    assert {id(first), id(second)} < {id(each) for each in found}


def test_large_block_is_hashed_beside_and_a_small_one_by_whoever_has_it(blocks: Blocks) -> None:
    large, small = Where(), Where()
    small.may_go_on.set()
    with blocks.pair() as pair:
        view = pair.next()
        job = blocks.hash([large], view[:])
        large.may_go_on.set()  # not before: the call has come back while the tap is still at it
        job.wait()
        blocks.hash([small], view[:4096]).wait()
    assert large.thread.startswith("h2gate-hash")
    assert small.thread == threading.current_thread().name


class Places(threading.Semaphore):
    """One; tells when somebody waits for it."""

    def __init__(self) -> None:
        super().__init__(1)
        self.is_waited_for = threading.Event()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        if blocking:
            self.is_waited_for.set()
        return super().acquire(blocking, timeout)


def test_where_all_helpers_are_busy_whoever_writes_hashes(blocks: Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places()
    monkeypatch.setattr(blocks, "_computing", places)
    first, second = Where(), Where()
    second.may_go_on.set()
    with blocks.pair() as pair, ThreadPoolExecutor(1, "writer") as writer:
        view, other = pair.next(), pair.next()
        job = blocks.hash([first], view[:])
        waiting = writer.submit(lambda: blocks.hash([second], other[:]).wait())
        assert places.is_waited_for.wait(10)
        assert not second.thread, "there is no place for it yet"
        first.may_go_on.set()
        job.wait()
        waiting.result(10)
    assert first.thread.startswith("h2gate-hash")
    assert second.thread.startswith("writer")


def test_without_a_thread_it_is_hashed_all_the_same(blocks: Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    tap = Where()
    tap.may_go_on.set()
    with monkeypatch.context() as patched, blocks.pair() as pair:
        view = pair.next()
        patched.setattr(threading.Thread, "start", none)
        blocks.hash([tap], view[:]).wait()
    assert tap.thread == threading.current_thread().name


@pytest.mark.parametrize("n_bytes", [4096, BLOCK])
def test_error_of_a_tap_is_told_to_whoever_waits_and_the_next_is_hashed(blocks: Blocks, n_bytes: int) -> None:
    with blocks.pair() as pair:
        view = pair.next()
        job = blocks.hash([Broken()], view[:n_bytes])
        with pytest.raises(ArithmeticError):
            job.wait()
        right = hashlib.sha256()
        blocks.hash([right], view[:n_bytes]).wait()
        assert right.digest() == hashlib.sha256(view[:n_bytes]).digest()


def test_many_writers_share_the_blocks_and_each_digest_is_right(blocks: Blocks, tmp_path: Path) -> None:
    def write(number: int) -> None:
        content, digest = os.urandom(5 * BLOCK + 100 * number), hashlib.sha256()
        fd = os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT)
        try:
            writer = Writer(fd, 0, blocks, [digest], direct=True, fsync=False)
            for at in range(0, len(content), 700_000):
                writer.write([content[at : at + 700_000]])
            writer.finish()
            assert digest.digest() == hashlib.sha256(content).digest()
            assert Path(f"/proc/self/fd/{fd}").read_bytes() == content
        finally:
            os.close(fd)

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(write, range(16)))
