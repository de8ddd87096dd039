"""`multipart/form-data` (RFC 7578), parsed while it streams: each file is a body that is pulled, stored like any other.

Werkzeug's decoder finds the boundaries; it never holds more than what one pull brought. Files are stored one after the
other, as they come; what was stored before the form broke stays, and the answer tells which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio import multipart

from h2gate.errors import BadForm, BodyCut, UnsupportedMediaType
from h2gate.upload import Batch, Body

MAX_PARTS = 10_000
MAX_FIELDS_BYTES = 65536
MAX_PART_HEADER_BYTES = 8192
_MAX_HELD_BYTES = 65536


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
    """Walks the parts of a form: `async for part in form`."""

    def __init__(self, body: Body, content_type: str) -> None:
        media_type, options = parse_options_header(content_type)
        boundary = options.get("boundary", "")
        if media_type.lower() != "multipart/form-data":
            raise UnsupportedMediaType("files are posted as multipart/form-data")
        if not boundary.isascii() or not 1 <= len(boundary) <= 70:
            raise BadForm("the form has no boundary (RFC 2046 section 5.1.1)")
        self._body = body
        self._decoder = multipart.MultipartDecoder(boundary.encode(), None, max_parts=MAX_PARTS)
        self._body_over = False
        self._fields_bytes = 0
        self.fields: dict[str, str] = {}
        """The form's fields that are not files, as far as they were read."""

    async def next_part(self) -> Part | None:
        """The next file, None at the end of the form. Raises `BadForm`, and whatever the body raises."""
        while self._decoder.state is not multipart.State.EPILOGUE:
            event = await self._event()
            if isinstance(event, multipart.Field):
                self.fields[event.name or ""] = await self._field(event.name or "")
            elif isinstance(event, multipart.File):
                return Part(event.name or "", event.filename, _headers(event), PartBody(self))
        await self._drop_rest()
        return None

    async def pull_part(self) -> Batch:
        """More of the part that is open; what one pull of the request's body brought of it."""
        chunks: list[bytes] = []
        while True:
            event = await self._event() if not chunks else self._ready()
            if isinstance(event, multipart.Data):
                if event.data:
                    chunks.append(bytes(event.data))
                if not event.more_data:
                    return Batch(chunks, sum(map(len, chunks)), True)
            elif chunks:
                return Batch(chunks, sum(map(len, chunks)), False)
            else:
                raise BadForm("a part of the form does not end")

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

    async def _event(self) -> multipart.Event:
        """The decoder's next event; pulls until there is one."""
        while (event := self._ready()) is None:
            if self._body_over:
                raise BodyCut("the form ends before its last boundary")
            batch = await self._body.pull()
            self._body_over = batch.last
            self._decoder.receive_data(b"".join(batch.chunks))
            if len(self._decoder.buffer) > _MAX_HELD_BYTES + batch.n_bytes:
                raise BadForm(f"the form has {_MAX_HELD_BYTES} bytes that are in no part, or in one part's header")
        return event

    def _ready(self) -> multipart.Event | None:
        try:
            event = self._decoder.next_event()
        except (ValueError, AttributeError, RequestEntityTooLarge) as error:
            raise BadForm(f"the form cannot be understood: {error}") from error
        if isinstance(event, (multipart.File, multipart.Field)):
            _check_header(event)
        return None if isinstance(event, multipart.NeedData) else event

    async def _drop_rest(self) -> None:
        """The epilogue says nothing (RFC 2046 section 5.1.1)."""
        while not self._body_over:
            self._body_over = (await self._body.pull()).last


def _check_header(part: multipart.File | multipart.Field) -> None:
    if sum(len(name) + len(value) for name, value in part.headers) > MAX_PART_HEADER_BYTES:
        raise BadForm(f"a part's header has more than {MAX_PART_HEADER_BYTES} bytes")


def _headers(part: multipart.File) -> dict[str, str]:
    """The part's fields as a request's are: each character a byte."""
    return {name.lower(): value.encode().decode("latin1") for name, value in part.headers}
