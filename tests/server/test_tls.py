"""What TLS is spoken, what is not, and what becomes of those who never finish a handshake."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator

import pytest

from h2gate.server.certificates import Certificates
from h2gate.server.worker import tls_context
from tests.conftest import Process, Serve, Served, Spawn
from tests.server.conftest import Connect
from tests.server.raw import PATIENCE, eventually

OPENSSL = pytest.mark.skipif(not shutil.which("openssl"), reason="NOT TESTED: no openssl")

REFUSED = r"(?i)handshake.failure|protocol.version|eof|reset"
"""By the gateway, that is (asyncio sends no alert); not what a client says who offers what it does not know itself."""


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve()


def handshake(served: Served, context: ssl.SSLContext) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", served.port), PATIENCE)
    try:
        return context.wrap_socket(sock, server_hostname="localhost")
    except BaseException:
        sock.close()
        raise


def client_context(served: Served, version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=served.ca)
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    context.set_alpn_protocols(["h2"])
    return context


@pytest.mark.parametrize("ciphers", ["ECDHE+AESGCM", "ECDHE+CHACHA20"])
def test_tls_1_2_is_spoken_with_ciphers_that_are_forward_secret_and_authenticated(served: Served, ciphers: str) -> None:
    with handshake(served, client_context(served, ssl.TLSVersion.TLSv1_2, ciphers)) as sock:
        assert (sock.version(), sock.selected_alpn_protocol(), sock.compression()) == ("TLSv1.2", "h2", None)


@pytest.mark.parametrize("ciphers", ["ECDHE+AES+SHA256", "ECDHE+AES+SHA1", "kRSA", "DHE"])
def test_weaker_ciphers_of_tls_1_2_are_refused(served: Served, ciphers: str, connect: Connect) -> None:
    ciphers = f"{ciphers}:!AESGCM:!CHACHA20" if "ECDHE" in ciphers else ciphers
    with pytest.raises(OSError, match=REFUSED):
        handshake(served, client_context(served, ssl.TLSVersion.TLSv1_2, ciphers))
    assert connect(served).get("/healthz").status == 200
    eventually(lambda: len(served.worker.visits) == 1, "the one that failed has left")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_tls_1_1_is_refused(served: Served, connect: Connect) -> None:
    with pytest.raises(OSError, match=REFUSED):
        handshake(served, client_context(served, ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"))
    assert connect(served).get("/healthz").status == 200


def test_all_ciphers_on_offer_are_authenticated_encryption_with_keys_of_the_connection(
    certificates: Certificates,
) -> None:
    offered = tls_context(str(certificates.cert), str(certificates.key)).get_ciphers()
    assert {each["protocol"] for each in offered} == {"TLSv1.2", "TLSv1.3"}
    assert [each["name"] for each in offered if not each["aead"]] == []
    assert {each["kea"] for each in offered} == {"kx-ecdhe", "kx-any"}


@OPENSSL
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_that_asks_for_renegotiation_gets_none(
    serve: Serve, spawn: Spawn, connect: Connect, loop: str
) -> None:
    gateway: Served | Process = serve() if loop == "asyncio" else spawn()
    port = gateway.url.rpartition(":")[2]
    command = ["openssl", "s_client", "-connect", f"localhost:{port}", "-tls1_2", "-CAfile", str(gateway.ca)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as client, ending(client):
        assert client.stdin is not None
        assert client.stdout is not None
        assert any(b"Verify return code: 0 " in line for line in client.stdout), "it is connected"
        client.stdin.write(b"R\n")
        client.stdin.flush()
        told = client.stdout.read()
    assert b"RENEGOTIATING" in told
    assert b"no renegotiation" in told.lower()
    assert connect(gateway).get("/healthz").status == 200


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()


@pytest.mark.parametrize("dripping", [False, True], ids=["silent", "byte-by-byte"])
def test_a_handshake_that_does_not_end_is_cut_and_counted(serve: Serve, connect: Connect, dripping: bool) -> None:
    served = serve(handshake_seconds=0.5)
    hello = client_hello()
    with socket.create_connection(("127.0.0.1", served.port), PATIENCE) as sock:
        deadline = time.monotonic() + PATIENCE
        with contextlib.suppress(ConnectionError):
            for byte in hello:
                if dripping:
                    sock.sendall(bytes([byte]))
                assert time.monotonic() < deadline
                sock.settimeout(0.05)
                try:
                    if not sock.recv(1000):
                        break
                except TimeoutError:
                    continue
        assert connect(served).get("/healthz").status == 200
    assert served.gateway.metrics.limits_hit("handshake_seconds") == 1
    eventually(lambda: len(served.worker.visits) == 1, "only the neighbour is left")


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    assert len(hello) > 100
    return hello


def test_a_handshake_that_does_not_end_is_counted_by_the_loop_that_is_used_in_earnest(
    spawn: Spawn, connect: Connect
) -> None:
    process = spawn("--handshake-seconds", "0.5")
    host, _, port = process.urls[0].removeprefix("https://").rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE) as sock, contextlib.suppress(ConnectionError):
        assert sock.recv(1000) == b""
    eventually(lambda: any("limit handshake_seconds" in line for line in process.lines), "it is told")
    assert connect(process).get("/healthz").status == 200


def test_a_client_that_leaves_in_the_midst_of_its_handshake_is_not_counted(serve: Serve, connect: Connect) -> None:
    served = serve(handshake_seconds=20.0)
    for first in (b"", client_hello()[:50], b"not TLS at all\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", served.port), PATIENCE) as sock:
            sock.sendall(first)
    assert connect(served).get("/healthz").status == 200
    eventually(lambda: len(served.worker.visits) == 1, "only the neighbour is left")
    assert served.gateway.metrics.limits_hit("handshake_seconds") == 0
