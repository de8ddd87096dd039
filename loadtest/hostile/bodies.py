"""Bodies that do not come, do not end, come too late, or become far more than was sent."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zlib
from functools import cache

from loadtest.hostile import frames
from loadtest.hostile.foe import PATIENCE_SECONDS, Enemy, Foe

STREAMS = 120
_LOOK_SECONDS = 0.5
_FRAME_BYTES = 16384
_BOMB_BYTES = 60 << 20


def slow_bodies(enemy: Enemy) -> None:
    """Many uploads of which a byte comes now and then."""
    with enemy.connect() as foe:
        streams = [foe.request("PUT", f"/files/slow-{n}", end=False) for n in range(STREAMS)]
        for _ in range(int(PATIENCE_SECONDS / _LOOK_SECONDS)):
            foe.send(*(frames.data(stream_id, b"x") for stream_id in streams))
            foe.rest(_LOOK_SECONDS)
            foe.take(0.0)
            if foe.seen.statuses[408] >= STREAMS:
                return


def endless(enemy: Enemy) -> None:
    """A body without a length that does not stop, not even when it was answered."""
    with enemy.connect() as foe:
        stream_id = foe.request("PUT", "/files/endless", end=False)
        _pour(foe, stream_id, 1 << 30)


def _pour(foe: Foe, stream_id: int, n_bytes: int) -> None:
    """As the window allows, until all is sent or the stream reset."""
    sent, resets = 0, foe.seen.resets.total()
    piece = frames.data(stream_id, bytes(_FRAME_BYTES))
    while sent < n_bytes and foe.seen.resets.total() == resets:
        room = foe.first_window + foe.granted[stream_id] - sent
        if room < _FRAME_BYTES:
            foe.take(_LOOK_SECONDS)
        else:
            foe.send(piece * min(16, room // _FRAME_BYTES))
            sent += min(16, room // _FRAME_BYTES) * _FRAME_BYTES


def late_data(enemy: Enemy) -> None:
    """DATA and RST_STREAM for streams that were answered, refused or reset; good requests in between are answered."""
    with enemy.connect() as foe:
        for _ in range(50):
            stream_id, header = foe.open("PUT", "/files/a%00b", end=False)
            foe.send(header, frames.data(stream_id, b"x" * 1000))
            foe.catch_up()
            foe.send(frames.data(stream_id, b"x" * 1000), frames.reset(stream_id), frames.data(stream_id, b"y"))
            before = foe.over()
            foe.request("GET", "/healthz")
            foe.served(1, before)


def bombs(enemy: Enemy) -> None:
    """Coded bodies that would become a thousand times what they are, on many streams."""
    bomb = _bomb()
    with enemy.connect() as foe:
        before = foe.over()
        for number in range(32):
            stream_id = foe.request("PUT", f"/files/bomb-{number}", ("content-encoding", "gzip"), end=False)
            foe.send(*(frames.data(stream_id, bomb[at : at + 8192]) for at in range(0, len(bomb) - 1, 8192)))
            foe.send(frames.data(stream_id, bomb[-1:], end=True))
        foe.served(32, before)


@cache
def _bomb() -> bytes:
    """60 MiB of zeros, as many as go into a first window coded: the same MiB again and again, so that it costs its
    sender next to nothing."""
    coder = zlib.compressobj(6, wbits=-zlib.MAX_WBITS)
    piece = coder.compress(bytes(1 << 20)) + coder.flush(zlib.Z_FULL_FLUSH)
    trailer = struct.pack("<II", zlib.crc32(bytes(_BOMB_BYTES)), _BOMB_BYTES)
    return gzip.compress(b"")[:10] + piece * (_BOMB_BYTES >> 20) + coder.flush() + trailer


def bundles(enemy: Enemy) -> None:
    """Archives of small members on many streams, whose answers are not let through."""
    archive = _archive(256)
    with enemy.connect(window=0) as foe:
        before = foe.over()
        streams = [
            foe.request("PUT", f"/files/bundle-{n}/", ("content-type", "application/x-tar"), end=False)
            for n in range(16)
        ]
        for at in range(0, len(archive), _FRAME_BYTES):
            foe.send(*(frames.data(it, archive[at : at + _FRAME_BYTES]) for it in streams))
        foe.send(*(frames.data(it, end=True) for it in streams))
        foe.served(16, before)


def _archive(n_members: int) -> bytes:
    """Members of 1 KiB."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for number in range(n_members):
            member = tarfile.TarInfo(f"member-{number}")
            member.size = 1024
            archive.addfile(member, io.BytesIO(bytes(1024)))
    return written.getvalue()


def forms(enemy: Enemy) -> None:
    """Forms of a hundred thousand fields and of two thousand files without a name."""
    field = b'--b\r\ncontent-disposition: form-data; name="%d"\r\n\r\n\r\n'
    file = b'--b\r\ncontent-disposition: form-data; name="f"; filename=""\r\n\r\n\r\n'
    with enemy.connect() as foe:
        _form(foe, b"".join(field % number for number in range(100_000)))
        _form(foe, file * 20_000)


def _form(foe: Foe, body: bytes) -> None:
    done = foe.seen.statuses.total() + foe.seen.resets.total()
    kind = ("content-type", "multipart/form-data; boundary=b")
    stream_id = foe.request("POST", "/files/form/", kind, end=False)
    body += b"--b--\r\n"
    sent = 0
    while sent < len(body) and foe.seen.statuses.total() + foe.seen.resets.total() == done:
        room = foe.first_window + foe.granted[stream_id] - sent
        if room <= 0:
            foe.take(_LOOK_SECONDS)
            continue
        piece = body[sent : sent + min(room, _FRAME_BYTES)]
        sent += len(piece)
        foe.send(frames.data(stream_id, piece, end=sent == len(body)))
    foe.until(lambda: foe.seen.statuses.total() + foe.seen.resets.total() > done)
