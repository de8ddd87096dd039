"""RFC 9113 sections 5.1 and 5.3: the states of a stream, its identifier, how many there may be, and priority."""

from __future__ import annotations

from h2gate.wire.engine import ErrorCode
from tests.wire.case import (
    ANSWERED,
    MAX_STREAMS,
    Answers,
    GoesOn,
    Resets,
    Wait,
    connection_error,
    rfc9113,
    stream_error,
)
from tests.wire.octets import (
    END_HEADERS,
    END_STREAM,
    GET,
    PRIORITY,
    Kind,
    continuation,
    data,
    entered,
    frame,
    get,
    headers,
    indexed,
    priority,
    put,
    reset,
    window,
)

PROTOCOL, CLOSED = ErrorCode.PROTOCOL_ERROR, ErrorCode.STREAM_CLOSED
TRAILERS = headers(1, b"")
MANY = b"".join(put(1 + 2 * n) for n in range(MAX_STREAMS))
OVER = 1 + 2 * MAX_STREAMS
"""The first stream that is one too many."""
SELF_DEPENDENT = frame(Kind.HEADERS, END_STREAM | END_HEADERS | PRIORITY, 1, bytes((0, 0, 0, 1, 15)) + GET)
DEPENDENT = frame(Kind.HEADERS, END_STREAM | END_HEADERS | PRIORITY, 3, bytes((0x80, 0, 0, 1, 255)) + GET)

