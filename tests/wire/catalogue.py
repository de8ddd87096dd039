"""Every case of HTTP/2 conformance, by RFC and section."""

from __future__ import annotations

from tests.wire import (
    cases_frames,
    cases_framing,
    cases_hpack,
    cases_messages,
    cases_streams,
    cases_windows,
)

CASES = (
    *cases_framing.CASES,
    *cases_streams.CASES,
    *cases_windows.CASES,
    *cases_frames.CASES,
    *cases_messages.CASES,
    *cases_hpack.CASES,
)
