"""RFC 9113 sections 6.1 to 6.4, 6.6 to 6.8 and 6.10: the frames, each by itself."""

from __future__ import annotations

from h2gate.wire.engine import ErrorCode
from tests.wire.case import ANSWERED, Answers, Ends, GoesOn, Says, Wait, connection_error, rfc9113, stream_error
from tests.wire.octets import (
    END_HEADERS,
    END_STREAM,
    GET,
    PADDED,
    PRIORITY,
    STREAM_DEPENDENCY,
    Kind,
    continuation,
    data,
    frame,
    get,
    goaway,
    headers,
    lines,
    ping,
    priority,
    put,
    reset,
)

PROTOCOL, SIZE, CLOSED = ErrorCode.PROTOCOL_ERROR, ErrorCode.FRAME_SIZE_ERROR, ErrorCode.STREAM_CLOSED
WHOLE = END_STREAM | END_HEADERS
OPEN_BLOCK = headers(1, GET, end_headers=False)

DATA_CASES = (
    rfc9113("6.1-one-frame", put(1) + data(1, b"whole", end=True), allow=ANSWERED),
    rfc9113("6.1-many-frames", put(1) + data(1, b"a") + data(1, b"b") + data(1, b"c", end=True), allow=ANSWERED),
    rfc9113("6.1-empty-frame-ends", put(1) + data(1, b"a") + data(1, end=True), allow=ANSWERED),
    rfc9113("6.1-padding", put(1) + frame(Kind.DATA, PADDED | END_STREAM, 1, b"\x06padded" + bytes(6)), allow=ANSWERED),
    rfc9113(
        "6.1-nothing-but-padding",
        put(1) + frame(Kind.DATA, PADDED | END_STREAM, 1, b"\xff" + bytes(255)),
        allow=ANSWERED,
    ),
    rfc9113("6.1-padding-of-length-0", put(1) + frame(Kind.DATA, PADDED | END_STREAM, 1, b"\x00x"), allow=ANSWERED),
    rfc9113(
        "6.1-padding-that-is-not-zero",
        put(1) + frame(Kind.DATA, PADDED | END_STREAM, 1, b"\x02xPP"),
        allow=(Answers(), Ends((PROTOCOL,))),
    ),
    rfc9113("6.1-stream-0", data(0, b"nobody's"), allow=connection_error(PROTOCOL)),
    rfc9113("6.1-stream-not-open", get(1), Wait(), data(1, b"late"), allow=stream_error(CLOSED)),
    rfc9113(
        "6.1-padding-as-long-as-the-payload",
        put(1) + frame(Kind.DATA, PADDED, 1, b"\x05" + bytes(4)),
        allow=connection_error(PROTOCOL),
    ),
    rfc9113(
        "6.1-padding-longer-than-the-payload",
        put(1) + frame(Kind.DATA, PADDED | END_STREAM, 1, b"\xffxyz"),
        allow=connection_error(PROTOCOL),
    ),
    rfc9113(
        "6.1-padded-without-pad-length",
        put(1) + frame(Kind.DATA, PADDED, 1),
        allow=(*stream_error(SIZE), *connection_error(PROTOCOL)),
    ),
)

HEADERS_CASES = (
    rfc9113("6.2-plain", get(1), allow=(Answers(status=200),)),
    rfc9113("6.2-padding", frame(Kind.HEADERS, WHOLE | PADDED, 1, b"\x04" + GET + bytes(4)), allow=ANSWERED),
    rfc9113("6.2-priority", frame(Kind.HEADERS, WHOLE | PRIORITY, 1, STREAM_DEPENDENCY + GET), allow=ANSWERED),
    rfc9113(
        "6.2-padding-and-priority",
        frame(Kind.HEADERS, WHOLE | PRIORITY | PADDED, 1, b"\x01" + STREAM_DEPENDENCY + GET + b"\0"),
        allow=ANSWERED,
    ),
    rfc9113("6.2-block-cut-by-priority", OPEN_BLOCK + priority(1), allow=connection_error(PROTOCOL)),
    rfc9113("6.2-block-cut-by-ping", OPEN_BLOCK + ping(b"8 octets"), allow=connection_error(PROTOCOL)),
    rfc9113("6.2-block-cut-by-headers-of-another-stream", OPEN_BLOCK + get(3), allow=connection_error(PROTOCOL)),
    rfc9113("6.2-block-cut-by-headers-of-the-same-stream", OPEN_BLOCK + get(1), allow=connection_error(PROTOCOL)),
    rfc9113("6.2-block-cut-by-data", OPEN_BLOCK + data(1, b"x"), allow=connection_error(PROTOCOL)),
    rfc9113("6.2-block-cut-by-reset", OPEN_BLOCK + reset(1), allow=connection_error(PROTOCOL)),
    rfc9113("6.2-stream-0", headers(0, GET), allow=connection_error(PROTOCOL)),
    rfc9113(
        "6.2-padding-longer-than-the-payload",
        frame(Kind.HEADERS, WHOLE | PADDED, 1, b"\xff" + GET),
        allow=connection_error(PROTOCOL),
    ),
    rfc9113(
        "6.2-padding-reaches-into-priority",
        frame(Kind.HEADERS, WHOLE | PADDED | PRIORITY, 1, b"\x06" + STREAM_DEPENDENCY),
        allow=connection_error(PROTOCOL, SIZE),
    ),
    rfc9113(
        "6.2-priority-too-short", frame(Kind.HEADERS, WHOLE | PRIORITY, 1, b"\0\0\0"), allow=connection_error(SIZE)
    ),
    rfc9113(
        "6.2-padded-without-pad-length", frame(Kind.HEADERS, WHOLE | PADDED, 1), allow=connection_error(SIZE, PROTOCOL)
    ),
)

