"""A sink that stalls stops its own sender, within its window, and nobody else."""

from __future__ import annotations

import hashlib

import pytest

from h2gate.wire.credit import OPEN_BYTES
from tests.conftest import Serve
from tests.server.conftest import Connect, Gate
from tests.server.raw import eventually

STALLED = 24 << 20


def body_of(size: int) -> bytes:
    return hashlib.sha256(b"pattern").digest() * (size // 32)


def test_a_stalled_upload_stops_within_its_window_while_its_neighbour_and_pings_go_on(
    serve: Serve, connect: Connect, gate: Gate
) -> None:
    served = serve(open_storage=gate)
    client = connect(served)
    body = body_of(STALLED)
    stalled = client.open("PUT", "/files/stalled", ("content-length", str(STALLED)))
    window = OPEN_BYTES
    client.until(lambda: client.room(stalled) == window)
    client.fill(stalled)
    neighbour = body_of(4 << 20)
    assert client.put("/files/neighbour", neighbour).status == 201
    assert served.path("neighbour").read_bytes() == neighbour
    round_trip = max(client.ping() for _ in range(10))
    print(f"PING with a stalled neighbour: {round_trip * 1000:.1f} ms at most")
    assert round_trip < 1
    answer = client.answers[stalled]
    assert answer.granted == answer.sent == window, "credit only for what the sink has taken"
    assert gate.waiting == 1
    gate.open()
    client.push(stalled, body[window:])
    assert client.answer(stalled).status == 201
    stored = served.path("stalled").read_bytes()
    assert len(stored) == STALLED
    assert stored[window:] == body[window:]
    assert not any(stored[:window])


@pytest.mark.parametrize("streams", [100])
def test_a_hundred_stalled_uploads_are_let_in_for_their_windows_and_no_more(
    serve: Serve, connect: Connect, gate: Gate, streams: int
) -> None:
    served = serve(open_storage=gate)
    client = connect(served, cleartext=True)
    window = OPEN_BYTES
    opened = [client.open("PUT", f"/files/{n}", ("content-length", str(STALLED))) for n in range(streams)]
    client.until(lambda: all(client.room(stream) == window for stream in opened))
    assert sum(client.fill(stream) for stream in opened) == streams * window
    for _ in range(3):
        client.ping()
        assert not any(client.room(stream) for stream in opened)
    assert sum(client.answers[stream].sent for stream in opened) == streams * window
    held = sum(each._inbox_bytes + each._pulled_bytes for c in served.worker.connections for each in c.streams.values())
    assert held <= streams * window
    for stream in opened:
        client.reset(stream)
    gate.open()
    assert client.get("/healthz").status == 200


def test_an_upload_that_stalls_in_full_flow_stops_within_the_window_it_has_grown_to(
    serve: Serve, connect: Connect
) -> None:
    gate = Gate(free_pulls=6)  # each takes a window at most: less than the body in all
    served = serve(open_storage=gate, max_stream_window=8 << 20)
    client = connect(served)
    left = served.worker.budget.left
    size = 64 << 20
    body = body_of(size)
    stream = client.open("PUT", "/files/stalled", ("content-length", str(size)))
    while not gate.waiting or client.room(stream):
        sent = client.answers[stream].sent
        if room := client.room(stream):
            client.data(stream, body[sent : sent + room])
        client.quiet()
    answer = client.answers[stream]
    (inside,) = (each for connection in served.worker.connections for each in connection.streams.values())
    window = inside._window.size
    print(f"stalled after {answer.sent >> 20} MiB with a window of {window >> 20} MiB")
    assert inside._inbox_bytes + inside._pulled_bytes <= window <= 8 << 20
    assert answer.granted == answer.sent < size
    gate.open()
    client.push(stream, body[answer.sent :])
    assert client.answer(stream).status == 201
    assert served.path("stalled").read_bytes() == body
    eventually(lambda: served.worker.budget.left == left, "the window is given back")