CASES = (
    rfc9113("5.1-idle-data", data(1, b"early", end=True), allow=connection_error(PROTOCOL)),
    rfc9113("5.1-idle-reset", reset(1), allow=connection_error(PROTOCOL)),
    rfc9113("5.1-idle-window-update", window(1, 100), allow=connection_error(PROTOCOL)),
    rfc9113("5.1-idle-continuation", continuation(1, GET), allow=connection_error(PROTOCOL)),
    rfc9113("5.1-idle-data-above-a-stream-that-lives", put(1) + data(5, b"early"), allow=connection_error(PROTOCOL)),
    rfc9113("5.1-idle-data-on-a-stream-of-the-server", data(2, b"x"), allow=connection_error(PROTOCOL)),
    rfc9113("5.1-idle-reset-of-a-stream-of-the-server", reset(2), allow=connection_error(PROTOCOL)),
    rfc9113("5.1-idle-window-update-on-a-stream-of-the-server", window(2, 1), allow=connection_error(PROTOCOL)),
    rfc9113("5.1-idle-reset-above-a-stream-that-lives", put(1) + reset(5), allow=connection_error(PROTOCOL)),
    rfc9113(
        "5.1-idle-window-update-above-a-stream-that-lives", put(1) + window(5, 1), allow=connection_error(PROTOCOL)
    ),
    rfc9113("5.1-idle-priority", priority(1) + get(1), allow=ANSWERED),
    rfc9113("5.1-idle-priority-of-a-higher-stream", priority(9) + get(1), allow=ANSWERED),
    rfc9113("5.1-half-closed-data", get(1) + data(1, b"more", end=True), allow=stream_error(CLOSED)),
    rfc9113("5.1-half-closed-data-without-end", get(1) + data(1, b"more"), allow=stream_error(CLOSED)),
    rfc9113("5.1-half-closed-headers", get(1) + TRAILERS, allow=stream_error(CLOSED)),
    rfc9113("5.1-half-closed-continuation", get(1) + continuation(1, b""), allow=connection_error(PROTOCOL, CLOSED)),
    rfc9113(
        "5.1-half-closed-data-after-a-body",
        put(1) + data(1, b"x", end=True) + data(1, b"y"),
        allow=stream_error(CLOSED),
    ),
    rfc9113("5.1-half-closed-window-update", get(1) + window(1, 1), allow=ANSWERED),
    rfc9113("5.1-half-closed-priority", get(1) + priority(1), allow=ANSWERED),
    rfc9113("5.1-half-closed-reset", get(1) + reset(1) + get(3), allow=(Answers(3),)),
    rfc9113("5.1-reset-then-data", put(1) + reset(1) + data(1, b"late", end=True), allow=stream_error(CLOSED)),
    rfc9113("5.1-reset-then-headers", put(1) + reset(1) + headers(1, GET), allow=stream_error(CLOSED)),
    rfc9113(
        "5.1-reset-then-continuation",
        put(1) + reset(1) + continuation(1, b""),
        allow=connection_error(PROTOCOL, CLOSED),
    ),
    rfc9113(
        "5.1-reset-then-window-update-and-reset",
        put(1) + reset(1) + window(1, 1) + reset(1) + get(3),
        allow=(Answers(3),),
    ),
    rfc9113("5.1-closed-data", get(1), Wait(), data(1, b"late", end=True), allow=stream_error(CLOSED)),
    rfc9113("5.1-closed-headers", get(1), Wait(), headers(1, GET), allow=connection_error(CLOSED, PROTOCOL)),
    rfc9113("5.1-closed-continuation", get(1), Wait(), continuation(1, b""), allow=connection_error(PROTOCOL, CLOSED)),
    rfc9113("5.1-closed-priority", get(1), Wait(), priority(1, 3, weight=200), allow=ANSWERED),
    rfc9113("5.1-closed-window-update-and-reset", get(1), Wait(), window(1, 10) + reset(1), allow=ANSWERED),
    rfc9113(
        "5.1-closed-data-cut-anywhere",
        get(1),
        Wait(),
        data(1, b"late")[:4],
        data(1, b"late")[4:11],
        data(1, b"late")[11:],
        allow=stream_error(CLOSED),
    ),
    rfc9113(
        "5.1-two-streams-interleaved",
        put(1) + put(3) + data(1, b"a") + data(3, b"b", end=True) + data(1, b"c", end=True),
        allow=(Answers(1),),
    ),
    rfc9113(
        "5.1-two-streams-answered-both",
        put(1) + put(3) + data(1, b"a") + data(3, b"b", end=True) + data(1, b"c", end=True),
        allow=(Answers(3),),
    ),
    rfc9113("5.1.1-even-stream", get(2), allow=connection_error(PROTOCOL)),
    rfc9113("5.1.1-smaller-stream", put(5) + get(3), allow=connection_error(PROTOCOL)),
    rfc9113(
        "5.1.1-smaller-stream-after-the-larger-is-closed", get(5), Wait(5), get(3), allow=connection_error(PROTOCOL)
    ),
    rfc9113(
        "5.1.1-data-on-a-stream-that-was-skipped",
        get(5),
        Wait(5),
        data(3, b"x"),
        allow=(*stream_error(CLOSED, stream_id=3), *connection_error(PROTOCOL)),
    ),
    rfc9113("5.1.1-streams-may-be-skipped", get(5) + get(11), allow=(Answers(11),)),
    rfc9113("5.1.1-largest-stream", get(2**31 - 1), allow=(Answers(2**31 - 1),)),
    rfc9113(
        "5.1.2-one-stream-too-many",
        MANY + get(OVER),
        allow=(
            Resets(OVER, (PROTOCOL, ErrorCode.REFUSED_STREAM)),
            *connection_error(PROTOCOL, ErrorCode.REFUSED_STREAM),
        ),
    ),
    rfc9113("5.1.2-as-many-as-promised", MANY + data(1, end=True), allow=ANSWERED),
    rfc9113("5.1.2-room-after-a-reset", MANY + reset(3) + get(OVER), allow=(Answers(OVER),)),
    rfc9113(
        "5.1.2-table-is-kept-past-a-refused-stream",
        MANY
        + headers(OVER, GET + entered(b"x-kept", b"yes"))
        + reset(1)
        + reset(3)
        + headers(OVER + 2, GET + indexed(62)),
        allow=(Answers(OVER + 2), *connection_error(PROTOCOL)),
    ),
    rfc9113(
        "5.1.2-body-of-a-refused-stream",
        MANY + put(OVER) + data(OVER, b"on its way", end=True) + data(1, end=True),
        allow=(Answers(1), *connection_error(PROTOCOL, ErrorCode.REFUSED_STREAM)),
    ),
    # RFC 9113 deprecates priority: what it says may be ignored, and a dependency on oneself is no error any more.
    rfc9113("5.3.1-headers-depend-on-themselves", SELF_DEPENDENT, allow=(Answers(), *stream_error(PROTOCOL))),
    rfc9113("5.3.1-priority-depends-on-itself", priority(1, 1), allow=(GoesOn(), *stream_error(PROTOCOL))),
    rfc9113("5.3.1-priority-of-weight-1", priority(1, weight=1) + get(1), allow=ANSWERED),
    rfc9113("5.3.1-priority-of-weight-256", priority(1, weight=256) + get(1), allow=ANSWERED),
    rfc9113("5.3.1-priority-on-another-stream", priority(3, 1) + get(3), allow=(Answers(3),)),
    rfc9113("5.3.1-exclusive-priority", priority(3, 1, exclusive=True) + get(3), allow=(Answers(3),)),
    rfc9113("5.3.1-headers-with-exclusive-priority", DEPENDENT, allow=(Answers(3),)),
    rfc9113("5.3.1-priority-does-not-open-a-stream", priority(5) + get(1), allow=ANSWERED),
)