SMALL_CASES = (
    rfc9113("6.3-plain", priority(1) + get(1), allow=ANSWERED),
    rfc9113("6.3-stream-0", priority(0), allow=connection_error(PROTOCOL)),
    rfc9113("6.3-too-short", put(1) + frame(Kind.PRIORITY, 0, 1, bytes(4)), allow=stream_error(SIZE)),
    rfc9113("6.3-too-long", put(1) + frame(Kind.PRIORITY, 0, 1, bytes(6)), allow=stream_error(SIZE)),
    rfc9113("6.4-plain", put(1) + reset(1) + get(3), allow=(Answers(3),)),
    rfc9113("6.4-stream-0", reset(0), allow=connection_error(PROTOCOL)),
    rfc9113("6.4-idle-stream", reset(1), allow=connection_error(PROTOCOL)),
    rfc9113("6.4-too-short", put(1) + frame(Kind.RST_STREAM, 0, 1, bytes(3)), allow=connection_error(SIZE)),
    rfc9113("6.4-too-long", put(1) + frame(Kind.RST_STREAM, 0, 1, bytes(5)), allow=connection_error(SIZE)),
    rfc9113(
        "6.6-promise-of-a-client",
        put(1) + frame(Kind.PUSH_PROMISE, END_HEADERS, 1, bytes((0, 0, 0, 2)) + GET),
        allow=connection_error(PROTOCOL),
    ),
    rfc9113(
        "6.6-promise-on-stream-0",
        frame(Kind.PUSH_PROMISE, END_HEADERS, 0, bytes((0, 0, 0, 2)) + GET),
        allow=connection_error(PROTOCOL),
    ),
    rfc9113("6.7-answered", ping(b"question"), allow=(Says(ping(b"question", ack=True)),)),
    rfc9113(
        "6.7-answered-while-a-body-comes",
        put(1) + data(1, b"part") + ping(b"question"),
        allow=(Says(ping(b"question", ack=True)),),
    ),
    rfc9113(
        "6.7-acknowledgement-is-not-answered",
        ping(b"answer !", ack=True),
        allow=(Says(ping(b"answer !", ack=True), 0),),
    ),
    rfc9113("6.7-on-a-stream", put(1) + frame(Kind.PING, 0, 1, bytes(8)), allow=connection_error(PROTOCOL)),
    rfc9113("6.7-too-short", frame(Kind.PING, 0, 0, bytes(6)), allow=connection_error(SIZE)),
    rfc9113("6.7-too-long", frame(Kind.PING, 0, 0, bytes(9)), allow=connection_error(SIZE)),
    rfc9113("6.8-plain", goaway(), allow=(GoesOn(), Ends((ErrorCode.NO_ERROR,), said=False))),
    rfc9113("6.8-on-a-stream", put(1) + goaway(stream_id=1), allow=connection_error(PROTOCOL)),
    rfc9113("6.8-too-short", frame(Kind.GOAWAY, 0, 0, bytes(7)), allow=connection_error(SIZE)),
)

CONTINUATION_CASES = (
    rfc9113("6.10-one", headers(1, GET[:20], end_headers=False) + continuation(1, GET[20:]), allow=ANSWERED),
    rfc9113(
        "6.10-two",
        headers(1, GET[:9], end_headers=False)
        + continuation(1, GET[9:30], end_headers=False)
        + continuation(1, GET[30:]),
        allow=ANSWERED,
    ),
    rfc9113(
        "6.10-empty",
        headers(1, b"", end_headers=False) + continuation(1, b"", end_headers=False) + continuation(1, GET),
        allow=ANSWERED,
    ),
    rfc9113(
        "6.10-after-padded-headers",
        frame(Kind.HEADERS, END_STREAM | PADDED, 1, b"\x03" + GET[:20] + bytes(3)) + continuation(1, GET[20:]),
        allow=ANSWERED,
    ),
    rfc9113(
        "6.10-of-trailers",
        put(1) + headers(1, lines((b"x-a", b"b"))[:3], end_headers=False) + continuation(1, lines((b"x-a", b"b"))[3:]),
        allow=ANSWERED,
    ),
    rfc9113(
        "6.10-then-another-frame",
        OPEN_BLOCK + continuation(1, b"", end_headers=False) + data(1, end=True),
        allow=connection_error(PROTOCOL),
    ),
    rfc9113("6.10-stream-0", OPEN_BLOCK + continuation(0, b""), allow=connection_error(PROTOCOL)),
    rfc9113("6.10-another-stream", OPEN_BLOCK + continuation(3, b""), allow=connection_error(PROTOCOL)),
    rfc9113(
        "6.10-after-headers-that-ended",
        headers(1, GET, end=False) + continuation(1, GET),
        allow=connection_error(PROTOCOL),
    ),
    rfc9113(
        "6.10-after-a-block-that-ended",
        OPEN_BLOCK + continuation(1, b"") + continuation(1, b""),
        allow=connection_error(PROTOCOL),
    ),
    rfc9113("6.10-after-data", put(1) + data(1, b"x") + continuation(1, GET), allow=connection_error(PROTOCOL)),
)

CASES = DATA_CASES + HEADERS_CASES + SMALL_CASES + CONTINUATION_CASES
