"""tus 1.0.0 at /tus/."""

from __future__ import annotations

from h2gate.errors import NotFound
from h2gate.front.request import Request
from h2gate.gateway import Gateway


async def serve(request: Request, gateway: Gateway) -> None:
    raise NotFound
