"""A request of the upload dialects, straight from ASGI: Quart costs 239 us a request, this a few.

Reads fields once, answers in one go, and turns what was raised into a problem document.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from h2gate.auth.base import Evidence
from h2gate.errors import BadPath, GateError, MethodNotAllowed, PeerGone
from h2gate.front import problem
from h2gate.front.access import ANYONE
from h2gate.logs import Errand
from h2gate.transfer.grant import FREELY
from h2gate.upload import Batch, Body, checked_path

if TYPE_CHECKING:
    from h2gate.front.deeds import Deed, Witness

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Any
Send: TypeAlias = Any


PIECE_BYTES = 64 << 10
_ID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,100}")


class AsgiBody:
    """A `Body` over plain ASGI `receive`, for servers that have no `h2gate.body`."""

    trailers: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self, receive: Receive, length: int | None) -> None:
        self.length = length
        self._receive = receive

    async def pull(self) -> Batch:
        message = await self._receive()
        if message["type"] != "http.request":
            raise PeerGone
        body = message.get("body", b"")
        return Batch([body] if body else [], len(body), not message.get("more_body", False))


class Request:
    """Method, path, fields (lower-case names; repeated ones joined by commas, RFC 9110 section 5.3) and body."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.raw_path: bytes = scope["raw_path"]
        self.headers = joined(scope["headers"])
        self.access = ANYONE
        """What whoever asks may do; the door has found it out."""
        self.grant = FREELY
        """For a request that goes on with an upload: by what right."""
        self._scope = scope
        self._query: bytes = scope["query_string"]
        self.answering = False
        """The answer has begun: an error can no longer be told in it."""
        self.errand = Errand(_request_id(self.headers.get("x-request-id")))
        self.began_at = time.time()
        self.status = 0
        """Of the answer, once it has begun."""
        self.code = ""
        """Of the error that is the answer."""
        self.witness: Witness | None = None
        self._deed: Deed | None = None
        self._place: tuple[str, bool] | None = None
        self.also: list[tuple[str, str]] = []
        """Fields that every answer to this request carries, errors too."""
        self._receive = receive
        self._send = send
        if "x-request-id" in self.headers or self.method not in ("GET", "HEAD"):
            self._tell_id()
        self._can_inform = "http.response.informational" in scope["extensions"]
        body = scope["extensions"].get("h2gate.body")
        if body is None:
            length = self.headers.get("content-length")
            body = AsgiBody(receive, int(length) if length is not None else None)
        self.body: Body = body
        self.known_as: Callable[[str], None] = scope["extensions"].get("h2gate.known_as", lambda _: None)
        """Tells the server who sends, so that it serves the one beside the others."""

    @property
    def place(self) -> tuple[str, bool]:
        """`file_path` of the target."""
        if self._place is None:
            self._place = file_path(self.raw_path)
        return self._place

    @property
    def query(self) -> dict[str, str]:
        """What follows the question mark, decoded; of a name that is repeated the last."""
        return dict(parse_qsl(self._query.decode("latin1"), keep_blank_values=True))

    def evidence(self, method: str = "") -> Evidence:
        """By what whoever asks may be recognised. `method` is what is to be done, where the request is called
        otherwise (`X-HTTP-Method-Override`)."""
        scope, headers = self._scope, self.headers
        target = b"%b?%b" % (self.raw_path, self._query) if self._query else self.raw_path
        certificate: bytes | None = scope["extensions"].get("h2gate.certificate")
        return Evidence(
            method or self.method,
            target.decode("latin1"),
            headers,
            self.peer,
            certificate,
            scope["scheme"] == "https",
            headers.get("host", ""),
        )

    @property
    def peer(self) -> str:
        """The address that it came from."""
        client = self._scope["client"]
        return client[0] if client else ""

    def _tell_id(self) -> None:
        """In the answer; not in one that might be kept by a cache and given to others."""
        told = ("x-request-id", self.errand.request_id)
        if told not in self.also:
            self.also.append(told)

    def did(self, deed: Deed) -> None:
        """What was done: it is written down before the answer tells of it."""
        self._deed = deed
        self.errand.upload_id = deed.upload_id or self.errand.upload_id

    async def stored(self, deed: Deed, status: int) -> Mapping[str, str]:
        """Of several things that one request does, one: what the answer is to say of it besides."""
        receipt = await self.witness.done(self, deed, status) if self.witness is not None else ""
        return {"receipt": receipt} if receipt else {}

    async def refused(self, error: GateError, path: str) -> None:
        """Of several things that one request does, one was not."""
        if self.witness is not None:
            await self.witness.refused(self, error, path)

    async def _witnessed(self, status: int) -> Sequence[tuple[str, str]]:
        """Fields for the answer. Raises where what was done cannot be written down."""
        deed, self._deed = self._deed, None
        if deed is None or self.witness is None or status >= 400:
            return ()
        receipt = await self.witness.done(self, deed, status)
        return [("upload-receipt", receipt), ("preference-applied", "receipt")] if receipt else ()

    async def left(self) -> None:
        """Returns when the peer has gone away. For requests without a body; what is there of one is dropped."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def inform(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """An interim response (1xx), where the server can send one; HTTP/1.0 clients get none."""
        if self._can_inform:
            lines = [(name.encode(), value.encode("latin1", "replace")) for name, value in headers]
            await self._send({"type": "http.response.informational", "status": status, "headers": lines})

    def _lines(self, headers: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
        return [(name.encode(), value.encode("latin1", "replace")) for name, value in [*headers, *self.also]]

    async def answer(
        self, status: int, headers: Sequence[tuple[str, str]] = (), content: bytes = b"", media_type: str = ""
    ) -> None:
        """The whole answer. What was done is written down before; where that fails, this raises `AuditFailed`."""
        lines = self._lines([*headers, *await self._witnessed(status)])
        if status not in (204, 304):
            lines.append((b"content-length", b"%d" % len(content)))
        if media_type:
            lines.append((b"content-type", media_type.encode()))
        self.answering, self.status = True, status
        await self._send({"type": "http.response.start", "status": status, "headers": lines})
        for stop in range(PIECE_BYTES, len(content), PIECE_BYTES):  # a long one is held here, not by the connection
            piece = content[stop - PIECE_BYTES : stop]
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        rest = content[(len(content) - 1) // PIECE_BYTES * PIECE_BYTES :] if content else b""
        await self._send({"type": "http.response.body", "body": rest})

    async def answer_stream(
        self, status: int, headers: Sequence[tuple[str, str]], length: int, content: AsyncGenerator[bytes, None]
    ) -> None:
        """An answer of `length` bytes as they come; the first of them are awaited before anything is sent."""
        lines = self._lines([*headers, *await self._witnessed(status)])
        lines.append((b"content-length", b"%d" % length))
        async with aclosing(content):
            first = b"" if self.method == "HEAD" else await anext(content, b"")
            self.answering, self.status = True, status
            await self._send({"type": "http.response.start", "status": status, "headers": lines})
            sent = len(first)
            if self.method == "HEAD" or sent == length:
                await self._send({"type": "http.response.body", "body": first})
                return
            await self._send({"type": "http.response.body", "body": first, "more_body": True})
            async for chunk in content:
                sent += len(chunk)
                await self._send({"type": "http.response.body", "body": chunk, "more_body": sent < length})

    async def answer_more(self, status: int, headers: Sequence[tuple[str, str]], content: bytes, *, last: bool) -> None:
        """A piece of an answer whose length is not known; the first one begins it."""
        if not self.answering:
            self.answering, self.status = True, status
            await self._send({"type": "http.response.start", "status": status, "headers": self._lines(headers)})
        await self._send({"type": "http.response.body", "body": content, "more_body": not last})

    async def answer_json(self, status: int, value: object, headers: Sequence[tuple[str, str]] = ()) -> None:
        """The whole answer, as JSON."""
        await self.answer(status, headers, json.dumps(value).encode(), "application/json")

    async def answer_error(self, error: Exception) -> None:
        """The problem document of what was raised."""
        known = problem.of(error, f"{self.method} {self.raw_path.decode('latin1')}")
        self.code = known.code
        self._tell_id()
        if self.witness is not None:
            await self.witness.refused(self, known)
        headers = [(name.decode(), value.decode("latin1")) for name, value in known.headers]
        if isinstance(known, MethodNotAllowed):
            headers.append(("allow", str(known.members.get("allow", ""))))
        if known.retry_after_seconds:
            headers.append(("retry-after", str(known.retry_after_seconds)))
        await self.answer(known.status, headers, problem.document(known), problem.MEDIA_TYPE)


def _request_id(given: str | None) -> str:
    """Whoever asks may bring an id, if it can be written anywhere as it is."""
    return given if given is not None and _ID.fullmatch(given) else secrets.token_hex(8)


_BETWEEN = {"cookie": "; "}
"""HTTP/2 lets a client send each cookie in a line of its own (RFC 9113 section 8.2.3)."""


def joined(lines: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Field lines as one value a name."""
    found: dict[str, str] = {}
    for name, value in lines:
        key, text = name.decode("latin1"), value.decode("latin1")
        found[key] = f"{found[key]}{_BETWEEN.get(key, ', ')}{text}" if key in found else text
    return found


def file_path(raw_path: bytes, prefix: bytes = b"/files/") -> tuple[str, bool]:
    """The path of a file or folder under `prefix`, and whether it ends in a slash. Raises `BadPath`.

    Each segment is decoded on its own, so that an encoded slash is a character of a name, and refused.
    """
    rest = raw_path.removeprefix(prefix)
    is_folder = rest.endswith(b"/") or not rest
    if rest == b"/":
        raise BadPath("the path has an empty segment")
    segments = [unquote_to_bytes(each) for each in rest.removesuffix(b"/").split(b"/")]
    if any(b"/" in each for each in segments):
        raise BadPath("the path has an encoded slash")
    try:
        text = "/".join(each.decode() for each in segments)
    except UnicodeDecodeError:
        raise BadPath("the path is not UTF-8") from None
    return checked_path(text), is_folder


def file_url(path: str) -> str:
    """The path of the URL of a file."""
    return f"/files/{quote(path)}"
