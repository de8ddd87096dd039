"""Tickets at /tickets/: made by who may do themselves what a ticket allows, looked at and revoked by who made them; and
the page that somebody with a ticket sees at its URL, which is a form and needs no script.

A ticket in a URL is a secret in a URL: answers ask browsers and caches to tell nobody.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from h2gate.auth.base import Via
from h2gate.auth.rights import Action
from h2gate.auth.ticket import Issuing, Ticket, text_in, url, wanted
from h2gate.errors import BadTicket, Forbidden, MethodNotAllowed, NotFound, TooLarge
from h2gate.fields import moment
from h2gate.front.deeds import Deed
from h2gate.front.page import page
from h2gate.front.request import Request
from h2gate.gateway import Gateway
from h2gate.ledger.base import Usage

ROOTS = (b"/tickets", b"/tickets/")
_ID = re.compile(rb"/tickets/([0-9a-f]{16})")
_MAX_BODY_BYTES = 16384
_REVOKED_SECONDS = 10 * 366 * 86400.0
"""For so long a ticket is known to be revoked that was made without a gateway: when it expires only itself can say, and
`max_seconds` may have been longer then."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

Handler = Callable[[Request, Gateway, Issuing], Awaitable[None]]


async def serve(request: Request, gateway: Gateway) -> None:
    """Answer a request under /tickets/."""
    handlers = _OF_ALL if request.raw_path in ROOTS else _OF_ONE
    allow = ", ".join([*handlers, "OPTIONS"])
    request.also.append(("cache-control", "no-store"))
    if request.method == "OPTIONS":
        await request.answer(204, [("allow", allow)])
        return
    if request.method not in handlers:
        raise MethodNotAllowed(f"{request.method} is not for tickets", allow=allow)
    if gateway.tickets is None:
        raise NotFound("no tickets are made here")
    await handlers[request.method](request, gateway, gateway.tickets)


async def _post(request: Request, gateway: Gateway, issuing: Issuing) -> None:
    """Make one. Raises `BadTicket`, `Forbidden`, `NotFound`."""
    access = request.access
    by = access.principal
    claims = await _claims(request)
    asked = wanted(claims, tenant=by.tenant, issuer=by.name, max_seconds=issuing.max_seconds)
    access.require(Action.CREATE, asked.folder)
    asked = asked.within(by)
    ticket = replace(asked, folder=access.below_root(asked.folder))
    text = issuing.keys.sign(ticket)
    await gateway.quotas.issued(ticket)
    request.did(Deed(event="issue", path=asked.folder, detail=f"ticket:{ticket.id}"))
    answer = {**told(asked), "ticket": text, "url": url(asked.folder, text)}
    await request.answer_json(201, answer, [("location", f"/tickets/{ticket.id}")])


async def _claims(request: Request) -> dict[str, Any]:
    content = b""
    is_over = False
    while not is_over:
        batch = await request.body.pull()
        is_over = batch.last
        if len(content) + batch.n_bytes > _MAX_BODY_BYTES:
            raise TooLarge("what a ticket is to allow can be said in less", max_bytes=_MAX_BODY_BYTES)
        content += b"".join(batch.chunks)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise BadTicket("not JSON") from None
    if not isinstance(found, dict):
        raise BadTicket("not an object")
    return found


def told(ticket: Ticket) -> dict[str, object]:
    """What its maker is told of it."""
    limits = {"max_bytes": ticket.max_bytes, "max_files": ticket.max_files, "max_file_bytes": ticket.max_file_bytes}
    return {
        "id": ticket.id,
        "folder": ticket.folder,
        "names": list(ticket.names),
        **{name: value for name, value in limits.items() if value is not None},
        "expires": _moment(ticket.expires_at),
    }


def _moment(seconds: float) -> str:
    return f"{moment(int(seconds) * 10**9):%Y-%m-%dT%H:%M:%SZ}"


async def _get(request: Request, gateway: Gateway, _: Issuing) -> None:
    """How much was stored with it."""
    ticket_id, used = await _own(request, gateway)
    if used == Usage():
        raise NotFound("nothing is known of such a ticket")
    answer = {"id": ticket_id, "bytes": used.n_bytes, "files": used.n_files, "revoked": used.is_closed}
    if used.expires_at is not None:
        answer["expires"] = _moment(used.expires_at)
    await request.answer_json(200, answer)


