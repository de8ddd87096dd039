"""RFC 9113 section 8: HTTP messages. What is malformed never reaches an application."""

from __future__ import annotations

from h2gate.wire.engine import ErrorCode
from tests.wire.case import ANSWERED, MALFORMED, Answers, Case, connection_error, rfc9113, stream_error
from tests.wire.octets import (
    AUTHORITY,
    END_HEADERS,
    GET,
    METHOD,
    PATH,
    SCHEME,
    Kind,
    data,
    frame,
    get,
    headers,
    indexed,
    lines,
    put,
)

REQUEST = {METHOD: b"GET", SCHEME: b"https", AUTHORITY: b"gate.example", PATH: b"/healthz"}
PROTOCOL = ErrorCode.PROTOCOL_ERROR


def request(changed: dict[bytes, bytes | None], *more: tuple[bytes, bytes]) -> bytes:
    """A request with these pseudo-header fields otherwise, or without them."""
    fields = [(name, value) for name, value in (REQUEST | changed).items() if value is not None]
    return headers(1, lines(*fields, *more))


def malformed(name: str, octets: bytes) -> Case:
    return rfc9113(name, octets, allow=MALFORMED)


def answered(name: str, octets: bytes) -> Case:
    return rfc9113(name, octets, allow=ANSWERED)


def either(name: str, octets: bytes) -> Case:
    """Where the RFC leaves it to the server."""
    return rfc9113(name, octets, allow=(*ANSWERED, *MALFORMED))


def body(length: bytes, *pieces: bytes) -> bytes:
    """An upload of a said length, and the body that comes."""
    return put(1, (b"content-length", length)) + b"".join(
        data(1, piece, end=n == len(pieces)) for n, piece in enumerate(pieces, 1)
    )


EXCHANGE = (
    rfc9113("8.1-get", get(1), allow=(Answers(status=200, sizes=(3,)),)),
    rfc9113("8.1-head", request({METHOD: b"HEAD"}), allow=(Answers(status=200, sizes=()),)),
    answered("8.1-body", put(1) + data(1, b"body", end=True)),
    answered("8.1-trailers", put(1) + data(1, b"body") + headers(1, lines((b"x-sum", b"1")))),
    answered("8.1-trailers-without-body", put(1) + headers(1, lines((b"x-sum", b"1")))),
    answered("8.1-empty-trailers", put(1) + data(1, b"body") + headers(1, b"")),
    malformed("8.1-second-headers-without-end", put(1) + headers(1, lines((b"x-sum", b"1")), end=False)),
    malformed(
        "8.1-second-headers-without-end-after-data",
        put(1) + data(1, b"body") + headers(1, lines((b"x-sum", b"1")), end=False),
    ),
    rfc9113(
        "8.1-data-after-trailers",
        put(1) + headers(1, lines((b"x-sum", b"1"))) + data(1, b"more", end=True),
        allow=stream_error(ErrorCode.STREAM_CLOSED),
    ),
    answered("8.1.1-length-and-body-agree", body(b"6", b"abc", b"def")),
    malformed("8.1.1-length-is-not-that-of-one-frame", body(b"1", b"body")),
    malformed("8.1.1-length-is-not-that-of-many-frames", body(b"1", b"bo", b"dy")),
    malformed("8.1.1-body-is-shorter", body(b"9", b"body")),
    malformed(
        "8.1.1-body-before-trailers-is-shorter",
        put(1, (b"content-length", b"9")) + data(1, b"body") + headers(1, lines((b"x-sum", b"1"))),
    ),
    malformed("8.1.1-length-without-body", get(1, (b"content-length", b"4"))),
    answered("8.1.1-length-0-without-body", get(1, (b"content-length", b"0"))),
    malformed(
        "8.1.1-two-lengths", put(1, (b"content-length", b"4"), (b"content-length", b"5")) + data(1, b"body", end=True)
    ),
    either(
        "8.1.1-the-same-length-twice",
        put(1, (b"content-length", b"4"), (b"content-length", b"4")) + data(1, b"body", end=True),
    ),
    *(
        malformed(f"8.1.1-length-{name}", put(1, (b"content-length", value)) + data(1, b"body", end=True))
        for name, value in {
            "signed": b"+4",
            "negative": b"-4",
            "hexadecimal": b"0x4",
            "empty": b"",
            "of-words": b"four",
            "too-large": b"9" * 30,
        }.items()
    ),
)

