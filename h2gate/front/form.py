"""`multipart/form-data` (RFC 7578), parsed while it streams: each file is a body that is pulled, stored like any other.

Files are stored one after the other, as they come; what was stored before the form broke stays, and the answer tells
which. No more is held than what one pull brought.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from werkzeug.http import parse_options_header

from h2gate import effort
from h2gate.errors import BadForm, BodyCut, UnsupportedMediaType
from h2gate.front.multipart import Content, End, Head, Splitter
from h2gate.upload import Batch, Body

MAX_FIELDS_BYTES = 65536
PARTS_AT_ONCE = 32


@dataclass(slots=True)
class Part:
    """One file of the form. Its body must be pulled to its end before the next part is asked for."""

    name: str
    filename: str
    headers: Mapping[str, str]
    body: PartBody

    @property
    def over(self) -> bool:
        """Its body was pulled to the end."""
        return self.body.over


@dataclass(slots=True)
class PartBody:
    """The bytes of one part, as a body of unknown length."""

    form: Form
    length: int | None = None
    over: bool = False
    trailers: Sequence[tuple[bytes, bytes]] = field(default_factory=tuple)

    async def pull(self) -> Batch:
        batch = await self.form.pull_part()
        self.over = batch.last
        return batch


class Form:
    """Walks the files of a form with `next_part`."""

    def __init__(self, body: Body, content_type: str) -> None:
        media_type, options = parse_options_header(content_type)
        boundary = options.get("boundary", "")
        if media_type.lower() != "multipart/form-data":
            raise UnsupportedMediaType("files are posted as multipart/form-data")
        if not boundary.isascii() or not 1 <= len(boundary) <= 70:
            raise BadForm("the form has no boundary (RFC 2046 section 5.1.1)")
        self._body = body
        self._splitter = Splitter(boundary.encode())
        self._chunks: list[bytes] = []
        """Of the last pull, in the opposite order; not yet looked at."""
        self._body_over = False
        self._fields_bytes = 0
        self._n_parts = 0
        self.fields: dict[str, str] = {}
        """The form's fields that are not files, as far as they were read."""

    async def next_part(self) -> Part | None:
        """The next file, None at the end of the form. Raises `BadForm`, and whatever the body raises."""
        while not isinstance(event := await self._event(), End):
            if not isinstance(event, Head):
                raise ValueError("the part before was not pulled to its end")
            await self._begin_part()
            options = _disposition(event)
            name = options.get("name", "")
            if "filename" in options:
                return Part(name, options["filename"], event.headers, PartBody(self))
            self.fields[name] = await self._field(name)
        while not self._body_over:  # the epilogue says nothing (RFC 2046 section 5.1.1)
            self._body_over = (await self._body.pull()).last
        return None

    async def _begin_part(self) -> None:
        """A part costs as much as a small file, and thousands come in one pull: others have their turns in between."""
        self._n_parts += 1
        await effort.worth(effort.SMALL_SECONDS)
        if self._n_parts % PARTS_AT_ONCE == 0:
            await asyncio.sleep(0)

    async def pull_part(self) -> Batch:
        """More of the part that is open; what one pull of the request's body brought of it."""
        chunks: list[bytes] = []
        event: object = await self._event()
        while isinstance(event, Content):
            if event.data:
                chunks.append(event.data)
            if event.last:
                break
            event = self._ready()
        return Batch(chunks, sum(map(len, chunks)), isinstance(event, Content))

    async def _field(self, name: str) -> str:
        value = b""
        self._fields_bytes += len(name)
        while True:
            batch = await self.pull_part()
            value += b"".join(batch.chunks)
            self._fields_bytes += batch.n_bytes
            if self._fields_bytes > MAX_FIELDS_BYTES:
                raise BadForm(f"the fields of the form have more than {MAX_FIELDS_BYTES} bytes")
            if batch.last:
                return value.decode("utf-8", "replace")

    async def _event(self) -> Head | Content | End:
        """What comes next; pulls until that is known."""
        while (event := self._ready()) is None:
            if self._body_over:
                raise BodyCut("the form ends before its last boundary")
            batch = await self._body.pull()
            self._body_over = batch.last
            self._chunks = list(reversed(batch.chunks))
        return event

    def _ready(self) -> Head | Content | End | None:
        """What comes next, as far as the last pull tells."""
        while (event := self._splitter.next()) is None and self._chunks:
            self._splitter.feed(self._chunks.pop())
        return event


def _disposition(part: Head) -> dict[str, str]:
    """The parameters of the part's Content-Disposition, which is UTF-8 (RFC 7578 section 5.1)."""
    try:
        value = part.headers["content-disposition"].encode("latin1").decode()
    except (KeyError, UnicodeDecodeError):
        raise BadForm("a part's Content-Disposition is missing or not UTF-8") from None
    return parse_options_header(value)[1]
