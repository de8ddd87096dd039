"""multipart/form-data: the parts are those that one look at the whole body finds, however it is cut.

For what is well made Werkzeug's decoder is another oracle, fed in one piece: cut, it is wrong (`front/multipart.py`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from werkzeug.sansio import multipart as other

from h2gate.errors import GateError
from h2gate.front.form import Form
from h2gate.front.multipart import MAX_HEADER_BYTES, Content, End, Head, Splitter
from tests.fuzz.source import PiecesBody, Source, pieces

BOUNDARY = b"b"
Part = tuple[dict[str, str], bytes]


def run(data: bytes) -> None:
    source = Source(data)
    kind, cuts = source.number(2), source.cuts()
    if kind == 0:
        _any_body(source.rest(), cuts)
    elif kind == 1:
        _well_made(source, cuts)
    else:
        asyncio.run(_walked(source.rest(), cuts))


def split(body: bytes, cuts: Sequence[int]) -> tuple[list[Part], bool]:
    """The parts that are whole, and whether the form ended."""
    splitter, parts = Splitter(BOUNDARY), list[Part]()
    head: Head | None = None
    content = bytearray()
    for piece in pieces(body, cuts):
        splitter.feed(piece)
        while (event := splitter.next()) is not None:
            match event:
                case End():
                    assert head is None
                    return parts, True
                case Head():
                    assert head is None, "a part begins in another one"
                    head, content = event, bytearray()
                case Content(chunk, last):
                    assert head is not None
                    content += chunk
                    if last:
                        parts.append((head.headers, bytes(content)))
                        head = None
        assert len(splitter._buffer) <= MAX_HEADER_BYTES + 128, "more is held than may be needed"
    return parts, False


def outcome(body: bytes, cuts: Sequence[int]) -> tuple[list[Part], bool] | str:
    try:
        return split(body, cuts)
    except GateError as error:
        return str(error)


def _any_body(body: bytes, cuts: Sequence[int]) -> None:
    found = outcome(body, cuts)
    assert found == outcome(body, ()), "other parts when cut elsewhere"
    if isinstance(found, tuple):
        assert [content for _, content in found[0]] == _contents(body), "other parts than the whole body has"


def _contents(body: bytes) -> list[bytes]:
    """What RFC 2046 section 5.1.1 says of the whole body: what is in the parts, without the one that breaks off."""
    found, left, is_open = list[bytes](), b"\r\n" + body, False
    while boundary := re.search(rb"\r\n--%b(--|[ \t]{0,64}\r\n)" % re.escape(BOUNDARY), left):
        if is_open:
            found.append(left[2 : boundary.start()])
        _, header_end, rest = left[boundary.end() :].partition(b"\r\n\r\n")
        if boundary[1] == b"--" or not header_end:
            break
        left, is_open = b"\r\n" + rest, True  # the empty line may begin the next boundary as well
    return found


def _well_made(source: Source, cuts: Sequence[int]) -> None:
    parts: list[tuple[bytes, bytes]] = []
    while not source.is_empty and len(parts) < 20:
        n_name, n_bytes = source.number(20), source.number(3000)
        name = re.sub(rb"[^a-z0-9 ;=.%-]", b"_", source.taken(n_name))
        parts.append((name, source.taken(n_bytes).replace(b"--b", b"-_b")))
    lines = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"; filename=x\r\n\r\n%b\r\n' % (BOUNDARY, *each)
        for each in parts
    ]
    body = b"".join([*lines, b"--%b--\r\n" % BOUNDARY])
    found, is_whole = split(body, cuts)
    assert is_whole
    heads = [f'form-data; name="{name.decode()}"; filename=x' for name, _ in parts]
    assert [head["content-disposition"] for head, _ in found] == heads
    assert [content for _, content in found] == [content for _, content in parts]
    assert [content for _, content in found] == _contents_by_werkzeug(body)


def _contents_by_werkzeug(body: bytes) -> list[bytes]:
    decoder, found = other.MultipartDecoder(BOUNDARY), list[bytes]()
    decoder.receive_data(body)
    decoder.receive_data(None)
    while not isinstance(event := decoder.next_event(), other.Epilogue | other.NeedData):
        if isinstance(event, other.File | other.Field):
            found.append(b"")
        elif isinstance(event, other.Data):
            found[-1] += event.data
    return found


async def _walked(body: bytes, cuts: Sequence[int]) -> None:
    """By `Form`, with the dispositions read: the same however it is cut."""
    assert await _files(body, cuts) == await _files(body, ())


async def _files(body: bytes, cuts: Sequence[int]) -> tuple[list[tuple[str, str, bytes]], object]:
    form = Form(PiecesBody(body, cuts), f"multipart/form-data; boundary={BOUNDARY.decode()}")
    found: list[tuple[str, str, bytes]] = []
    try:
        while (part := await form.next_part()) is not None:
            content = b""
            while not part.over:
                batch = await part.body.pull()
                content += b"".join(batch.chunks)
            found.append((part.name, part.filename, content))
    except GateError as error:
        return found, error.code
    return found, form.fields
