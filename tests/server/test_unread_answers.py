"""An answer that is whole, but not taken yet, still costs what it did and has its time, as the one that is written."""

from __future__ import annotations

from hyperframe.frame import WindowUpdateFrame

from tests.conftest import Serve
from tests.server.conftest import Connect
from tests.server.raw import eventually

SIZE = 300_000


def test_an_answer_behind_a_shut_window_is_held_in_the_budget_until_it_is_taken(serve: Serve, connect: Connect) -> None:
    served = serve()
    assert connect(served).put("/files/a", bytes(SIZE)).status == 201
    client = connect(served, window=0)
    before = served.worker.budget.left
    stream = client.open("GET", "/files/a", end=True)
    client.until(lambda: client.answers[stream].status == 200)
    client.quiet()
    (connection,) = (each for each in served.worker.connections if each.streams)
    eventually(lambda: connection.streams[stream].answered, "the application has given all of it")
    assert before - served.worker.budget.left > SIZE
    client.write(WindowUpdateFrame(stream, window_increment=SIZE))
    assert len(client.answer(stream).body) == SIZE
    eventually(lambda: served.worker.budget.left == before and not connection.streams, "all is given back")


def test_an_answer_behind_a_shut_window_is_given_up_in_time(serve: Serve, connect: Connect) -> None:
    served = serve(answer_seconds=0.5)
    assert connect(served).put("/files/a", bytes(SIZE)).status == 201
    client = connect(served, window=0)
    before = served.worker.budget.left
    stream = client.open("GET", "/files/a", end=True)
    assert client.answer(stream).reset == 8
    assert served.gateway.metrics.limits_hit("answer_seconds") == 1
    eventually(lambda: served.worker.budget.left == before, "all is given back")


def test_a_peer_that_resets_an_answer_that_waits_leaves_nothing(serve: Serve, connect: Connect) -> None:
    served = serve()
    assert connect(served).put("/files/a", bytes(SIZE)).status == 201
    client = connect(served, window=0)
    before = served.worker.budget.left
    stream = client.open("GET", "/files/a", end=True)
    client.until(lambda: client.answers[stream].status == 200)
    client.reset(stream)
    eventually(lambda: served.worker.budget.left == before, "all is given back")
    client.ping()
