"""What `server/http1*.py` and `server/worker.py` rely on in Hypercorn and does not promise: fails when it changes.

Then read the new release's `asyncio/tcp_server.py` and `protocol/h11.py` beside ours, and change both or only this.
"""

from __future__ import annotations

import inspect
import ssl
from importlib.metadata import version
from typing import Any

import h11
import pytest
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import AsyncioSingleTask, WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.protocol.events import Body, EndBody, Response, StreamClosed
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from h2gate.server.certificates import Certificates
from h2gate.server.worker import tls_context

SIGNATURES = {
    TCPServer.__init__: "app loop config context state reader writer",
    TCPServer.protocol_send: "event",
    TCPServer._close: "",
    H11Protocol.__init__: "app config context task_group connection_state ssl client server send",
    H11Protocol.handle: "event",
    H11Protocol.stream_send: "event",
    H11Protocol._handle_events: "",
    H11Protocol._create_stream: "request",
    H11Protocol._close_stream: "",
    TaskGroup.__init__: "loop",
    TaskGroup.spawn: "func args",
    WorkerContext.__init__: "max_requests",
    AsyncioSingleTask.stop: "",
    ASGIWrapper.__init__: "app",
    Lifespan.__init__: "app config loop lifespan_state",
    Lifespan.handle_lifespan: "",
    Lifespan.wait_for_startup: "",
    Lifespan.wait_for_shutdown: "",
}
EVENTS = {
    RawData: {"data"},
    Closed: set(),
    Response: {"stream_id", "headers", "status_code"},
    Body: {"stream_id", "data"},
    EndBody: {"stream_id"},
    StreamClosed: {"stream_id"},
}


@pytest.fixture(autouse=True)
def tell_version(record_property: Any) -> None:
    """In the report, beside a failure."""
    record_property("hypercorn", version("hypercorn"))
    print(f"Hypercorn {version('hypercorn')}")


@pytest.mark.parametrize(("function", "names"), SIGNATURES.items(), ids=lambda it: getattr(it, "__qualname__", " "))
def test_signature_is_the_one_we_call_or_override(function: Any, names: str) -> None:
    found = [name for name in inspect.signature(function).parameters if name != "self"]
    assert found == names.split()


@pytest.mark.parametrize(("event", "fields"), EVENTS.items(), ids=lambda it: getattr(it, "__name__", " "))
def test_event_has_the_fields_we_use(event: Any, fields: set[str]) -> None:
    assert fields <= set(inspect.signature(event).parameters)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (TCPServer.__init__, ["self.send_lock", "self.idle_task", "self.state ", "self.writer", "self.reader"]),
        (TCPServer.protocol_send, ["self.send_lock", "self._close()", "self.protocol.handle(Closed())"]),
        (TCPServer._close, ["self.writer.wait_closed()", "self.idle_task.stop()"]),
        (H11Protocol.__init__, ["self.can_read", "self.connection", "self.stream", "self.send", "self.context"]),
        (H11Protocol.stream_send, ["h11.InformationalResponse", "StreamClosed", "_maybe_recycle"]),
        (H11Protocol.handle, ["self.connection.receive_data(event.data)", "self._handle_events()"]),
        (H11Protocol._maybe_recycle, ["terminated.is_set()", "start_next_cycle", "self._close_stream()"]),
    ],
    ids=lambda it: getattr(it, "__qualname__", ""),
)
def test_source_still_does_what_ours_fits_into(function: Any, words: list[str]) -> None:
    source = inspect.getsource(function)
    assert [word for word in words if word not in source] == []


def test_settings_that_we_set_are_known() -> None:
    names = ["include_server_header", "keep_alive_max_requests", "graceful_timeout"]
    assert [name for name in names if not hasattr(Config(), name)] == []
    assert [name.lower() for name, _ in Config().response_headers("h11")] == [b"date", b"server"]
    assert STREAM_ID == 1
    assert callable(parse_socket_addr)
    assert ConnectionState({}) == {}


def test_h11_tells_what_our_parser_listens_to() -> None:
    assert list(inspect.signature(h11.Connection.next_event).parameters) == ["self"]
    assert h11.EndOfMessage(headers=[(b"a", b"b")]).headers == [(b"a", b"b")]


def test_tls_options_that_hypercorn_drops_are_set_again(certificates: Certificates) -> None:
    context = tls_context(str(certificates.cert), str(certificates.key))
    for option in (ssl.OP_NO_COMPRESSION, ssl.OP_CIPHER_SERVER_PREFERENCE, ssl.OP_NO_RENEGOTIATION):
        assert context.options & option
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
