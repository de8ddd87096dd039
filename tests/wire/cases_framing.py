"""RFC 9113 sections 3.4, 4, 5.4, 5.5 and 7: how a connection begins, frames as such, and how it ends."""

from __future__ import annotations

from h2gate.wire.engine import ErrorCode
from tests.wire.case import (
    ANSWERED,
    FRAME_BYTES,
    Answers,
    Begins,
    Ends,
    GoesOn,
    Says,
    Wait,
    connection_error,
    rfc9113,
    stream_error,
)
from tests.wire.octets import (
    END_HEADERS,
    END_STREAM,
    GET,
    PREFACE,
    RESERVED_BIT,
    Kind,
    continuation,
    data,
    entered,
    frame,
    get,
    goaway,
    headers,
    indexed,
    lines,
    ping,
    priority,
    put,
    reset,
    settings,
)

PROTOCOL, SIZE, COMPRESSION = ErrorCode.PROTOCOL_ERROR, ErrorCode.FRAME_SIZE_ERROR, ErrorCode.COMPRESSION_ERROR
UNKNOWN_KIND = 0x16
LONG_BLOCK = GET + lines(*((b"x-%02d" % n, b"v" * 1000) for n in range(70)))
ENTERED = entered(b"x-kept", b"yes")
CLOSED_WITHOUT_WORDS = Ends((PROTOCOL,), said=False)
"""Section 3.4: "A GOAWAY frame MAY be omitted in this case"."""

