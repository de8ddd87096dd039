"""The Quart application. What carries files is served straight from ASGI (`_ROOMS`); pages by Quart.

Quart would drain every body into memory as fast as it comes; here no route but those in the rooms takes a body, and
those pull it (`asgi_http_class` is Quart's own hook for that).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from markupsafe import Markup
from quart import Quart, Response, redirect
from quart.asgi import ASGIHTTPConnection
from werkzeug.exceptions import HTTPException

from h2gate.errors import GateError, NotFound, from_code
from h2gate.front import cors, door, files, health, problem, protected, resources, tickets, tus
from h2gate.front.deeds import Witness
from h2gate.front.page import page
from h2gate.front.request import Request
from h2gate.gateway import Gateway

Serve = Callable[[Request, Gateway], Awaitable[None]]


_ROOMS: dict[bytes, Serve] = {
    b"files": files.serve,
    b"uploads": resources.serve,
    b"tus": tus.serve,
    b"tickets": tickets.serve,
}
"""By the first segment of the path: what is served straight from ASGI."""
_DESKS: dict[bytes, Serve] = {
    b"/healthz": health.healthz,
    b"/readyz": health.readyz,
    b"/metrics": health.scrape,
    protected.PATH: protected.serve,
}
"""By the whole path."""
_WAYS_IN: dict[Serve, Serve] = {
    files.serve: door.to_files,
    resources.serve: door.to_uploads,
    tus.serve: door.to_tus,
    tickets.serve: door.to_tickets,
    health.scrape: door.to_metrics,
    health.healthz: door.open_to_all,
    health.readyz: door.open_to_all,
    protected.serve: door.open_to_all,
}
"""Raise for who may not come in. What has none lets nobody in."""


class Gate(Quart):
    """The application of one gateway."""

    gateway: Gateway
    witness: Witness


class GateConnection(ASGIHTTPConnection):
    """One request: to the files, or to Quart without its body."""

    async def __call__(self, receive: Any, send: Any) -> None:
        serve = _room(self.scope["raw_path"])
        if serve is not None:
            app = cast(Gate, self.app)
            request = Request(self.scope, receive, send)
            request.witness = app.witness
            with app.witness.watching(request):
                await _answer(request, serve, app.gateway)
            return
        self.scope = _plain(self.scope)
        quart_request = self._create_request_from_scope(send)
        await self.handle_request(quart_request, send)


def _plain(scope: Any) -> Any:
    """Without what no page asks for and Quart answers with 500: a query that is not UTF-8, a host that can be none."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {**scope, "query_string": b"", "headers": [(b"host", b"h2gate"), *headers]}


def _room(raw_path: bytes) -> Serve | None:
    """`/files` itself is Quart's, which redirects; the other rooms have their roots, with and without a slash.

    A target that does not begin with a slash (RFC 9112 section 3.2) is nowhere: it would be a second name for a file.
    """
    if not raw_path.startswith(b"/"):
        return _nowhere
    if (desk := _DESKS.get(raw_path)) is not None:
        return desk
    name, slash, _ = raw_path[1:].partition(b"/")
    return _ROOMS.get(name) if slash or name != b"files" else None


async def _nowhere(request: Request, gateway: Gateway) -> None:
    raise NotFound("the target is not a path")


async def _answer(request: Request, serve: Serve, gateway: Gateway) -> None:
    """Whatever is raised becomes a problem document, unless an answer had begun."""
    cors.allow(request, frozenset(gateway.settings.cors_origins))
    try:
        if serve is not _nowhere:
            await _WAYS_IN[serve](request, gateway)
        await serve(request, gateway)
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
