"""RFC 9113 sections 6.5 and 6.9: SETTINGS and flow control. What is asked for is answered with three octets."""

from __future__ import annotations

from h2gate.wire.engine import ErrorCode
from tests.wire.case import (
    ANSWERED,
    SETTINGS_ACK,
    Answers,
    GoesOn,
    Says,
    Wait,
    connection_error,
    rfc9113,
    stream_error,
)
from tests.wire.octets import (
    ACK,
    MAX_WINDOW,
    PREFACE,
    Kind,
    Setting,
    frame,
    get,
    put,
    reset,
    settings,
    window,
)

PROTOCOL, SIZE, FLOW = ErrorCode.PROTOCOL_ERROR, ErrorCode.FRAME_SIZE_ERROR, ErrorCode.FLOW_CONTROL_ERROR
IWS = Setting.INITIAL_WINDOW_SIZE
FIRST_WINDOW = 65535


def opening(window_bytes: int) -> bytes:
    """With this many octets that an answer may have."""
    return PREFACE + settings({IWS: window_bytes}) + SETTINGS_ACK


SETTINGS_CASES = (
    rfc9113("6.5-acknowledged", settings(), allow=(Says(SETTINGS_ACK, 2),)),
    rfc9113(
        "6.5-acknowledgement-is-not-answered", SETTINGS_ACK, allow=(Says(SETTINGS_ACK, 1), *connection_error(PROTOCOL))
    ),
    rfc9113("6.5-acknowledgement-with-payload", frame(Kind.SETTINGS, ACK, 0, bytes(6)), allow=connection_error(SIZE)),
    rfc9113("6.5-on-a-stream", put(1) + frame(Kind.SETTINGS, 0, 1), allow=connection_error(PROTOCOL)),
    rfc9113("6.5-length-not-a-multiple-of-6", frame(Kind.SETTINGS, 0, 0, bytes(7)), allow=connection_error(SIZE)),
    rfc9113("6.5.2-enable-push-of-2", settings({Setting.ENABLE_PUSH: 2}), allow=connection_error(PROTOCOL)),
    rfc9113("6.5.2-enable-push-of-1", settings({Setting.ENABLE_PUSH: 1}), allow=(Says(SETTINGS_ACK, 2),)),
    rfc9113("6.5.2-initial-window-too-large", settings({IWS: MAX_WINDOW + 1}), allow=connection_error(FLOW)),
    rfc9113("6.5.2-initial-window-largest", settings({IWS: MAX_WINDOW}), allow=(Says(SETTINGS_ACK, 2),)),
    rfc9113(
        "6.5.2-max-frame-size-too-small",
        settings({Setting.MAX_FRAME_SIZE: (1 << 14) - 1}),
        allow=connection_error(PROTOCOL),
    ),
    rfc9113(
        "6.5.2-max-frame-size-too-large", settings({Setting.MAX_FRAME_SIZE: 1 << 24}), allow=connection_error(PROTOCOL)
    ),
    rfc9113(
        "6.5.2-max-frame-size-largest",
        settings({Setting.MAX_FRAME_SIZE: (1 << 24) - 1}),
        allow=(Says(SETTINGS_ACK, 2),),
    ),
    rfc9113("6.5.2-unknown-setting", settings({0xFF: 1}) + get(1), allow=ANSWERED),
    rfc9113(
        "6.5.2-wrong-value-in-the-first-settings",
        allow=connection_error(PROTOCOL),
        opening=PREFACE + settings({Setting.ENABLE_PUSH: 3}),
    ),
    rfc9113(
        "6.5.3-values-in-their-order",
        settings(((IWS, 100), (IWS, 1))) + get(1),
        allow=(Answers(sizes=(1,), ended=False),),
    ),
    rfc9113("6.5.3-acknowledged-each", settings({IWS: 100}) + settings({IWS: 200}), allow=(Says(SETTINGS_ACK, 3),)),
)

