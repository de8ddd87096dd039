"""Frames that are cheap to send and cost the receiver more, as many of them as it takes until it hangs up.

Each sends at most some ten times what the gateway allows by default; then it waits to be cut off.
"""

from __future__ import annotations

import itertools

from loadtest.hostile import frames
from loadtest.hostile.foe import Enemy, Foe

BATCH = 64
"""Requests in one write."""


def rapid_reset(enemy: Enemy) -> None:
    """Requests that are reset at once (CVE-2023-44487)."""
    with enemy.connect() as foe:
        for _ in range(2000 // BATCH):
            opened = [foe.open("GET", "/healthz") for _ in range(BATCH)]
            foe.send(*(header + frames.reset(stream_id) for stream_id, header in opened))
        foe.linger()


def rapid_reset_of_uploads(enemy: Enemy) -> None:
    """The same with uploads that have begun."""
    with enemy.connect() as foe:
        for _ in range(2000 // BATCH):
            opened = [foe.open("PUT", "/files/reset", end=False) for _ in range(BATCH)]
            foe.send(*(header + frames.data(it, b"x" * 100) + frames.reset(it) for it, header in opened))
        foe.linger()


def late_resets(enemy: Enemy) -> None:
    """RST_STREAM of a stream that was answered long ago."""
    with enemy.connect() as foe:
        stream_id = foe.request("OPTIONS", "/files/")
        foe.catch_up()
        for _ in range(1000):
            foe.send(frames.reset(stream_id) * 1000)
        foe.linger()


def _made_resets(enemy: Enemy, fault: bytes, *, end: bool) -> None:
    with enemy.connect() as foe:
        for _ in range(1500):
            stream_id, header = foe.open("PUT", "/files/made-reset", ("content-length", "5"), end=end)
            foe.send(header, fault.replace(b"\0\0\0\x7e", stream_id.to_bytes(4)))
        foe.linger()


_PLACE = 0x7E
"""Stands for the stream in the frames that are made once."""


def made_reset_by_overflow(enemy: Enemy) -> None:
    """Streams that the gateway must reset: a window that overflows (CVE-2025-8671)."""
    _made_resets(enemy, frames.window_update(_PLACE, frames.MAX_WINDOW), end=False)


def made_reset_by_zero_update(enemy: Enemy) -> None:
    """The same: a WINDOW_UPDATE of nothing."""
    _made_resets(enemy, frames.window_update(_PLACE, 0), end=False)


def made_reset_by_late_data(enemy: Enemy) -> None:
    """The same: DATA after the end of the body."""
    _made_resets(enemy, frames.data(_PLACE, b"12345", end=True) + frames.data(_PLACE, b"late"), end=False)


def made_reset_by_length(enemy: Enemy) -> None:
    """The same: a body shorter than its content-length."""
    _made_resets(enemy, frames.data(_PLACE, b"1234", end=True), end=False)


def made_reset_by_priority(enemy: Enemy) -> None:
    """The same: a stream that depends on itself, which is no longer an error."""
    _made_resets(enemy, frames.priority(_PLACE, _PLACE), end=False)


def settings_flood(enemy: Enemy) -> None:
    with enemy.connect() as foe:
        for _ in range(100):
            foe.send(frames.settings() * 100)
        foe.linger()


def settings_of_many_entries(enemy: Enemy) -> None:
    """One frame that says the same thing ten thousand times, again and again."""
    with enemy.connect() as foe:
        for _ in range(200):
            foe.send(frames.settings(*[(frames.INITIAL_WINDOW_SIZE, 65535)] * 2700))
        foe.linger()


def window_flapping(enemy: Enemy) -> None:
    """INITIAL_WINDOW_SIZE up and down while many streams are open: each change is made on all of them."""
    with enemy.connect() as foe:
        for _ in range(120):
            foe.send(foe.open("PUT", "/files/flapping", end=False)[1])
        for size in itertools.islice(itertools.cycle((1, 1 << 20)), 10_000):
            foe.send(frames.settings((frames.INITIAL_WINDOW_SIZE, size)))
        foe.linger()


def ping_flood(enemy: Enemy) -> None:
    with enemy.connect() as foe:
        for _ in range(100):
            foe.send(frames.ping() * 100)
        foe.linger()


def pings_unread(enemy: Enemy) -> None:
    """PING whose answers are not read."""
    with enemy.connect(reads=False) as foe:
        for _ in range(100):
            foe.send(frames.ping() * 1000)
        foe.sense_the_end()


def _upload(foe: Foe) -> int:
    return foe.request("PUT", "/files/dribble", end=False)


def empty_data(enemy: Enemy) -> None:
    """DATA with nothing in it (CVE-2019-9518)."""
    with enemy.connect() as foe:
        stream_id = _upload(foe)
        for _ in range(100):
            foe.send(frames.data(stream_id) * 200)
        foe.linger()


def tiny_data(enemy: Enemy) -> None:
    """DATA of two bytes each."""
    with enemy.connect() as foe:
        for _ in range(8):
            stream_id = _upload(foe)
            foe.send(frames.data(stream_id, b"ab") * 30_000)
        foe.linger()


def padding(enemy: Enemy) -> None:
    """Little body and much padding."""
    with enemy.connect() as foe:
        for _ in range(16):
            stream_id = _upload(foe)
            foe.until(lambda it=stream_id: foe.granted[it] > 0)  # type: ignore[misc]
            foe.send(frames.padded_data(stream_id, b"a" * 64, 255) * 2500)
        foe.linger()


def priorities(enemy: Enemy) -> None:
    """A tree of a thousand streams that is turned over and over (CVE-2019-9513)."""
    nodes = [frames.priority(2 * n + 1, max(0, 2 * n - 1)) for n in range(1000)]
    turns = [frames.priority(2 * n + 1, 0, exclusive=True) for n in range(1000)]
    with enemy.connect() as foe:
        for _ in range(1000):
            foe.send(*nodes, *turns)
        foe.linger()


def unknown_frames(enemy: Enemy) -> None:
    """Frames of a kind that nobody knows, which are to be ignored (RFC 9113 section 5.5)."""
    with enemy.connect() as foe:
        for _ in range(2000):
            foe.send(frames.frame(0xEE, 0, 0, bytes(16000)))
        foe.linger()


def window_updates(enemy: Enemy) -> None:
    with enemy.connect(window=1) as foe:
        stream_id = foe.request("GET", "/files/large")
        for _ in range(100):
            foe.send(frames.window_update(stream_id, 1) * 1000)
        foe.linger()


def too_many_streams(enemy: Enemy) -> None:
    """Requests beyond the promised number, without end."""
    with enemy.connect() as foe:
        for _ in range(200):
            foe.send(*(foe.open("PUT", "/files/many-streams", end=False)[1] for _ in range(BATCH)))
        foe.linger()
