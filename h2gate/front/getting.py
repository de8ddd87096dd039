"""GET and HEAD of files (ranges, conditions) and folders (JSON, or HTML for who prefers it)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from h2gate.auth.rights import Action
from h2gate.errors import BadPath, Conflict, NotFound, RangeNotSatisfiable
from h2gate.fields import byte_range, check_conditions, moment
from h2gate.front.deeds import of_file
from h2gate.front.page import listing_page
from h2gate.front.plain import facts
from h2gate.front.request import Request, file_url
from h2gate.gateway import Gateway
from h2gate.storage.base import Entry
from h2gate.transfer.file import File
from h2gate.transfer.listing import Listed, Listings
from h2gate.transfer.uploads import Uploads

_TRIES = 8
_PIECE_BYTES = 64 << 10
_UNTRUSTED = [("x-content-type-options", "nosniff"), ("content-security-policy", "sandbox")]
"""What was uploaded is not ours to vouch for: as a page it must not act for who looks at it."""


async def get(request: Request, gateway: Gateway) -> None:
    """Answer with a file or a folder's listing. A folder named without its slash is redirected to."""
    path, is_folder = request.place
    if is_folder:
        if request.access.principal.rights.allow(Action.READ, path):
            await _list(request, gateway.listings, path)
        else:  # who may only HEAD, and would learn from the length how many others have put something there
            await gateway.listings.exists(path)
            await request.answer_more(200, [], b"", last=True)
        return
    uploads = gateway.uploads
    for tries_left in reversed(range(_TRIES)):
        file = await uploads.find(path)
        if file is None:
            await _redirect_to_folder(request, gateway.listings, path)
            return
        try:
            await _send(request, uploads, file)
            return
        except Conflict:  # replaced after it was found: another has its own size and digest
            if request.answering or not tries_left:
                raise


async def _send(request: Request, uploads: Uploads, file: File) -> None:
    headers = request.headers
    answer = [("accept-ranges", "bytes"), *facts(file)]
    answer += [(name, value) for name, value in file.fields.items() if name != "last-modified"]
    if "content-type" not in file.fields:
        answer.append(("content-type", "application/octet-stream"))
    answer += _UNTRUSTED
    if not check_conditions(headers, file.etag, file.identity.modified_ns, reading=True):
        await request.answer(304, answer)
        return
    start, stop = 0, file.size
    status = 200
    if request.method == "GET":
        try:
            found = byte_range(headers, file.etag, file.identity.modified_ns, file.size)
        except RangeNotSatisfiable as error:
            error.headers.append((b"content-range", f"bytes */{file.size}".encode()))
            raise
        if found is not None:
            status, (start, stop) = 206, found
            answer.append(("content-range", f"bytes {start}-{stop - 1}/{file.size}"))
    if request.method == "GET":
        request.did(replace(of_file("read", file), n_bytes=stop - start))
    await request.answer_stream(status, answer, stop - start, uploads.read(file, start, stop))


async def _redirect_to_folder(request: Request, listings: Listings, path: str) -> None:
    try:
        await listings.exists(path)
    except (NotFound, BadPath):
        raise NotFound(f"there is no /{path}") from None
    await request.answer(301, [("location", f"{file_url(path)}/")])


async def _list(request: Request, listings: Listings, folder: str) -> None:
    wanted = parse_accept_header(request.headers.get("accept", "*/*"), MIMEAccept)
    best = wanted.best_match(["application/json", "text/html"], "application/json")
    shown = f"{folder}/" if folder else ""
    is_html = best == "text/html"
    async with listings.page(folder, partial(_as_html if is_html else _as_json, shown)) as page:
        media_type = "text/html; charset=utf-8" if is_html else "application/json"
        fields = [("vary", "accept"), ("content-type", media_type)]
        await request.answer_stream(200, fields, len(page), _pieces(page))


def _as_html(shown: str, entries: Listed) -> bytes:
    return listing_page(shown, [(each.name, not file, (file or each).identity) for each, file in entries])


def _as_json(shown: str, entries: Listed) -> bytes:
    return json.dumps({"path": shown, "entries": [_told(*each) for each in entries]}).encode()


async def _pieces(page: bytes) -> AsyncGenerator[bytes, None]:
    """So that no more of it is queued than may be, and its room is held until it is read."""
    for at in range(0, len(page), _PIECE_BYTES):
        yield page[at : at + _PIECE_BYTES]


def _told(entry: Entry, file: File | None) -> dict[str, object]:
    if file is None:
        return {"name": entry.name, "type": "directory"}
    return {
        "name": entry.name,
        "type": "file",
        "size": file.size,
        "modified": moment(file.identity.modified_ns).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "etag": file.etag,
        "repr_digest": file.repr_digest,
    }
