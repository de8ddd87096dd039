"""What the far host does during the link's self-check: send back, send much, or send many. Standard library only."""

from __future__ import annotations

import socket
import sys
import time

SECONDS = 60.0
"""No role outlives this."""


def echo(address: tuple[str, int]) -> None:
    """Send back every byte."""
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(64):
            connection.sendall(data)


def flood(address: tuple[str, int]) -> None:
    """Send zeros until the other end closes."""
    zeros, end = bytes(1 << 20), time.monotonic() + SECONDS
    with socket.create_connection(address, timeout=SECONDS) as connection:
        while time.monotonic() < end:
            connection.sendall(zeros)


def rain(address: tuple[str, int], count: int) -> None:
    """Send `count` small datagrams, at most 20 a millisecond."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(count):
            sender.sendto(number.to_bytes(4, "big"), address)
            if number % 20 == 19:
                time.sleep(0.001)


if __name__ == "__main__":
    role, host, port, *more = sys.argv[1:]
    try:
        if role == "rain":
            rain((host, int(port)), int(more[0]))
        else:
            {"echo": echo, "flood": flood}[role]((host, int(port)))
    except (BrokenPipeError, ConnectionResetError):
        sys.exit(0)