FIELDS = (
    malformed("8.2-upper-case-name", get(1, (b"X-Name", b"value"))),
    malformed("8.2-upper-case-name-of-trailers", put(1) + headers(1, lines((b"X-Sum", b"1")))),
    *(
        malformed(f"8.2.1-name-with-{name}", get(1, (b"x" + octet + b"y", b"value")))
        for name, octet in {
            "nul": b"\0",
            "line-feed": b"\n",
            "carriage-return": b"\r",
            "space": b" ",
            "tab": b"\t",
            "delete": b"\x7f",
            "octet-80": b"\x80",
            "octet-ff": b"\xff",
            "colon": b":",
        }.items()
    ),
    malformed("8.2.1-empty-name", get(1, (b"", b"value"))),
    either("8.2.1-name-that-is-no-token", get(1, (b"x(y)", b"value"))),
    *(
        malformed(f"8.2.1-value-with-{name}", get(1, (b"x", value)))
        for name, value in {
            "nul": b"a\0b",
            "line-feed": b"a\nb",
            "carriage-return": b"a\rb",
            "another-request": b"a\r\n\r\nGET / HTTP/1.1",
            "leading-space": b" a",
            "trailing-space": b"a ",
            "leading-tab": b"\ta",
            "trailing-tab": b"a\t",
            "line-feed-last": b"a\n",
        }.items()
    ),
    malformed("8.2.1-value-of-trailers-with-line-feed", put(1) + headers(1, lines((b"x", b"a\nb")))),
    *(
        answered(f"8.2.1-value-{name}", get(1, (b"x", value)))
        for name, value in {"empty": b"", "with-tab-inside": b"a\tb", "beyond-ascii": b"caf\xe9"}.items()
    ),
    either("8.2.1-value-with-another-control-character", get(1, (b"x", b"a\x01b"))),
    *(
        malformed(f"8.2.2-{name}", get(1, (name.encode(), value)))
        for name, value in {
            "connection": b"close",
            "proxy-connection": b"keep-alive",
            "keep-alive": b"timeout=5",
            "upgrade": b"h2c",
            "transfer-encoding": b"chunked",
        }.items()
    ),
    malformed("8.2.2-connection-in-trailers", put(1) + headers(1, lines((b"connection", b"close")))),
    malformed("8.2.2-transfer-encoding-in-trailers", put(1) + headers(1, lines((b"transfer-encoding", b"chunked")))),
    malformed("8.2.2-te-of-gzip", get(1, (b"te", b"gzip"))),
    malformed("8.2.2-te-of-trailers-and-gzip", get(1, (b"te", b"trailers, gzip"))),
    answered("8.2.2-te-of-trailers", get(1, (b"te", b"trailers"))),
    answered("8.2.3-cookie-in-crumbs", get(1, (b"cookie", b"a=b"), (b"cookie", b"c=d"))),
)

