"""What a balancer, a container's health check and Prometheus ask: answered at once, without Quart's detours."""

from __future__ import annotations

from h2gate import metrics
from h2gate.errors import MethodNotAllowed
from h2gate.front.request import Request
from h2gate.gateway import Gateway

_PLAIN = "text/plain; charset=utf-8"
_METHODS = ("GET", "HEAD")


def _check(request: Request) -> None:
    if request.method not in _METHODS:
        raise MethodNotAllowed(f"{request.method} is not for this", allow=", ".join(_METHODS))


async def healthz(request: Request, gateway: Gateway) -> None:
    """Whether the process answers at all."""
    _check(request)
    await request.answer(200, content=b"ok\n", media_type=_PLAIN)


async def readyz(request: Request, gateway: Gateway) -> None:
    """Whether it should be sent anybody."""
    _check(request)
    status, content = (503, b"draining\n") if gateway.draining else (200, b"ready\n")
    await request.answer(status, content=content, media_type=_PLAIN)


async def scrape(request: Request, gateway: Gateway) -> None:
    """`metrics.Metrics.text`."""
    _check(request)
    await request.answer(200, content=gateway.metrics.text(), media_type=metrics.MEDIA_TYPE)
