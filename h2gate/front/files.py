"""Everything under /files/: which handler a request goes to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from h2gate.errors import MethodNotAllowed
from h2gate.front import getting, plain, posting
from h2gate.front.request import Request
from h2gate.gateway import Gateway
from h2gate.transfer.uploads import Uploads

_HANDLERS: dict[str, Callable[[Request, Uploads], Awaitable[None]]] = {
    "PUT": plain.put,
    "PATCH": plain.patch,
    "DELETE": plain.delete,
    "POST": posting.post,
    "GET": getting.get,
    "HEAD": getting.get,
}
_ALLOW = ", ".join([*_HANDLERS, "OPTIONS"])


async def serve(request: Request, gateway: Gateway) -> None:
    """Answer a request under /files/."""
    handler = _HANDLERS.get(request.method)
    if handler is not None:
        await handler(request, gateway.uploads)
    elif request.method == "OPTIONS":
        await request.answer(204, [("allow", _ALLOW), ("accept-patch", plain.ACCEPT_PATCH)])
    else:
        raise MethodNotAllowed(f"{request.method} is not for files", allow=_ALLOW)