PSEUDO = (
    malformed("8.3-without-name", headers(1, GET + lines((b":", b"y")))),
    malformed("8.3-unknown", headers(1, GET + lines((b":test", b"ok")))),
    malformed("8.3-of-a-response", headers(1, GET + lines((b":status", b"200")))),
    malformed("8.3-in-trailers", put(1) + data(1, b"body") + headers(1, lines((METHOD, b"PUT")))),
    malformed("8.3-status-in-trailers", put(1) + headers(1, lines((b":status", b"200")))),
    malformed(
        "8.3-after-a-field",
        headers(
            1,
            lines(
                (METHOD, b"GET"), (SCHEME, b"https"), (b"x", b"y"), (PATH, b"/healthz"), (AUTHORITY, b"gate.example")
            ),
        ),
    ),
    malformed("8.3-upper-case", request({PATH: None}, (b":Path", b"/healthz"))),
    *(malformed(f"8.3.1-without-{name.decode()[1:]}", request({name: None})) for name in (METHOD, SCHEME, PATH)),
    *(
        malformed(f"8.3.1-{name.decode()[1:]}-twice", headers(1, lines((name, REQUEST[name])) + GET))
        for name in REQUEST
    ),
    *(
        malformed(f"8.3.1-{name.decode()[1:]}-twice-otherwise", headers(1, lines((name, REQUEST[name] + b"x")) + GET))
        for name in REQUEST
    ),
    *(malformed(f"8.3.1-empty-{name.decode()[1:]}", request({name: b""})) for name in (METHOD, SCHEME, PATH)),
    *(
        malformed(f"8.3.1-path-{name}", request({PATH: value}))
        for name, value in {
            "without-slash": b"healthz",
            "of-asterisk": b"*",
            "with-space": b"/heal thz",
            "with-version": b"/ HTTP/1.1",
            "with-line-feed": b"/\n",
            "with-nul": b"/\0",
            "with-delete": b"/\x7f",
        }.items()
    ),
    *(
        malformed(f"8.3.1-method-{name}", request({METHOD: value}))
        for name, value in {
            "with-space": b"GE T",
            "with-line-feed": b"GET\n",
            "with-slash": b"GE/T",
            "with-nul": b"G\0T",
        }.items()
    ),
    answered("8.3.1-method-in-lower-case", request({METHOD: b"get"})),
    answered("8.3.1-method-unknown", request({METHOD: b"BREW"})),
    *(
        malformed(f"8.3.1-scheme-{name}", request({SCHEME: value}))
        for name, value in {
            "with-space": b"ht tp",
            "with-line-feed": b"https\n",
            "that-begins-with-a-digit": b"1http",
            "with-path": b"https://evil.example/?",
        }.items()
    ),
    either("8.3.1-scheme-of-cleartext", request({SCHEME: b"http"})),
    answered("8.3.1-asterisk-of-options", request({METHOD: b"OPTIONS", PATH: b"*"})),
    either("8.3.1-path-with-fragment", request({PATH: b"/healthz#part"})),
    either("8.3.1-path-beyond-ascii", request({PATH: b"/healthz\xc3\xa9"})),
    either("8.3.1-empty-authority", request({AUTHORITY: b""})),
    answered("8.3.1-query", request({PATH: b"/healthz?a=b"})),
    answered("8.3.1-host-in-the-place-of-authority", request({AUTHORITY: None}, (b"host", b"gate.example"))),
    answered("8.3.1-host-beside-the-same-authority", request({}, (b"host", b"gate.example"))),
    answered("8.3.1-host-in-other-case", request({}, (b"host", b"GATE.Example"))),
    answered("8.3.1-host-with-the-default-port", request({}, (b"host", b"gate.example:443"))),
    malformed("8.3.1-host-is-not-the-authority", request({}, (b"host", b"evil.example"))),
    malformed("8.3.1-host-with-another-port", request({}, (b"host", b"gate.example:8443"))),
    malformed("8.3.1-empty-host-beside-authority", request({}, (b"host", b""))),
    malformed("8.3.1-two-hosts", request({AUTHORITY: None}, (b"host", b"gate.example"), (b"host", b"evil.example"))),
    either("8.3.1-neither-authority-nor-host", request({AUTHORITY: None})),
    malformed("8.3.1-authority-with-userinfo", request({AUTHORITY: b"user@gate.example"})),
    malformed("8.3.1-host-with-userinfo", request({AUTHORITY: None}, (b"host", b"user:word@gate.example"))),
    *(
        malformed(f"8.3.1-authority-with-{name}", request({AUTHORITY: value}))
        for name, value in {
            "space": b"gate example",
            "slash": b"gate.example/x",
            "line-feed": b"gate.example\n",
        }.items()
    ),
    rfc9113(
        "8.4-push-promise-of-a-client",
        put(1) + frame(Kind.PUSH_PROMISE, END_HEADERS, 1, bytes((0, 0, 0, 2)) + GET),
        allow=connection_error(PROTOCOL),
    ),
    either("8.5-connect", request({METHOD: b"CONNECT", SCHEME: None, PATH: None})),
    malformed("8.5-connect-with-path", request({METHOD: b"CONNECT", SCHEME: None})),
    malformed("8.5-connect-with-scheme", request({METHOD: b"CONNECT", PATH: None})),
    malformed(
        "8.5-connect-without-authority", request({METHOD: b"CONNECT", SCHEME: None, PATH: None, AUTHORITY: None})
    ),
    malformed(
        "8.5-connect-of-a-protocol-that-was-not-offered",
        headers(
            1,
            lines((METHOD, b"CONNECT"), (b":protocol", b"websocket"))
            + indexed(7)
            + lines((AUTHORITY, b"gate.example"), (PATH, b"/")),
        ),
    ),
)

CASES = EXCHANGE + FIELDS + PSEUDO
