"""Everything under /files/: which handler a request goes to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from h2gate.codec.coding import ACCEPTED
from h2gate.errors import MethodNotAllowed
from h2gate.front import bundle, getting, plain, posting, resumable, tickets
from h2gate.front.interop import limit_field
from h2gate.front.request import Request
from h2gate.gateway import Gateway
from h2gate.transfer.uploads import Uploads

_HANDLERS: dict[str, Callable[[Request, Uploads], Awaitable[None]]] = {
    "PUT": plain.put,
    "PATCH": plain.patch,
    "DELETE": plain.delete,
    "POST": posting.post,
}
_ALLOW = ", ".join([*_HANDLERS, "GET", "HEAD", "OPTIONS"])


async def serve(request: Request, gateway: Gateway) -> None:
    """Answer a request under /files/."""
    handler = _HANDLERS.get(request.method)
    if resumable.is_creation(request):
        await resumable.create(request, gateway)
    elif bundle.is_bundle(request):
        await bundle.unpack(request, gateway)
    elif tickets.is_form(request):
        await tickets.form(request, gateway)
    elif request.method in ("GET", "HEAD"):
        await getting.get(request, gateway)
    elif handler is not None:
        await handler(request, gateway.uploads)
    elif request.method == "OPTIONS":
        lines = [("allow", _ALLOW), ("accept-patch", plain.ACCEPT_PATCH), ("accept-encoding", ACCEPTED)]
        await request.answer(204, [*lines, limit_field(gateway.settings)])
    else:
        raise MethodNotAllowed(f"{request.method} is not for files", allow=_ALLOW)
