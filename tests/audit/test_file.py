"""The file of the log: one chain whoever appends to it, whatever is torn off, full or failing."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from h2gate.audit.chain import decode
from h2gate.audit.file import LogFile, head_path, older
from h2gate.audit.verifying import verify
from h2gate.errors import AuditFailed, StorageFull

LARGE = 1 << 20


def open_log(path: Path, max_bytes: int = LARGE, **options: Any) -> LogFile:
    return LogFile(path, max_bytes=max_bytes, durable=True, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "audit.jsonl"


@pytest.fixture
def log(path: Path) -> Iterator[LogFile]:
    found = open_log(path)
    yield found
    found.close()


def members(n: int, name: str = "") -> list[dict[str, object]]:
    return [{"event": "create", "path": f"{name}{number}"} for number in range(n)]


def events(path: Path) -> list[str]:
    lines = [decode(line) for line in path.read_bytes().splitlines()]
    return [line.members["event"] for line in lines if line is not None]


def test_lines_are_numbered_in_order_and_verify(log: LogFile, path: Path) -> None:
    assert [link.seq for link in [*log.append(members(3)), *log.append(members(2))]] == [1, 2, 3, 4, 5]
    report = verify([path.parent])
    assert (report.faults, report.last.seq) == ([], 5)


def test_a_log_that_is_opened_again_goes_on_with_its_chain(log: LogFile, path: Path) -> None:
    log.append(members(3))
    again = open_log(path)
    assert again.append(members(1))[0].seq == 4
    again.close()
    assert log.append(members(1))[0].seq == 5
    assert verify([path]).faults == []


@pytest.mark.parametrize("n_bytes", [1, 40, -1, -2])
def test_a_line_that_was_torn_off_stays_and_is_sealed(log: LogFile, path: Path, n_bytes: int) -> None:
    log.append(members(2))
    whole = path.read_bytes()
    torn = whole.splitlines(keepends=True)[-1][:n_bytes]
    path.write_bytes(whole + torn)
    assert log.append(members(1))[0].seq == 4
    assert path.read_bytes().startswith(whole + torn + b"~\n")
    report = verify([path])
    assert report.faults == []
    assert f"{len(torn)} bytes of a line that was never finished" in report.notes[0]
    assert events(path) == ["create", "create", "sealed", "create"]


def test_a_first_line_that_was_torn_off_is_sealed_too(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"seq":1,"ti')
    log = open_log(path)
    log.append(members(1))
    log.close()
    assert verify([path]).faults == []
    assert events(path) == ["sealed", "create"]


def test_sealed_bytes_that_are_changed_are_found(log: LogFile, path: Path) -> None:
    log.append(members(1))
    path.write_bytes(path.read_bytes() + b"torn off")
    log.append(members(1))
    path.write_bytes(path.read_bytes().replace(b"torn off", b"torn ofg"))
    assert verify([path]).faults


def test_a_full_file_is_put_aside_and_the_chain_goes_on_in_the_next(path: Path) -> None:
    log = open_log(path, max_bytes=2000)
    for number in range(30):
        log.append(members(1, f"{number}-"))
    log.close()
    files = older(path)
    assert len(files) >= 2
    report = verify([path.parent])
    assert (report.faults, report.n_lines) == ([], 30)
    assert verify([*files[1:], path]).faults, "a file is missing"
    assert verify([path, *reversed(files)]).faults == [], "in whatever order they are named"


def test_after_a_crash_between_two_files_the_chain_goes_on(path: Path) -> None:
    log = open_log(path, max_bytes=2000)
    last = [log.append(members(1, f"{number}-"))[0] for number in range(30)][-1]
    log.close()
    path.rename(path.with_name(f"audit-{last.seq:012d}.jsonl"))
    again = open_log(path)
    assert again.append(members(1))[0].seq == last.seq + 1
    again.close()
    assert verify([path.parent]).faults == []


def test_two_who_hold_it_append_to_one_chain_across_files(path: Path) -> None:
    logs = [open_log(path, max_bytes=2000) for _ in range(2)]
    seqs = [logs[number % 2].append(members(1))[0].seq for number in range(40)]
    for log in logs:
        log.close()
    assert seqs == list(range(1, 41))
    assert verify([path.parent]).faults == []


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, StorageFull), (errno.EIO, AuditFailed)])
@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_lines_that_could_not_be_written_are_not_there_and_the_next_are(
    log: LogFile, path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, error: type[Exception]
) -> None:
    log.append(members(1))
    write = os.write

    def fail(fd: int, *data: memoryview) -> int:
        if call == "write":
            write(fd, data[0][:20])
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(error):
            log.append(members(2, "lost"))
    assert log.append(members(1))[0].seq == 2
    assert verify([path]).faults == []
    assert b"lost" not in path.read_bytes()


def test_the_head_is_beside_the_log_when_it_is_closed(path: Path) -> None:
    log = open_log(path, write_head=lambda link, _: f"{link.seq} {link.hash}")
    log.append(members(1))
    (last,) = log.append(members(1))
    log.close()
    assert head_path(path).read_text() == f"{last.seq} {last.hash}\n"


def _append_without_end(path: Path, name: str, told: Any) -> None:
    log = open_log(path, max_bytes=20_000)
    number = 0
    while True:
        log.append([{"event": "create", "path": f"{name}-{number}"}, {"event": "create", "path": f"{name}-{number}b"}])
        told.send(number)
        number += 1


def test_processes_that_are_killed_while_they_append_leave_one_chain_with_all_that_was_told(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    expected = []
    for turn in range(2):
        workers = []
        for index in range(3):
            ours, theirs = context.Pipe(duplex=False)
            name = f"{turn}.{index}"
            process = context.Process(target=_append_without_end, args=(path, name, theirs))
            process.start()
            theirs.close()
            workers.append((process, ours, name))
        for process, ours, name in workers:
            n_told = 0
            while n_told < 30 and ours.poll(30):
                n_told = ours.recv() + 1
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            try:
                while ours.poll():
                    n_told = ours.recv() + 1
            except EOFError:
                pass
            assert n_told >= 30
            expected += [f"{name}-{number}" for number in range(n_told)]
    log = open_log(path)
    log.append(members(1))
    log.close()
    assert verify([path.parent]).faults == []
    text = b"".join(each.read_bytes() for each in [*older(path), path]).decode()
    assert [each for each in expected if f'"{each}"' not in text] == []
