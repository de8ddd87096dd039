"""What is tried before or beside HTTP/2: old TLS, renegotiation, upgrades; and what stays of a long connection."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
from urllib.parse import urlsplit

import pytest

from loadtest import processes
from loadtest.hostile import frames
from loadtest.hostile.foe import Enemy, Target
from tests.conftest import Process, Spawn
from tests.server.raw import RawClient

SECONDS = 20
BATCH = 100


def port_of(process: Process) -> int:
    return urlsplit(process.url).port or 0


def expect_service(process: Process) -> None:
    with RawClient(process.url, process.ca) as client:
        assert client.get("/healthz").status == 200


@pytest.mark.skipif(not shutil.which("openssl"), reason="NOT TESTED: no openssl")
def test_a_client_that_renegotiates_is_refused_and_the_others_are_served(spawn: Spawn) -> None:
    process = spawn()
    command = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{port_of(process)}",
        "-tls1_2",
        "-CAfile",
        str(process.ca),
    ]
    done = subprocess.run(command, input="R\n", capture_output=True, text=True, timeout=SECONDS, check=False)
    assert "RENEGOTIATING" in done.stdout + done.stderr
    assert "no renegotiation" in done.stdout + done.stderr
    expect_service(process)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_before_1_2_is_refused(spawn: Spawn) -> None:
    process = spawn()
    context = ssl.create_default_context(cafile=process.ca)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", port_of(process)), SECONDS) as sock,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(sock, server_hostname="localhost")


def test_an_upgrade_to_h2c_is_ignored(spawn: Spawn) -> None:
    process = spawn(listen="http://127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", port_of(process)), SECONDS) as sock:
        upgrade = b"connection: upgrade, http2-settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
        sock.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n" + upgrade + b"\r\n")
        said = sock.makefile("rb").read()
    assert said.startswith(b"HTTP/1.1 200")
    assert b"101" not in said.partition(b"\r\n")[0]


def test_ten_thousand_streams_of_one_connection_leave_nothing_behind(spawn: Spawn) -> None:
    process = spawn()
    enemy = Enemy(Target("localhost", port_of(process), process.ca))
    with enemy.connect() as foe:
        for number in range(10_000 // BATCH):
            if number == 20:
                before = processes.peak_bytes(process.popen.pid)
            since = foe.over()
            foe.send(*(foe.open("OPTIONS", "/files/")[1] for _ in range(BATCH)))
            foe.served(BATCH, since)
        assert enemy.seen.statuses == {204: 10_000}
    assert processes.peak_bytes(process.popen.pid) - before < 8 << 20


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "with-a-stalled-answer-each"])
def test_a_newcomer_is_served_though_every_place_is_taken(spawn: Spawn, busy: bool) -> None:
    process = spawn("--max-connections=40", "--answer-seconds=3")
    (process.data / "files" / "large").write_bytes(bytes(4 << 20))
    enemy = Enemy(Target("localhost", port_of(process), process.ca))
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            foe = stack.enter_context(enemy.connect(window=0))
            if busy:
                foe.request("GET", "/files/large")
        expect_service(process)


def test_in_a_house_full_of_idle_strangers_there_is_room_for_one_more_and_who_is_alone_or_works_stays(
    spawn: Spawn,
) -> None:
    process = spawn("--max-connections=40", "--max-address-connections=0")
    target = Target("localhost", port_of(process), process.ca, address="127.0.0.2")
    lonely = Enemy(Target("localhost", port_of(process), process.ca, address="127.0.0.3"))
    statuses = None
    with contextlib.ExitStack() as stack:
        alone = stack.enter_context(lonely.connect())  # idle for longer than all the others
        at_work = stack.enter_context(Enemy(target).connect())
        upload = at_work.request("PUT", "/files/works", end=False)
        for _ in range(60):  # none takes a GOAWAY to heart
            stack.enter_context(Enemy(target).connect())
        for _ in range(20):
            expect_service(process)
        alone.catch_up()
        assert lonely.seen.goaways.total() == 0
        at_work.send(frames.frame(frames.DATA, frames.END_STREAM, upload, b"done"))
        at_work.until(lambda: at_work.seen.statuses[201] == 1)
        statuses = at_work.seen.statuses
    assert statuses == {201: 1}, "neither was cut off, which would have ended the block"
