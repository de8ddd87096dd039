"""OpenTelemetry: a span for each request, and in it one for each upload. None for the pieces that a body comes in.

The packages are an extra, and nothing of them is imported before somebody asks for traces.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from h2gate.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider


CLOSE_SECONDS = 5.0
_METHODS = frozenset(("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"))


class Traces:
    """For one process."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import propagate, trace  # noqa: PLC0415 - see above

        self._provider = provider
        self._tracer = provider.get_tracer("h2gate")
        self._extract = propagate.extract
        self._trace = trace

    @contextmanager
    def request(self, method: str, path: str, headers: Mapping[str, str], peer: str, request_id: str) -> Iterator[Span]:
        """The span of a request, below that of who sent it (W3C Trace Context). `path` has no query."""
        method = method if method in _METHODS else "_OTHER"  # spans are told apart by it: no peer makes ever new ones
        attributes = {"http.request.method": method, "url.path": path, "client.address": peer}
        attributes["http.request.header.x-request-id"] = request_id
        with self._tracer.start_as_current_span(
            method,
            context=self._extract(headers),
            kind=self._trace.SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    def answered(self, span: Span, status: int, code: str) -> None:
        """What came of it."""
        span.set_attribute("http.response.status_code", status)
        if code:
            span.set_attribute("error.type", code)
        if status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)

    def upload(self, began: float, attributes: Mapping[str, Any]) -> None:
        """The span of an upload that ends now, in that of the running request; it `began` at that time of day."""
        named = {f"h2gate.upload.{name}": value for name, value in attributes.items() if value not in ("", None)}
        span = self._tracer.start_span("upload", start_time=int(began * 1e9), attributes=named)
        span.end(time.time_ns())

    def close(self) -> None:
        """Send what was not sent yet; blocks for `CLOSE_SECONDS` at most, whoever is to take it."""
        shutdown = getattr(self._provider, "shutdown", None)
        if shutdown is not None:
            ending = threading.Thread(target=shutdown, name="h2gate-traces", daemon=True)
            ending.start()
            ending.join(CLOSE_SECONDS)


def from_environment() -> Traces:
    """Traces that go to where the standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT` …) say. Raises `ConfigError`."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("--traces needs more packages: install h2gate[otel]") from error
    provider = TracerProvider(resource=Resource.create({"service.name": "h2gate"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)
