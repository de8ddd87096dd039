"""Words between workers: they arrive, they come from whoever says them, and who has ended is forgotten."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from h2gate.transfer.mailbox import Mailbox
from tests.conftest import n_descriptors


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(bounded())


class Heard:
    """A handler that can be waited for."""

    def __init__(self) -> None:
        self.words: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def __call__(self, word: str, upload_id: str) -> None:
        self.words.put_nowait((word, upload_id))


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_word_reaches_all_others_and_not_who_said_it(tmp_path: Path) -> None:
    async def test() -> None:
        heard = [Heard() for _ in range(3)]
        with ExitStack() as stack:
            boxes = [stack.enter_context(closing(Mailbox(tmp_path / "words", each))) for each in heard]
            boxes[0].tell("let-go", "id1")
            boxes[2].tell("changed", "id2")
            assert [await heard[1].words.get() for _ in range(2)] == [("let-go", "id1"), ("changed", "id2")]
            assert await heard[2].words.get() == ("let-go", "id1")
            assert await heard[0].words.get() == ("changed", "id2")
            assert all(each.words.empty() for each in heard)

    run(test)


def test_folder_with_a_name_longer_than_an_address_may_be_works(tmp_path: Path) -> None:
    async def test() -> None:
        folder = tmp_path / ("long" * 40)
        heard = Heard()
        with closing(Mailbox(folder, Heard())) as one, closing(Mailbox(folder, heard)):
            one.tell("changed", "id")
            assert await heard.words.get() == ("changed", "id")

    run(test)


def test_who_leaves_takes_his_name_and_his_descriptors_along(tmp_path: Path) -> None:
    async def test() -> None:
        before = n_descriptors()
        box = Mailbox(tmp_path, Heard())
        assert len(names(tmp_path)) == 1
        box.close()
        assert names(tmp_path) == []
        assert n_descriptors() == before

    run(test)


def test_name_of_a_worker_that_was_killed_is_removed_by_the_next_word(tmp_path: Path) -> None:
    async def test() -> None:
        with closing(Mailbox(tmp_path, Heard())) as box:
            mine = names(tmp_path)
            dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            dead.bind(str(tmp_path / "1-dead"))
            dead.close()
            box.tell("changed", "id")
            assert names(tmp_path) == mine

    run(test)


def test_worker_that_does_not_read_blocks_nobody_and_hears_again_later(tmp_path: Path) -> None:
    async def test() -> None:
        slow, quick = Heard(), Heard()
        with ExitStack() as stack:
            one = stack.enter_context(closing(Mailbox(tmp_path, Heard())))
            stack.enter_context(closing(Mailbox(tmp_path, slow)))
            for number in range(5000):  # in one turn of the loop, so that nobody reads
                one.tell("changed", f"{number}")
            assert len(names(tmp_path)) == 2
            stack.enter_context(closing(Mailbox(tmp_path, quick)))
            one.tell("changed", "last")
            assert await quick.words.get() == ("changed", "last")
            assert await slow.words.get() == ("changed", "0")
            one.tell("changed", "again")
            while await slow.words.get() != ("changed", "again"):
                pass

    run(test)


def test_what_is_no_text_hurts_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        heard = Heard()
        with closing(Mailbox(tmp_path, heard)) as box, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            (address,) = names(tmp_path)
            other.sendto(b"\xff\xfe", str(tmp_path / address))
            other.sendto(b"", str(tmp_path / address))
            other.sendto(b"let-go " + b"x" * 5000, str(tmp_path / address))
            for _ in range(2):
                await heard.words.get()
            word, upload_id = await heard.words.get()
            assert (word, len(upload_id)) == ("let-go", 512 - len("let-go "))
            box.tell("changed", "id")

    run(test)


def _say(folder: str) -> None:
    async def main() -> None:
        with closing(Mailbox(Path(folder), Heard())) as box:
            box.tell("let-go", f"{os.getpid()}")

    asyncio.run(main())


@pytest.mark.parametrize("n_workers", [1, 3])
def test_word_of_another_process_arrives(tmp_path: Path, n_workers: int) -> None:
    async def test() -> None:
        heard = Heard()
        with closing(Mailbox(tmp_path, heard)):
            context = multiprocessing.get_context("forkserver")
            workers = [context.Process(target=_say, args=(str(tmp_path),)) for _ in range(n_workers)]
            for each in workers:
                each.start()
            said = {(await heard.words.get())[1] for _ in workers}
            await asyncio.gather(*[asyncio.to_thread(each.join) for each in workers])
            assert {f"{each.pid}" for each in workers} == said
        assert names(tmp_path) == []

    run(test)