async def _delete(request: Request, gateway: Gateway, issuing: Issuing) -> None:
    """Revoke it."""
    ticket_id, _ = await _own(request, gateway)
    await gateway.quotas.revoke(ticket_id, time.time() + max(issuing.max_seconds, _REVOKED_SECONDS))
    request.did(Deed(event="revoke", detail=f"ticket:{ticket_id}"))
    await request.answer(204)


async def _own(request: Request, gateway: Gateway) -> tuple[str, Usage]:
    """Whoever may change everything may see and revoke every ticket, also those that were made without a gateway."""
    found = _ID.fullmatch(request.raw_path)
    by = request.access.principal
    if found is not None:
        ticket_id = found[1].decode()
        used = await gateway.quotas.used(ticket_id)
        if used.issuer == by.name or (by.rights.allow(Action.MODIFY, "")):
            return ticket_id, used
    raise NotFound("there is no such ticket")


_OF_ALL: dict[str, Handler] = {"POST": _post}
_OF_ONE: dict[str, Handler] = {"GET": _get, "DELETE": _delete}


def admit(request: Request) -> None:
    """Raises `Forbidden` for who can make no ticket: a ticket makes no others."""
    if request.access.principal.via is Via.TICKET:
        raise Forbidden("a ticket makes no others")


# -- in a browser


def is_form(request: Request) -> bool:
    """Whether somebody with a ticket looks at its URL."""
    is_folder = request.method in ("GET", "HEAD") and request.raw_path.endswith(b"/")
    return is_folder and _in_url(request) is not None


def suffix(request: Request) -> str:
    """What the URL of an upload needs so that it can be gone on with by who has but a ticket in the URL."""
    text = _in_url(request)
    return f"?ticket={text}" if text is not None else ""


def _in_url(request: Request) -> str | None:
    """The ticket in the URL, where that was the credential: it is signed. What else is called so there is but text, and
    could be anything, also the end of a field."""
    is_credential = request.access.principal.via is Via.TICKET and "authorization" not in request.headers
    return text_in(request.evidence()) if is_credential else None


async def form(request: Request, gateway: Gateway) -> None:
    """The page with the form. Raises `Forbidden`, `NotFound` where the ticket is for another folder."""
    folder, _ = request.place
    request.access.require_below(Action.CREATE, folder)
    by = request.access.principal
    used = await gateway.quotas.used(by.credential)
    lines = [f"Until {_moment(by.expires_at)}" if by.expires_at is not None else ""]
    if by.max_files is not None:
        lines.append(f"{max(0, by.max_files - used.n_files)} files")
    if by.max_bytes is not None:
        lines.append(f"{max(0, by.max_bytes - used.n_bytes):,} bytes")
    if by.max_file_bytes is not None:
        lines.append(f"each at most {by.max_file_bytes:,} bytes")
    body = Markup("<p>{}</p>").format(", ".join(filter(None, lines))) + _form(one=by.max_files == 1)
    await _answer(request, 200, page(f"Upload to {folder}/", body))


def _form(*, one: bool) -> Markup:
    return Markup(
        "<form method=post enctype=multipart/form-data><label>{} <input type=file name=file {} required></label>"
        " <button>Upload</button></form>"
    ).format("File" if one else "Files", "" if one else "multiple")


async def answer_outcomes(request: Request, status: int, outcomes: list[dict[str, object]]) -> None:
    """What became of the files of the form, for somebody who reads it in a browser."""
    rows = [Markup("<li>{}: {}").format(each.get("name", ""), each.get("detail", "stored")) for each in outcomes]
    body = Markup("<ul>{}</ul>").format(Markup("").join(rows)) + Markup("<p><a href=''>More files</a></p>")
    await _answer(request, status, page("Uploaded", body))


def wants_page(request: Request) -> bool:
    """Whether the form was sent by a browser with a ticket."""
    return request.access.principal.via is Via.TICKET and "text/html" in request.headers.get("accept", "")


async def _answer(request: Request, status: int, content: bytes) -> None:
    fields = [("content-security-policy", _POLICY), ("x-content-type-options", "nosniff")]
    await request.answer(status, fields, content if request.method != "HEAD" else b"", "text/html; charset=utf-8")
