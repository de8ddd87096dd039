"""`python -m loadtest.comparison.trace FILE URL`: one upload over HTTP/2, and how its window went.

The sender is h2 on a plain socket: it does what flow control lets it and nothing else. Prints a JSON object; its
`points` are `[seconds, MiB sent, MiB that may be sent by now]`: what lies between is the window that is open.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

import click
import h2.config
import h2.connection
import h2.events

MIB = 1 << 20
POINTS = 400
"""At most, evenly taken."""
STREAM = 1


class Upload:
    """`points` grows whenever something was sent or allowed."""

    def __init__(self, connection: ssl.SSLSocket, body: bytes, authority: str, path: str) -> None:
        self._socket = connection
        self._body = memoryview(body)
        self._sent = 0
        self._began = time.monotonic()
        self._ended = False
        self.status = 0
        self.largest_window = 0
        self.points: list[tuple[float, float, float]] = []
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.initiate_connection()
        head = [(":method", "PUT"), (":scheme", "https"), (":authority", authority), (":path", path)]
        self._h2.send_headers(STREAM, [*head, ("content-length", str(len(body)))])

    def run(self, end_at: float) -> None:
        """Until it is answered, or its time is up."""
        while not self.status and time.monotonic() < end_at:
            try:
                self._send()
                self._receive()
            except (TimeoutError, ConnectionError):
                return

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.status = next(int(value) for name, value in event.headers or [] if name in (":status", b":status"))

    def _send(self) -> None:
        self._note()
        while self._sent < len(self._body) and (room := self._h2.local_flow_control_window(STREAM)):
            size = min(room, self._h2.max_outbound_frame_size, len(self._body) - self._sent)
            self._h2.send_data(STREAM, bytes(self._body[self._sent : self._sent + size]))
            self._sent += size
            self._socket.sendall(self._h2.data_to_send())
            if self._socket.pending() or select.select([self._socket], [], [], 0)[0]:
                self._note()
                self._receive()
        if self._sent == len(self._body) and not self._ended:
            self._note()
            self._h2.end_stream(STREAM)
            self._ended = True
        self._socket.sendall(self._h2.data_to_send())
        self._note()

    def _note(self) -> None:
        if self._ended:
            return
        window = max(0, self._h2.local_flow_control_window(STREAM))
        self.largest_window = max(self.largest_window, window)
        allowed = min(self._sent + window, len(self._body))
        self.points.append((round(time.monotonic() - self._began, 4), self._sent / MIB, allowed / MIB))


@click.command()
@click.option("--ca", required=True)
@click.option("--seconds", type=float, default=30.0)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("url")
def main(ca: str, seconds: float, file: Path, url: str) -> None:
    parts = urlsplit(url)
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((str(parts.hostname), parts.port or 443), timeout=seconds) as plain,
        context.wrap_socket(plain, server_hostname=parts.hostname) as connection,
    ):
        upload = Upload(connection, file.read_bytes(), parts.netloc, parts.path)
        upload.run(time.monotonic() + seconds)
    step = max(1, len(upload.points) // POINTS)
    points = [*upload.points[:-1:step], *upload.points[-1:]]
    told = {"status": upload.status, "largest_window": upload.largest_window, "points": points}
    click.echo(json.dumps(told))


if __name__ == "__main__":
    main()
