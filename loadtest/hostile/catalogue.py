"""All of it: each attack with what it should end in. Whoever attacks takes it from here by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loadtest.hostile import answers, bodies, crowds, floods, headers
from loadtest.hostile.foe import Enemy

NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, CANCEL, CALM = 0x0, 0x1, 0x3, 0x5, 0x8, 0xB
CODES = {
    NO_ERROR: "NO_ERROR",
    PROTOCOL_ERROR: "PROTOCOL_ERROR",
    FLOW_CONTROL_ERROR: "FLOW_CONTROL_ERROR",
    STREAM_CLOSED: "STREAM_CLOSED",
    CANCEL: "CANCEL",
    CALM: "ENHANCE_YOUR_CALM",
}


@dataclass(frozen=True, slots=True)
class Attack:
    """`run` does it once, and ends. What is None or empty is not expected."""

    row: str
    """Of the catalogue that the design was made from, A1 to A26."""
    run: Callable[[Enemy], None]
    limits: tuple[str, ...] = ()
    """Of which the gateway counts one, whichever is reached first: how many frames it reads at once decides."""
    goaway: int | None = None
    reset: int | None = None
    status: int | None = None
    is_cut: bool = False
    """The connection ends, with or without a word."""
    n_at_once: int = 4
    """So often at the same time, and again as soon as it has ended, in the load test."""
    flags: tuple[str, ...] = ()
    """Of the gateway: times shortened so that nobody waits a minute for them."""

    @property
    def name(self) -> str:
        return f"{self.run.__module__.rpartition('.')[2]}.{self.run.__name__}".replace("_", "-")

    @property
    def contained(self) -> str:
        """How, in a few words."""
        goaway = f"GOAWAY {CODES[self.goaway]}" if self.goaway is not None else ""
        reset = f"RST_STREAM {CODES[self.reset]}" if self.reset is not None else ""
        cut = "cut off" if self.is_cut and not goaway else ""
        status = f"{self.status}" if self.status is not None else ""
        return ", ".join(filter(None, (goaway, reset, status, cut))) or "served"


def _flood(row: str, run: Callable[[Enemy], None], *limits: str) -> Attack:
    return Attack(row, run, limits, goaway=CALM, is_cut=True)


_ERROR = ("connection_errors",)
_SHORT = ("--body-seconds=3", "--answer-seconds=3")

ATTACKS: tuple[Attack, ...] = (
    _flood("A1", floods.rapid_reset, "max_resets"),
    _flood("A1", floods.rapid_reset_of_uploads, "max_resets"),
    _flood("A1", floods.late_resets, "max_resets"),
    Attack("A2", floods.made_reset_by_overflow, _ERROR, goaway=FLOW_CONTROL_ERROR, is_cut=True),
    Attack("A2", floods.made_reset_by_zero_update, _ERROR, goaway=PROTOCOL_ERROR, is_cut=True),
    Attack("A2", floods.made_reset_by_late_data, _ERROR, goaway=STREAM_CLOSED, is_cut=True),
    _flood("A2", floods.made_reset_by_length, "max_stream_errors"),
    _flood("A2", floods.made_reset_by_priority, "max_excess_streams"),
    Attack("A3", headers.continuations, ("flood",), goaway=CALM, is_cut=True),
    Attack("A3", headers.continuation_drip, ("header_seconds",), is_cut=True, flags=("--header-seconds=3", *_SHORT)),
    Attack("A3", headers.header_drip, ("header_seconds",), is_cut=True, flags=("--header-seconds=3",)),
    _flood("A4", headers.hpack_bomb, "flood"),
    Attack("A4", headers.long_lists, ("max_header_list",), status=431),
    Attack("A5", headers.many_literals, status=200),
    _flood("A5", headers.thousand_fields, "max_overhead"),
    _flood("A6", floods.settings_flood, "max_settings", "flood"),
    _flood("A6", floods.settings_of_many_entries, "flood"),
    _flood("A6", floods.window_flapping, "max_settings"),
    _flood("A7", floods.ping_flood, "max_pings", "flood"),
    Attack("A7", floods.pings_unread, ("max_pings", "flood"), is_cut=True),
    _flood("A8", floods.empty_data, "max_empty_data"),
    _flood("A8", floods.tiny_data, "max_tiny_data"),
    Attack("A9", answers.tiny_windows, ("answer_seconds",), reset=CANCEL, flags=_SHORT),
    Attack("A10", answers.zero_windows, ("answer_seconds",), reset=CANCEL, flags=_SHORT),
    Attack("A10", answers.listings, ("answer_seconds",), reset=CANCEL, flags=_SHORT),
    Attack("A10", answers.listings_read, status=200),
    _flood("A11", headers.empty_names, "max_stream_errors"),
    _flood("A12", floods.priorities, "max_overhead", "flood"),
    Attack("A13", bodies.slow_bodies, ("body_seconds",), status=408, flags=_SHORT),
    Attack("A14", answers.unread, ("answer_seconds",), is_cut=True, n_at_once=1, flags=_SHORT),
    _flood("A15", floods.too_many_streams, "max_excess_streams"),
    Attack(
        "A15",
        crowds.half_handshakes,
        ("handshake_seconds",),
        is_cut=True,
        flags=("--handshake-seconds=3",),
        n_at_once=1,
    ),
    Attack("A15", crowds.silent, ("handshake_seconds",), is_cut=True, flags=("--handshake-seconds=3",), n_at_once=1),
    Attack("A15", crowds.crowd_of_one_address, ("max_address_connections",), is_cut=True, n_at_once=1),
    Attack("A15", crowds.full_house, ("max_connections",), n_at_once=1),
    Attack("A15", crowds.churn),
    Attack("A16", bodies.endless, status=413, reset=NO_ERROR, flags=("--max-body=8M",)),
    Attack("A16", bodies.bombs, status=413),
    Attack("A16", bodies.bundles, status=200),
    Attack("A16", bodies.forms, status=400),
    Attack("A17", answers.overrun, _ERROR, goaway=FLOW_CONTROL_ERROR, is_cut=True),
    Attack("A17", answers.window_beyond_all, _ERROR, goaway=FLOW_CONTROL_ERROR, is_cut=True),
    Attack("A18", bodies.late_data, status=200),
    _flood("A19", floods.padding, "max_overhead"),
    _flood("A20", headers.malformed, "max_stream_errors"),
    Attack("A21", headers.odd_targets, status=200),
    Attack("A22", crowds.not_tls),
    Attack("A4", headers.trailer_flood, ("max_header_list",), reset=CANCEL),
    _flood("A25", floods.window_updates, "max_window_updates"),
    _flood("A25", floods.unknown_frames, "max_overhead"),
)


def find(name: str) -> Attack:
    return next(each for each in ATTACKS if each.name == name)
