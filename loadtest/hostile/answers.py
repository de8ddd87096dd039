"""Answers that are asked for and not taken, and windows that are not what they should be (RFC 9113 section 5.2)."""

from __future__ import annotations

import contextlib

from loadtest.hostile import frames
from loadtest.hostile.foe import PATIENCE_SECONDS, Enemy

STREAMS = 120
N_LISTINGS = 30
_LOOK_SECONDS = 0.1


def zero_windows(enemy: Enemy) -> None:
    """Many downloads whose windows are never opened."""
    with enemy.connect(window=0) as foe:
        for _ in range(STREAMS):
            foe.request("GET", "/files/large")
        foe.until(lambda: foe.seen.resets[frames.CANCEL] >= STREAMS)


def tiny_windows(enemy: Enemy) -> None:
    """A download that is taken a byte at a time (CVE-2019-9511)."""
    with enemy.connect(window=1) as foe:
        stream_id = foe.request("GET", "/files/large")
        for _ in range(int(PATIENCE_SECONDS / _LOOK_SECONDS)):
            foe.send(frames.window_update(stream_id, 1))
            foe.rest(_LOOK_SECONDS)
            foe.take(0.0)
            if foe.seen.resets[frames.CANCEL]:
                return


def unread(enemy: Enemy) -> None:
    """Many downloads on four connections whose sockets are not read."""
    with contextlib.ExitStack() as stack:
        foes = [stack.enter_context(enemy.connect(reads=False)) for _ in range(4)]
        for foe in foes:
            for _ in range(STREAMS):
                foe.request("GET", "/files/large")
        for foe in foes:
            with foe:
                foe.sense_the_end()


def listings(enemy: Enemy) -> None:
    """A large folder asked for on many streams, and none of the answers let through."""
    with enemy.connect(window=0) as foe:
        for _ in range(N_LISTINGS):
            foe.request("GET", "/files/many/")
        foe.until(lambda: foe.seen.resets[frames.CANCEL] >= N_LISTINGS)


def listings_read(enemy: Enemy) -> None:
    """A large folder asked for on many streams, again and again, and read."""
    with enemy.connect() as foe:
        for _ in range(2):
            before = foe.over()
            for _ in range(N_LISTINGS):
                foe.request("GET", "/files/many/")
            foe.served(N_LISTINGS, before)


def overrun(enemy: Enemy) -> None:
    """More of a body than the window allows."""
    with enemy.connect() as foe:
        stream_id = foe.request("PUT", "/files/overrun", end=False)
        for _ in range(1 << 14):  # the window grows while the gateway keeps up, and then no more
            foe.send(frames.data(stream_id, bytes(16384)))
        foe.linger()


def window_beyond_all(enemy: Enemy) -> None:
    """SETTINGS with a window larger than there is."""
    with enemy.connect() as foe:
        foe.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 1 << 31)))
        foe.linger()
