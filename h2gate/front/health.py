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
    """Whether it should be sent anybody; if not, which part is in the way."""
    _check(request)
    faults = {"gateway": "draining"} if gateway.draining else await gateway.readiness.faults()
    lines = [f"{name}: {fault}" for name, fault in faults.items()]
    status, text = (503, lines) if faults else (200, ["ready"])
    await request.answer(status, content="".join(f"{line}\n" for line in text).encode(), media_type=_PLAIN)


async def scrape(request: Request, gateway: Gateway) -> None:
    """`metrics.Metrics.text`."""
    _check(request)
    await request.answer(200, content=await gateway.scrape(), media_type=metrics.MEDIA_TYPE)
