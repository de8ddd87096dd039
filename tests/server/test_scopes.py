"""What is wrong with one stream ends that stream; what a client still has in flight when it says GOAWAY is finished."""

from __future__ import annotations

import pytest
from hyperframe.frame import GoAwayFrame, PingFrame, PriorityFrame, RstStreamFrame, WindowUpdateFrame

from tests.conftest import Serve, Served
from tests.server.conftest import Connect
from tests.server.raw import RawClient, eventually

BODY = 3 << 20


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve(drain_seconds=0.2)


@pytest.fixture
def client(served: Served, connect: Connect) -> RawClient:
    return connect(served)


def half_an_upload(client: RawClient) -> int:
    stream = client.open("PUT", "/files/neighbour", ("content-length", str(BODY)))
    client.push(stream, bytes(BODY // 2), end=False)
    return stream


def expect_unharmed(served: Served, client: RawClient, upload: int) -> None:
    """The neighbour and the connection."""
    client.push(upload, bytes(BODY - BODY // 2))
    assert client.answer(upload).status == 201
    assert served.path("neighbour").stat().st_size == BODY
    assert client.get("/healthz").status == 200
    assert not client.goaways
    eventually(lambda: not any(each.streams for each in served.worker.connections), "no stream is left")


@pytest.mark.parametrize("announced", [3, 7])
def test_another_length_than_announced_is_an_error_of_its_stream(
    served: Served, client: RawClient, announced: int
) -> None:
    upload = half_an_upload(client)
    stream = client.open("PUT", "/files/wrong", ("content-length", str(announced)))
    client.data(stream, b"hello", end=True)
    answer = client.answer(stream)
    assert answer.reset == 1 or answer.status == 400
    expect_unharmed(served, client, upload)
    assert not served.path("wrong").exists()


MALFORMED = {
    "path that is not UTF-8": [(":path", "/files/%ff")],
    "relative path": [(":path", "files/a")],
    "empty path": [(":path", "")],
    "no path": [(":path", None)],
    "no method": [(":method", None)],
    "space in method": [(":method", "PUT IT")],
    "uppercase name": [("X-Upper", "1")],
    "space in name": [("x y", "1")],
    "line feed in value": [("x", "a\nb: c")],
    "connection header": [("connection", "close")],
    "transfer-encoding": [("transfer-encoding", "chunked")],
    "two lengths": [("content-length", "1"), ("content-length", "2")],
    "negative length": [("content-length", "-1")],
    "underscored length": [("content-length", "1_0")],
    "unknown pseudo-header": [(":mood", "good")],
    "pseudo-header behind": [("x", "y"), (":scheme", "https")],
    "CONNECT": [(":method", "CONNECT")],
    "CONNECT by the book": [(":method", "CONNECT"), (":path", None), (":scheme", None)],
    "extended CONNECT": [(":method", "CONNECT"), (":protocol", "websocket")],
    "TE": [("te", "gzip")],
    "content-length and no end": [("content-length", "99999999999999999999999999")],
}


@pytest.mark.parametrize("changes", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_ends_its_own_stream_only(
    served: Served, client: RawClient, changes: list[tuple[str, str | None]]
) -> None:
    upload = half_an_upload(client)
    changed = dict(changes)
    fields = [(name, value) for name, value in client.fields("PUT", "/files/wrong") if name not in changed]
    added = [(name, value) for name, value in changes if value is not None]
    in_front = [field for field in added if field[0] in (":path", ":method", ":protocol")]
    stream = client.open_raw([*in_front, *fields, *(field for field in added if field not in in_front)], end=True)
    answer = client.answer(stream)
    assert answer.reset is not None or answer.status >= 400
    expect_unharmed(served, client, upload)
    assert [path.name for path in (served.data / "files").iterdir()] == ["neighbour"]


def test_a_reset_of_another_stream_and_odd_frames_harm_nobody(served: Served, client: RawClient) -> None:
    upload = half_an_upload(client)
    other = client.open("PUT", "/files/other", ("content-length", "100000"))
    client.data(other, bytes(50_000))
    client.write(RstStreamFrame(other, error_code=2))
    client.write(PriorityFrame(other, depends_on=0, stream_weight=3), WindowUpdateFrame(other, window_increment=1))
    client.write(b"\x00\x00\x03\xbe\x00\x00\x00\x00\x01abc")  # a frame of a type nobody knows
    client.write(PingFrame(0, opaque_data=b"8 bytes!"))
    expect_unharmed(served, client, upload)


def test_a_path_in_plain_utf8_is_as_good_as_a_percent_encoded_one(served: Served, client: RawClient) -> None:
    assert client.put("/files/\u00fc", b"hello").status == 201
    assert served.path("\u00fc").read_bytes() == b"hello"
    assert client.get("/files/%C3%BC").body == b"hello"


def test_more_bytes_than_the_window_are_an_error(served: Served, client: RawClient) -> None:
    stream = client.open("PATCH", "/files/missing")
    client.quiet()
    client.data(stream, bytes(client.room(stream) + (2 << 20)))  # what comes behind the error has a limit of its own
    client.until(lambda: bool(client.goaways) or client.answers[stream].reset is not None)


def test_as_many_streams_as_were_granted_are_served_at_once(serve: Serve, connect: Connect) -> None:
    served = serve(max_streams=4)
    client = connect(served)
    streams = [client.open("PUT", f"/files/{n}", ("content-length", "10")) for n in range(4)]
    for stream in streams:
        client.data(stream, bytes(10), end=True)
    assert [client.answer(stream).status for stream in streams] == [201] * 4
    assert client.put("/files/next", b"again").status == 201


def test_a_stream_too_many_is_refused_and_may_be_tried_again(serve: Serve, connect: Connect) -> None:
    served = serve(max_streams=4)
    client = connect(served)
    upload = half_an_upload(client)
    others = [client.open("PUT", f"/files/{n}", ("content-length", "10")) for n in range(3)]
    refused = client.answer(client.open("PUT", "/files/refused"))
    assert (refused.reset, refused.status) == (7, 0)
    for stream in others:
        client.data(stream, bytes(10), end=True)
        assert client.answer(stream).status == 201
    assert client.put("/files/refused", b"again").status == 201
    expect_unharmed(served, client, upload)


def test_after_goaway_from_the_client_its_streams_are_finished_and_the_connection_closed(
    served: Served, client: RawClient
) -> None:
    upload = half_an_upload(client)
    client.write(GoAwayFrame(0, last_stream_id=0, error_code=0))
    assert client.ping() < 5
    client.push(upload, bytes(BODY - BODY // 2))
    client.read_to_end()
    assert client.answers[upload].status == 201
    assert client.answers[upload].ended
    assert served.path("neighbour").stat().st_size == BODY
    eventually(lambda: not served.worker.connections, "the connection is gone")


def test_after_goaway_on_an_idle_connection_it_is_closed(served: Served, client: RawClient) -> None:
    client.write(GoAwayFrame(0, last_stream_id=0, error_code=0))
    client.read_to_end()
    eventually(lambda: not served.worker.connections, "the connection is gone")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00", 1),
        (b"\x00\x00\x05\x00\x00\x00\x00\x00\x00hello", 1),
        (b"\x7f\xff\xff\x00\x00\x00\x00\x00\x01", 6),
        (b"\x00\x00\x05\x06\x00\x00\x00\x00\x00hello", 6),
    ],
    ids=["no increment", "data on stream 0", "frame too long", "short PING"],
)
def test_an_error_of_the_connection_closes_it_with_goaway(
    served: Served, client: RawClient, frame: bytes, code: int
) -> None:
    half_an_upload(client)
    client.write(frame)
    client.read_to_end()
    assert client.goaways[-1].error_code in (code, 1)
    eventually(lambda: not served.worker.connections and served.staged() == [], "nothing is left")
