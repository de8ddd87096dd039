"""The Quart application. What carries files is served straight from ASGI (`_ROOMS`); pages by Quart.

Quart would drain every body into memory as fast as it comes; here no route but those in the rooms takes a body, and
those pull it (`asgi_http_class` is Quart's own hook for that).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from markupsafe import Markup
from quart import Quart, Response, redirect
from quart.asgi import ASGIHTTPConnection
from werkzeug.exceptions import HTTPException

from h2gate.errors import GateError, NotFound, from_code
from h2gate.front import cors, door, files, health, problem, resources, tus
from h2gate.front.deeds import Witness
from h2gate.front.page import page
from h2gate.front.request import Request
from h2gate.gateway import Gateway

Serve = Callable[[Request, Gateway], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Room:
    """What is served straight from ASGI."""

    serve: Serve
    admit: Serve
    """Its way in: raises for who may not come in."""


ROOMS: dict[bytes, Room] = {
    b"files": Room(files.serve, door.to_files),
    b"uploads": Room(resources.serve, door.to_uploads),
    b"tus": Room(tus.serve, door.to_tus),
}
"""By the first segment of the path."""
DESKS: dict[bytes, Room] = {
    b"/healthz": Room(health.healthz, door.open_to_all),
    b"/readyz": Room(health.readyz, door.open_to_all),
    b"/metrics": Room(health.scrape, door.to_metrics),
}
"""By the whole path."""


class Gate(Quart):
    """The application of one gateway."""

    gateway: Gateway
    witness: Witness


class GateConnection(ASGIHTTPConnection):
    """One request: to the files, or to Quart without its body."""

    async def __call__(self, receive: Any, send: Any) -> None:
        room = _room(self.scope["raw_path"])
        if room is not None:
            app = cast(Gate, self.app)
            request = Request(self.scope, receive, send)
            request.witness = app.witness
            with app.witness.watching(request):
                await _answer(request, room, app.gateway)
            return
        self.scope = _plain(self.scope)
        quart_request = self._create_request_from_scope(send)
        await self.handle_request(quart_request, send)


def _plain(scope: Any) -> Any:
    """Without what no page asks for and Quart answers with 500: a query that is not UTF-8, a host that can be none."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {**scope, "query_string": b"", "headers": [(b"host", b"h2gate"), *headers]}


def _room(raw_path: bytes) -> Room | None:
    """`/files` itself is Quart's, which redirects; the other rooms have their roots, with and without a slash.

    A target that does not begin with a slash (RFC 9112 section 3.2) is nowhere: it would be a second name for a file.
    """
    if not raw_path.startswith(b"/"):
        return _NOWHERE
    if (desk := DESKS.get(raw_path)) is not None:
        return desk
    name, slash, _ = raw_path[1:].partition(b"/")
    return ROOMS.get(name) if slash or name != b"files" else None


async def _nowhere(request: Request, gateway: Gateway) -> None:
    raise NotFound("the target is not a path")


_NOWHERE = Room(_nowhere, door.open_to_all)


async def _answer(request: Request, room: Room, gateway: Gateway) -> None:
    """Whatever is raised becomes a problem document, unless an answer had begun."""
    cors.allow(request, frozenset(gateway.settings.cors_origins))
    try:
        await room.admit(request, gateway)
        await room.serve(request, gateway)
    except Exception as error:
        if request.answering:
            raise
        await request.answer_error(error)


def create_app(gateway: Gateway) -> Gate:
    """The application for an opened gateway."""
    app = Gate("h2gate", static_folder=None)
    app.asgi_http_class = GateConnection
    app.gateway = gateway
    app.witness = Witness(gateway)
    app.config["RESPONSE_TIMEOUT"] = None
    app.add_url_rule("/", "front_page", _front_page)
    app.add_url_rule("/files", "files", lambda: redirect("/files/", 301))
    app.register_error_handler(HTTPException, _http_error)
    return app


def _front_page() -> Response:
    body = Markup("<p>An HTTP/2 upload gateway. <a href='/files/'>Files</a></p>")
    return Response(page("h2gate", body), content_type="text/html; charset=utf-8")


def _http_error(error: HTTPException) -> Response:
    """Quart's own errors (an unknown URL, say) in our form."""
    status = error.code or 500
    known: GateError = from_code("", status, error.description or "")
    return Response(problem.document(known), status=status, content_type=problem.MEDIA_TYPE)
