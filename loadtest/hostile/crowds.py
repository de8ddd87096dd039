"""Connections, not frames: half-open, idle, in great numbers, or gone as soon as they are there."""

from __future__ import annotations

import contextlib
import socket
import time

from loadtest.hostile.foe import PATIENCE_SECONDS, Enemy

HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(20)
"""The beginning of a ClientHello (RFC 8446 section 4.1.2) that says there is more."""
ADDRESSES = tuple(f"127.0.0.{n}" for n in range(2, 8))
CROWD = 1200
HALF_OPEN = 200
CHURN_SECONDS = 3.0


def half_handshakes(enemy: Enemy) -> None:
    """Connections whose TLS handshake stops in the middle."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(enemy.dial()) for _ in range(HALF_OPEN)]
        for sock in socks:
            sock.sendall(HELLO)
        _await_ends(enemy, socks)


def silent(enemy: Enemy) -> None:
    """Connections that do not even begin a handshake."""
    with contextlib.ExitStack() as stack:
        _await_ends(enemy, [stack.enter_context(enemy.dial()) for _ in range(HALF_OPEN)])


def _await_ends(enemy: Enemy, socks: list[socket.socket]) -> None:
    """Until the gateway has closed each of them."""
    for sock in socks:
        sock.settimeout(PATIENCE_SECONDS)
        with contextlib.suppress(ConnectionError):
            while sock.recv(4096):
                pass
        enemy.seen.cuts += 1


def crowd_of_one_address(enemy: Enemy) -> None:
    """More connections than an address may have."""
    _crowd(enemy, 300, (enemy.target.address,))


def full_house(enemy: Enemy) -> None:
    """Idle connections from several addresses, more than there is room for."""
    _crowd(enemy, CROWD, ADDRESSES)


def _crowd(enemy: Enemy, n_connections: int, addresses: tuple[str, ...]) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(n_connections):
            try:
                stack.enter_context(enemy.connect(address=addresses[number % len(addresses)]))
            except OSError:  # closed at the door
                enemy.seen.cuts += 1


def churn(enemy: Enemy) -> None:
    """Handshake, one request, gone; again and again."""
    end_at = time.monotonic() + CHURN_SECONDS
    while time.monotonic() < end_at:
        with enemy.connect() as foe:
            foe.request("GET", "/healthz")


def not_tls(enemy: Enemy) -> None:
    """Bytes that are no TLS, and connections that leave in the middle of the handshake."""
    for number in range(200):
        with contextlib.suppress(OSError), enemy.dial() as sock:
            sock.sendall(HELLO if number % 2 else b"GET / HTTP/1.1\r\n\r\n")