CASES = (
    rfc9113("3.4-preface-and-settings", allow=(GoesOn(),)),
    rfc9113("3.4-request", get(1), allow=(Answers(status=200),)),
    rfc9113("3.4-first-frame-of-server-is-settings", allow=(Begins(),)),
    rfc9113("3.4-requests-before-our-settings-are-acknowledged", get(1), allow=ANSWERED, opening=PREFACE + settings()),
    rfc9113("3.4-invalid-preface", allow=(CLOSED_WITHOUT_WORDS,), opening=b"INVALID CONNECTION PREFACE\r\n\r\n"),
    rfc9113("3.4-preface-broken-at-its-end", allow=(CLOSED_WITHOUT_WORDS,), opening=PREFACE[:-1] + b"\r" + settings()),
    rfc9113("3.4-preface-without-settings", allow=connection_error(PROTOCOL), opening=PREFACE + get(1)),
    rfc9113(
        "3.4-ping-before-settings", allow=connection_error(PROTOCOL), opening=PREFACE + ping(b"too soon") + settings()
    ),
    # Frame format
    rfc9113("4.1-unknown-type", frame(UNKNOWN_KIND, 0, 0, bytes(8)), allow=(GoesOn(),)),
    rfc9113("4.1-unknown-type-on-a-stream", put(1) + frame(0xFF, 0xFF, 1, b"?") + data(1, end=True), allow=ANSWERED),
    rfc9113("4.1-undefined-flags", frame(Kind.PING, 0xFE, 0, b"flagged."), allow=(Says(ping(b"flagged.", ack=True)),)),
    rfc9113(
        "4.1-undefined-flags-of-a-request", frame(Kind.HEADERS, END_STREAM | END_HEADERS | 0x52, 1, GET), allow=ANSWERED
    ),
    rfc9113(
        "4.1-reserved-bit", frame(Kind.PING, 0, RESERVED_BIT, b"reserved"), allow=(Says(ping(b"reserved", ack=True)),)
    ),
    rfc9113(
        "4.1-reserved-bit-of-a-stream",
        frame(Kind.HEADERS, END_STREAM | END_HEADERS, 1 | RESERVED_BIT, GET),
        allow=ANSWERED,
    ),
    # Frame size
    rfc9113("4.2-data-of-2^14-octets", put(1) + data(1, bytes(1 << 14), end=True), allow=ANSWERED),
    rfc9113("4.2-data-of-the-promised-size", put(1) + data(1, bytes(FRAME_BYTES), end=True), allow=ANSWERED),
    rfc9113("4.2-data-too-large", put(1) + data(1, bytes(FRAME_BYTES + 1), end=True), allow=stream_error(SIZE)),
    rfc9113("4.2-headers-too-large", headers(1, LONG_BLOCK), allow=connection_error(SIZE)),
    rfc9113(
        "4.2-unknown-type-too-large", frame(UNKNOWN_KIND, 0, 0, bytes(FRAME_BYTES + 1)), allow=connection_error(SIZE)
    ),
    rfc9113(
        "4.2-settings-too-large",
        settings(tuple((0x99, n) for n in range(FRAME_BYTES // 6 + 1))),
        allow=connection_error(SIZE),
    ),
    # Field blocks
    rfc9113(
        "4.3-invalid-field-block",
        headers(1, b"\x82\x87\x86\xff\xff\xff\xff\xff\x7f"),
        allow=connection_error(COMPRESSION),
    ),
    rfc9113(
        "4.3-invalid-field-block-of-trailers", put(1) + headers(1, indexed(99)), allow=connection_error(COMPRESSION)
    ),
    rfc9113(
        "4.3-invalid-field-block-of-a-reset-stream",
        put(1) + reset(1) + headers(1, indexed(99)),
        allow=connection_error(COMPRESSION, ErrorCode.STREAM_CLOSED),
    ),
    rfc9113(
        "4.3-block-cut-by-priority",
        headers(1, GET, end_headers=False) + priority(1) + continuation(1, b""),
        allow=connection_error(PROTOCOL),
    ),
    rfc9113(
        "4.3-block-cut-by-another-stream",
        headers(1, GET, end_headers=False) + get(3) + continuation(1, b""),
        allow=connection_error(PROTOCOL),
    ),
    rfc9113(
        "4.3-block-cut-within-a-field",
        headers(1, GET[:-3], end_headers=False) + continuation(1, GET[-3:]),
        allow=ANSWERED,
    ),
    rfc9113(
        "4.3-table-is-kept-past-a-malformed-request",
        headers(1, GET + ENTERED + lines((b"Upper", b"x"))) + headers(3, GET + indexed(62)),
        allow=(Answers(3), *connection_error(PROTOCOL)),
    ),
    rfc9113(
        "4.3-table-is-kept-past-a-reset-stream",
        headers(1, GET + ENTERED) + reset(1) + headers(3, GET + indexed(62)),
        allow=(Answers(3),),
    ),
    rfc9113(
        "4.3-table-is-kept-past-trailers",
        put(1) + headers(1, ENTERED) + headers(3, GET + indexed(62)),
        allow=(Answers(3),),
    ),
    # Errors
    rfc9113("5.4.1-goaway-before-close", frame(Kind.PING, 0, 0, b"short"), allow=connection_error(SIZE)),
    rfc9113(
        "5.4.1-nothing-is-taken-after-the-error",
        frame(Kind.PING, 0, 3, bytes(8)) + get(1),
        Wait(),
        allow=connection_error(PROTOCOL),
    ),
    rfc9113(
        "5.4.2-neighbour-lives-on-a-stream-error",
        get(1, (b"connection", b"close")) + get(3),
        allow=(Answers(3), *connection_error(PROTOCOL)),
    ),
    # Extensions
    rfc9113("5.5-unknown-frame", frame(UNKNOWN_KIND, 0, 0, b"extended") + get(1), allow=ANSWERED),
    rfc9113(
        "5.5-unknown-frame-within-a-block",
        headers(1, GET, end_headers=False) + frame(UNKNOWN_KIND, 0, 1, b"?") + continuation(1, b""),
        allow=connection_error(PROTOCOL),
    ),
    # Error codes
    rfc9113("7-goaway-with-unknown-code", goaway(0xFE), allow=(GoesOn(), Ends((ErrorCode.NO_ERROR,), said=False))),
    rfc9113("7-reset-with-unknown-code", put(1) + reset(1, 0xFE) + get(3), allow=(Answers(3),)),
)
