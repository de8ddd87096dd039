"""The Quart application. What carries files under /files/ is served straight from ASGI; pages and health by Quart.

Quart would drain every body into memory as fast as it comes; here no route but those under /files/ takes a body, and
those pull it (`asgi_http_class` is Quart's own hook for that).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from markupsafe import Markup
from quart import Quart, Response, redirect
from quart.asgi import ASGIHTTPConnection
from werkzeug.exceptions import HTTPException

from h2gate.errors import GateError, MethodNotAllowed, from_code
from h2gate.front import getting, plain, posting, problem
from h2gate.front.page import page
from h2gate.front.request import Request
from h2gate.gateway import Gateway
from h2gate.transfer.uploads import Uploads

Handler = Callable[[Request, Uploads], Awaitable[None]]

FILES = b"/files/"
_HANDLERS: dict[str, Handler] = {
    "PUT": plain.put,
    "PATCH": plain.patch,
    "DELETE": plain.delete,
    "POST": posting.post,
    "GET": getting.get,
    "HEAD": getting.get,
}
_ALLOW = ", ".join([*_HANDLERS, "OPTIONS"])


class Gate(Quart):
    """The application of one gateway."""

    gateway: Gateway


class GateConnection(ASGIHTTPConnection):
    """One request: to the files, or to Quart without its body."""

    async def __call__(self, receive: Any, send: Any) -> None:
        if self.scope["raw_path"].startswith(FILES):
            request = Request(self.scope, receive, send)
            await serve_files(request, cast(Gate, self.app).gateway.uploads)
            return
        quart_request = self._create_request_from_scope(send)
        await self.handle_request(quart_request, send)


async def serve_files(request: Request, uploads: Uploads) -> None:
    """Answer a request under /files/. Whatever is raised becomes a problem document, unless an answer had begun."""
    try:
        handler = _HANDLERS.get(request.method)
        if handler is not None:
            await handler(request, uploads)
        elif request.method == "OPTIONS":
            await request.answer(204, [("allow", _ALLOW), ("accept-patch", plain.ACCEPT_PATCH)])
        else:
            raise MethodNotAllowed(f"{request.method} is not for files", allow=_ALLOW)
    except Exception as error:
        if request.answering:
            raise
        await request.answer_error(error)


def create_app(gateway: Gateway) -> Gate:
    """The application for an opened gateway."""
    app = Gate("h2gate", static_folder=None)
    app.asgi_http_class = GateConnection
    app.gateway = gateway
    app.config["RESPONSE_TIMEOUT"] = None
    app.add_url_rule("/", "front_page", _front_page)
    app.add_url_rule("/files", "files", lambda: redirect("/files/", 301))
    app.add_url_rule("/healthz", "healthz", _healthz)
    app.add_url_rule("/readyz", "readyz", lambda: _readyz(gateway))
    app.register_error_handler(HTTPException, _http_error)
    return app


def _front_page() -> Response:
    body = Markup("<p>An HTTP/2 upload gateway. <a href='/files/'>Files</a></p>")
    return Response(page("h2gate", body), content_type="text/html; charset=utf-8")


def _healthz() -> Response:
    return Response("ok\n", content_type="text/plain; charset=utf-8")


def _readyz(gateway: Gateway) -> Response:
    if gateway.draining:
        return Response("draining\n", status=503, content_type="text/plain; charset=utf-8")
    return Response("ready\n", content_type="text/plain; charset=utf-8")


def _http_error(error: HTTPException) -> Response:
    """Quart's own errors (an unknown URL, say) in our form."""
    status = error.code or 500
    known: GateError = from_code("", status, error.description or "")
    return Response(problem.document(known), status=status, content_type=problem.MEDIA_TYPE)
