"""Request targets: what is accepted names one file in the data folder, what differs beyond percent-encoding another.

From the request line to the path: `server/exchange`, `front/app.py`, `front/request.py`, `upload.checked_path`.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import unquote_to_bytes

from h2gate.config import Settings
from h2gate.errors import GateError
from h2gate.front import files
from h2gate.front.app import _room
from h2gate.front.request import Request, file_path, file_url
from h2gate.server.exchange import Exchange, Message
from h2gate.server.scope import scope_of
from h2gate.upload import MAX_PATH_BYTES, MAX_SEGMENT_BYTES, MAX_SEGMENTS, checked_path
from tests.fuzz.source import Source

ROOT = PurePosixPath("/data/files")

SETTINGS = Settings()


def run(data: bytes) -> None:
    source = Source(data)
    kind = source.number(2)
    if kind == 0:
        _text(source)
    elif kind == 1:
        _one(source.rest())
    else:
        first, _, second = source.rest().partition(b"\n")
        _two(first, second)


def stored(target: bytes) -> str | None:
    """The path under which a PUT with this target stores, None if it doesn't."""
    found = scope(target)
    assert isinstance(found["path"], str)
    request = Request(found, None, None)
    assert all(isinstance(value, str) for value in request.query.values())
    if _room(request.raw_path) is not files.serve:
        return None
    try:
        path, is_folder = file_path(request.raw_path)
    except GateError as error:
        assert error.status == 400
        return None
    return None if is_folder else path


def scope(target: bytes) -> Message:
    """As the server makes it."""
    exchange = _Unanswered("PUT", target, [], SETTINGS, lambda limit, what: None)
    return scope_of(exchange, version="2", scheme="https", headers=[], client=None, server=None)


def _one(target: bytes) -> None:
    path = stored(target)
    if path is None:
        return
    place = ROOT / path
    assert ROOT in place.parents, "outside of the folder"
    assert str(place.relative_to(ROOT)) == path, "another name for it"
    assert ".." not in place.parts
    assert path.isprintable() or not any(char < " " or char == "\x7f" for char in path)
    names = path.split("/")
    assert len(names) <= MAX_SEGMENTS
    assert all(0 < len(name.encode()) <= MAX_SEGMENT_BYTES for name in names)
    assert len(path.encode()) <= MAX_PATH_BYTES
    assert stored(file_url(path).encode()) == path, "its own URL names another file"


def _two(first: bytes, second: bytes) -> None:
    one, other = stored(first), stored(second)
    if one is None or other is None or one != other:
        return
    assert _same(first, second), f"{first!r} and {second!r} are one file"


def _same(first: bytes, second: bytes) -> bool:
    """Whether two targets differ at most in scheme, authority, percent-encoding and query (RFC 9110 section 4.2.3)."""
    return unquote_to_bytes(_path(first)) == unquote_to_bytes(_path(second))


def _path(target: bytes) -> bytes:
    scheme, mark, rest = target.partition(b"://")
    if mark and scheme.lower() in (b"http", b"https"):
        end = min((at for sign in b"/?" if (at := rest.find(sign)) >= 0), default=len(rest))
        target = rest[end:]
    return target.partition(b"?")[0]


def _text(source: Source) -> None:
    text = source.rest().decode("utf-8", "surrogateescape")
    try:
        path = checked_path(text)
    except GateError as error:
        assert error.status == 400
        return
    assert path == text
    assert file_path(file_url(path).encode()) == (path, not path)
    if path:
        assert str(PurePosixPath(path)) == path
        _one(file_url(path).encode())


class _Unanswered(Exchange):
    """A request that nobody serves."""

    def _fair_bytes(self) -> int:
        raise NotImplementedError

    def _consumed(self, n_bytes: int) -> None:
        raise NotImplementedError

    def _dropped(self, n_bytes: int) -> None:
        raise NotImplementedError

    def _wake_later(self) -> None:
        raise NotImplementedError

    async def _inform(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        raise NotImplementedError

    async def _respond(self, status: int, headers: list[tuple[bytes, bytes]], data: bytes, *, last: bool) -> None:
        raise NotImplementedError

    async def _continue(self, data: bytes, *, last: bool) -> None:
        raise NotImplementedError

    def _break_off(self) -> None:
        raise NotImplementedError

    def _abort(self) -> None:
        raise NotImplementedError
