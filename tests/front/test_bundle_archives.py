"""Bundles as programs make them, and members that nobody should make."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import httpx
import pytest

from h2gate.codec import tar
from tests.conftest import Serve
from tests.front.conftest import Curl, files_under
from tests.front.test_bundles import TAR, archive_of, lines, outcomes

MAKERS = [
    ["tar", "--format=gnu"],
    ["tar", "--format=pax"],
    ["tar", "--format=ustar"],
    ["tar", "--format=v7"],
    ["bsdtar", "--format=gnutar"],
    ["bsdtar", "--format=pax"],
    ["bsdtar", "--format=ustar"],
    ["bsdtar", "--format=v7tar"],
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Small files, a large one, a deep one, and a name that is not ASCII."""
    for name, size in (("small", 10), ("empty", 0), ("d e/p/large", 300_000), ("ümlaut/€", 3)):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return tmp_path / "tree"


@pytest.mark.parametrize("maker", MAKERS, ids=" ".join)
def test_archive_of_any_program_is_unpacked(
    http: httpx.Client, place: str, folder: Path, tree: Path, maker: list[str]
) -> None:
    if shutil.which(maker[0]) is None:
        pytest.skip(f"there is no {maker[0]}")
    made = subprocess.run([*maker, "-c", "-f", "-", "."], cwd=tree, check=True, capture_output=True)
    answer = http.post(f"{place}/", content=made.stdout, headers=TAR)
    assert lines(answer)[-1]["stored"] == 4
    assert subprocess.run(["diff", "-r", tree, folder], check=False).returncode == 0
    assert (folder / "small").stat().st_mtime == 1_700_000_000


def test_ten_thousand_files_by_tar_and_curl(curl: Curl, place: str, folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "many.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for number in range(10_000):
            info = tarfile.TarInfo(f"./d{number % 5}/{number}")
            info.size = 100 + number % 100
            archive.addfile(info, io.BytesIO(b"%03d" % (number % 1000) + bytes(info.size)))
    with (tmp_path / "many.tar").open("rb") as file:
        done = curl(f"{place}/", "-T", "-", "-H", "Content-Type: application/x-tar", stdin=file)
    assert b'"stored": 10000, "failed": 0' in done.stdout
    assert len(done.stdout.splitlines()) == 10_002  # with the summary and curl's status
    sizes = {int(path.name): path.stat().st_size for path in folder.glob("d*/*")}
    assert sizes == {number: 100 + number % 100 for number in range(10_000)}


def odd(kind: bytes, **more: object) -> bytes:
    """A member called "odd" that is no regular file."""
    info = tarfile.TarInfo("odd")
    info.type, info.linkname = kind, "/etc/passwd"
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def raw_name(name: bytes) -> bytes:
    """A member of this name and no bytes."""
    block = name.ljust(100, b"\0") + tar.header("", 0, 0)[100:]
    rest = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(rest) + block[156:]


def pax_sparse() -> bytes:
    info = tarfile.TarInfo("odd")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    return info.tobuf(tarfile.PAX_FORMAT)


HOSTILE = {
    "dot-dot": (raw_name(b"../odd"), "bad_path"),
    "dot-dot within": (raw_name(b"a/../../odd"), "bad_path"),
    "dot-dot after a dot": (raw_name(b"./../odd"), "bad_path"),
    "absolute": (raw_name(b"/odd"), "bad_path"),
    "no name": (raw_name(b""), "bad_path"),
    "an empty segment": (raw_name(b"a//odd"), "bad_path"),
    "a name too long": (archive_of(("o" * 256, b""), end=b""), "bad_path"),
    "a path too long": (archive_of(("o/" * 2000 + "o", b""), end=b""), "bad_path"),
    "too many segments": (archive_of(("o/" * 128 + "o", b""), end=b""), "bad_path"),
    "not UTF-8": (raw_name(b"odd\xff"), "bad_path"),
    "a line end": (raw_name(b"odd\n"), "bad_path"),
    "a delete": (raw_name(b"odd\x7f"), "bad_path"),
    "a slash at the end of a file's name": (tar.header("full/", 3, 0) + b"123" + tar.padding(3), "bad_path"),
    "a backslash": (raw_name(b"..\\odd"), "bad_path"),
    "a hard link": (odd(tarfile.LNKTYPE), "bad_path"),
    "a symbolic link": (odd(tarfile.SYMTYPE), "bad_path"),
    "a character device": (odd(tarfile.CHRTYPE, devmajor=1, devminor=3), "bad_path"),
    "a block device": (odd(tarfile.BLKTYPE), "bad_path"),
    "a pipe": (odd(tarfile.FIFOTYPE), "bad_path"),
    "GNU sparse": (odd(b"S"), "bad_path"),
    "pax sparse": (pax_sparse(), "bad_path"),
    "an unknown type": (odd(b"Z", size=700) + bytes(1024), "bad_path"),
    "a file where a folder is": (raw_name(b"inner"), "conflict"),
    "below a file": (raw_name(b"file/odd"), "conflict"),
    "a second of the name": (raw_name(b"first"), "conflict"),
    "another writing of the name": (raw_name(b"./first"), "conflict"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_member_is_told_and_the_rest_goes_on(http: httpx.Client, place: str, folder: Path, case: str) -> None:
    hostile, code = HOSTILE[case]
    (folder / "inner").mkdir(parents=True)
    (folder / "file").write_bytes(b"there")
    body = archive_of(("first", b"1"), end=b"") + hostile + archive_of(("last", b"2"))
    *told, summary = lines(http.put(f"{place}/", content=body, headers=TAR))
    assert [each["code"] for each in told if "code" in each] == [code]
    assert (summary["stored"], summary["failed"]) == (2, 1)
    assert files_under(folder) == ["file", "first", "last"]
    assert not (folder.parent / "odd").exists()
    assert [(folder / name).read_bytes() for name in ("first", "file", "last")] == [b"1", b"there", b"2"]


def test_symbolic_link_that_is_there_is_not_followed(
    http: httpx.Client, place: str, folder: Path, tmp_path: Path
) -> None:
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    answer = http.put(f"{place}/", content=archive_of(("link/a", b"1"), ("good", b"2")), headers=TAR)
    assert outcomes(answer) == {"link/a": "bad_path", "good": 201}
    assert list(tmp_path.iterdir()) == []


def test_folders_alone_are_not_kept(http: httpx.Client, place: str, folder: Path) -> None:
    info = tarfile.TarInfo("empty")
    info.type = tarfile.DIRTYPE
    answer = http.put(f"{place}/", content=info.tobuf() + tar.END, headers=TAR)
    assert lines(answer) == [{"summary": True, "stored": 0, "failed": 0, "bytes": 0}]
    assert not folder.exists()


def test_member_beyond_the_largest_body_is_refused_alone(serve: Serve) -> None:
    served = serve(max_body=1000)
    large = bytes(300_000)
    body = archive_of(("small", bytes(1000)), ("over", bytes(1001)), ("large", large), ("last", b""))
    answer = httpx.put(f"{served.plain_url}/files/in/", content=body, headers=TAR)
    assert outcomes(answer) == {"small": 201, "over": "too_large", "large": "too_large", "last": 201}


def test_members_beyond_the_limit_are_refused(serve: Serve) -> None:
    served = serve(max_bundle_members=2)
    body = archive_of(*((name, b"x") for name in "abcd"))
    answer = httpx.put(f"{served.plain_url}/files/in/", content=body, headers=TAR)
    assert outcomes(answer) == {"a": 201, "b": 201, "c": "too_large", "d": "too_large"}