WINDOW_CASES = (
    rfc9113("6.9-connection", window(0, 1), allow=(GoesOn(),)),
    rfc9113("6.9-stream", get(1) + window(1, 1), allow=ANSWERED),
    rfc9113("6.9-increment-of-0-on-connection", window(0, 0), allow=connection_error(PROTOCOL)),
    rfc9113("6.9-increment-of-0-on-stream", put(1) + window(1, 0), allow=stream_error(PROTOCOL)),
    rfc9113("6.9-too-short", frame(Kind.WINDOW_UPDATE, 0, 0, bytes(3)), allow=connection_error(SIZE)),
    rfc9113("6.9-too-long", put(1) + frame(Kind.WINDOW_UPDATE, 0, 1, bytes(5)), allow=connection_error(SIZE)),
    rfc9113(
        "6.9-reserved-bit-of-the-increment", frame(Kind.WINDOW_UPDATE, 0, 0, bytes((0x80, 0, 0, 1))), allow=(GoesOn(),)
    ),
    rfc9113("6.9.1-window-of-1", get(1), allow=(Answers(sizes=(1,), ended=False),), opening=opening(1)),
    rfc9113(
        "6.9.1-window-of-1-again-and-again",
        get(1),
        Wait(1, 1),
        window(1, 1),
        Wait(1, 2),
        window(1, 1),
        allow=(Answers(sizes=(1, 1, 1)),),
        opening=opening(1),
    ),
    rfc9113("6.9.1-connection-window-too-large", window(0, MAX_WINDOW), allow=connection_error(FLOW)),
    rfc9113(
        "6.9.1-connection-window-too-large-in-two-steps",
        window(0, 1 << 30) + window(0, 1 << 30),
        allow=connection_error(FLOW),
    ),
    rfc9113("6.9.1-connection-window-largest", window(0, MAX_WINDOW - FIRST_WINDOW), allow=(GoesOn(),)),
    rfc9113("6.9.1-stream-window-too-large", put(1) + window(1, MAX_WINDOW), allow=stream_error(FLOW)),
    rfc9113(
        "6.9.1-stream-window-too-large-in-two-steps",
        put(1) + window(1, 1 << 30) + window(1, 1 << 30),
        allow=stream_error(FLOW),
    ),
    rfc9113(
        "6.9.2-grows-while-an-answer-waits",
        get(1) + settings({IWS: 1}),
        allow=(Answers(sizes=(1,), ended=False),),
        opening=opening(0),
    ),
    rfc9113(
        "6.9.2-grows-until-the-answer-is-whole",
        get(1) + settings({IWS: 3}),
        allow=(Answers(sizes=(3,)),),
        opening=opening(0),
    ),
    rfc9113(
        "6.9.2-negative-window-is-filled-up-first",
        get(1),
        Wait(1, 2),
        settings({IWS: 0}) + window(1, 2),
        allow=(Answers(sizes=(2,), ended=False),),
        opening=opening(2),
    ),
    rfc9113(
        "6.9.2-negative-window-is-overcome",
        get(1),
        Wait(1, 2),
        settings({IWS: 0}) + window(1, 3),
        allow=(Answers(sizes=(2, 1)),),
        opening=opening(2),
    ),
    rfc9113(
        "6.9.2-too-large-while-a-stream-is-open", put(1) + settings({IWS: MAX_WINDOW + 1}), allow=connection_error(FLOW)
    ),
    rfc9113(
        "6.9.2-makes-a-stream-window-too-large",
        put(1) + window(1, MAX_WINDOW - FIRST_WINDOW) + settings({IWS: FIRST_WINDOW + 1}),
        allow=connection_error(FLOW),
    ),
    rfc9113(
        "6.9.2-connection-window-is-not-changed",
        settings({IWS: MAX_WINDOW}) + window(0, MAX_WINDOW - FIRST_WINDOW),
        allow=(GoesOn(),),
    ),
    rfc9113(
        "6.9.3-reset-stream-takes-nothing-with-it",
        get(1),
        Wait(1, 1),
        reset(1) + settings({IWS: 10}) + get(3),
        allow=(Answers(3, sizes=(3,)),),
        opening=opening(1),
    ),
)

CASES = SETTINGS_CASES + WINDOW_CASES
