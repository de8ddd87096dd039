"""Field sections that are too long, never end, unfold, or are malformed (RFC 9113 sections 6.10 and 8, RFC 7541)."""

from __future__ import annotations

from hpack.hpack import encode_integer

from loadtest.hostile import frames
from loadtest.hostile.foe import Enemy, Foe

_LOOK_SECONDS = 0.2
MANY = 200


def continuations(enemy: Enemy) -> None:
    """A header of seventy frames."""
    with enemy.connect() as foe:
        _, header = _unfinished(foe, "GET")
        foe.send(
            header, *[frames.frame(frames.CONTINUATION, 0, 1, foe.block((f"x-{n}", "y" * 400))) for n in range(70)]
        )
        foe.linger()


def continuation_drip(enemy: Enemy) -> None:
    """A header that goes on a byte at a time, and an upload beside it that it holds up."""
    with enemy.connect() as foe:
        foe.answers_pings = False
        foe.request("PUT", "/files/held-up", end=False)
        stream_id, header = _unfinished(foe, "GET")
        foe.send(header)
        for byte in frames.frame(frames.CONTINUATION, 0, stream_id, bytes(1000)):
            foe.send(bytes([byte]))
            foe.rest(_LOOK_SECONDS)


def header_drip(enemy: Enemy) -> None:
    """A header of which a byte comes now and then, within one frame."""
    with enemy.connect() as foe:
        foe.answers_pings = False
        for byte in foe.open("GET", "/healthz", ("x-long", "y" * 1000))[1]:
            foe.send(bytes([byte]))
            foe.rest(_LOOK_SECONDS)


def _unfinished(foe: Foe, method: str) -> tuple[int, bytes]:
    """A header whose end is not told."""
    stream_id, header = foe.open(method, "/healthz")
    return stream_id, header[:4] + bytes([frames.END_STREAM]) + header[5:]


def _indexed(index: int) -> bytes:
    """A reference to the table (RFC 7541 section 6.1)."""
    block = encode_integer(index, 7)
    block[0] |= 0x80
    return bytes(block)


_NEWEST = 62
"""Of the dynamic table."""


def _referring(enemy: Enemy, value: str, n_times: int, n_requests: int, *, lingers: bool) -> None:
    """Requests that have one field of the dynamic table many times."""
    with enemy.connect() as foe:
        request = foe.open("GET", "/healthz")[1][9:]
        foe.send(foe.open_block(request + foe.block(("x-bomb", value)))[1])
        foe.until(lambda: foe.seen.statuses.total() > 0)
        for _ in range(n_requests):
            foe.send(foe.open_block(_again(foe) + _indexed(_NEWEST) * n_times)[1])
        if lingers:
            foe.linger()
        foe.served(n_requests, 1)


def _again(foe: Foe) -> bytes:
    return foe.open("GET", "/healthz")[1][9:]


def hpack_bomb(enemy: Enemy) -> None:
    """3 KB in the table, and four thousand references to it: 12 MB from a frame of 4 KB."""
    _referring(enemy, "b" * 3000, 4000, MANY, lingers=True)


def long_lists(enemy: Enemy) -> None:
    """Lists somewhat longer than promised, one after the other."""
    _referring(enemy, "b" * 3000, 20, MANY, lingers=False)


def thousand_fields(enemy: Enemy) -> None:
    """Eight hundred fields of nothing, by reference: a list that is just allowed, again and again."""
    _referring(enemy, "", 800, 4 * MANY, lingers=True)


def _literal(name: bytes, value: bytes) -> bytes:
    """A field that is not indexed and not compressed (RFC 7541 section 6.2.2)."""
    return b"\0" + bytes(encode_integer(len(name), 7)) + name + bytes(encode_integer(len(value), 7)) + value


def many_literals(enemy: Enemy) -> None:
    """Two hundred short fields and a long one, coded so that a decoder which copies what is left copies much."""
    literals = b"".join(_literal(b"x-%03d" % n, b"y") for n in range(200)) + _literal(b"x-long", b"z" * 12_000)
    with enemy.connect() as foe:
        for _ in range(MANY):
            foe.send(foe.open_block(_again(foe) + literals)[1])
        foe.served(MANY, 0)


def empty_names(enemy: Enemy) -> None:
    """A field whose name has no length (CVE-2019-9516)."""
    with enemy.connect() as foe:
        for _ in range(MANY):
            foe.send(foe.open_block(_again(foe) + b"\x00\x00\x01x")[1])
        foe.linger()


MALFORMED: tuple[tuple[tuple[str, str], ...], ...] = (
    (("transfer-encoding", "chunked"),),
    (("connection", "close"),),
    (("x", "a\r\nb: c"),),
    (("x", "a\0b"),),
    (("X-Upper", "a"),),
    (("te", "gzip"),),
    (("content-length", "5"), ("content-length", "6")),
    (("content-length", "-1"),),
    ((":path", "/healthz"),),
    ((":status", "200"),),
    ((":unknown", "1"),),
    (("a b", "c"),),
)


def malformed(enemy: Enemy) -> None:
    """Requests that mean something else to whoever is behind (smuggling), in turn, again and again."""
    with enemy.connect() as foe:
        for number in range(MANY):
            foe.send(foe.open("GET", "/healthz", *MALFORMED[number % len(MALFORMED)])[1])
        foe.linger()


PSEUDO: tuple[tuple[tuple[str, str], ...], ...] = (
    ((":method", "GET"), (":scheme", "https"), (":authority", "a")),
    ((":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "")),
    ((":method", "G T"), (":scheme", "https"), (":authority", "a"), (":path", "/")),
    ((":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "relative")),
    ((":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/a b")),
    ((":method", "CONNECT"), (":authority", "a:1")),
    ((":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/\u00e4\u00f6")),
    ((":method", "GET"), (":scheme", "https"), (":authority", "a\r\nb"), (":path", "/")),
)


def odd_targets(enemy: Enemy) -> None:
    """Methods and paths that are none, each once; a good request behind each is answered."""
    with enemy.connect() as foe:
        for fields in PSEUDO:
            foe.send(foe.open_block(foe.block(*fields))[1])
            before = foe.seen.statuses[200]
            foe.request("GET", "/healthz")
            foe.until(lambda before=before: foe.seen.statuses[200] > before)  # type: ignore[misc]


def trailer_flood(enemy: Enemy) -> None:
    """Uploads with the longest trailers there are, whose answers are not let through."""
    with enemy.connect(window=0) as foe:
        foe.send(foe.open_block(foe.open("GET", "/files/large")[1][9:] + foe.block(("x-bomb", "")))[1])
        for _ in range(100):
            stream_id, header = foe.open("GET", "/files/large", end=False)
            flags = frames.END_HEADERS | frames.END_STREAM
            foe.send(header, frames.frame(frames.HEADERS, flags, stream_id, _indexed(_NEWEST) * 1000))
        foe.until(lambda: foe.seen.resets[frames.CANCEL] >= 100)
