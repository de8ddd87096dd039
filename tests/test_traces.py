"""Traces leave for where the environment says, and nobody waits without end for a collector that is gone."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from h2gate import traces
from h2gate.errors import ConfigError
from h2gate.traces import from_environment


class Collector(HTTPServer):
    """Takes what is posted."""

    posts: list[tuple[str, bytes]]


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.posts.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    server = Collector(("127.0.0.1", 0), Handler)
    server.posts = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_was_traced_is_sent_when_the_gateway_ends(collector: Collector) -> None:
    found = from_environment()
    with found.request("PUT", "/files/a", {}, "192.0.2.1", "r1") as span:
        found.answered(span, 201, "")
    found.close()
    ((path, body),) = collector.posts
    assert path == "/v1/traces"
    assert b"/files/a" in body
    assert b"h2gate" in body


def test_an_end_does_not_wait_for_a_collector_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging:
        def __init__(self) -> None:
            self.released = threading.Event()

        def get_tracer(self, name: str) -> None:
            return None

        def shutdown(self) -> None:
            self.released.wait(60)

    monkeypatch.setattr(traces, "CLOSE_SECONDS", 0.05)
    provider = Hanging()
    began = time.monotonic()
    traces.Traces(provider).close()  # type: ignore[arg-type]
    assert time.monotonic() - began < 30
    provider.released.set()


def test_without_the_packages_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"h2gate\[otel\]"):
        from_environment()
