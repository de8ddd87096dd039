"""A contestant is a server and the sender that it is sent to with: `h2gate/curl2`, `nginx/curl1x6`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from loadtest import senders
from loadtest.clients import Wrap
from loadtest.peers import Peer
from loadtest.peers.catalogue import Kind, kind
from loadtest.senders import Sender


@dataclass(frozen=True, slots=True)
class Via:
    """A sender, the HTTP version it speaks, and what it is called in tables."""

    label: str
    http: str
    make: Callable[[Peer, Wrap], Sender] | None
    """None for what is measured by a sender of its own (`special`)."""


def _h2load(streams: int) -> Via:
    plural = "s" * (streams > 1)
    return Via(f"HTTP/2, {streams} stream{plural}, h2load", "2", partial(senders.h2load, at_once=streams))


def _put(connections: int) -> Via:
    options = ("--connections", str(connections)) if connections > 1 else ()
    shown = f", {connections} connections" if connections > 1 else ""
    return Via(f"HTTP/2{shown}, h2gate put", "2", partial(senders.ours, options=options))


def _curl1(connections: int) -> Via:
    shown = f"{connections} connection{'s' * (connections > 1)}"
    return Via(f"HTTP/1.1, {shown}, curl", "1.1", partial(senders.curl, http="1.1", at_once=connections))


VIAS = {
    "curl2": Via("HTTP/2, curl", "2", partial(senders.curl, at_once=64)),
    "beside2": Via("HTTP/2, all on one connection", "2", None),
    "beside1": Via("HTTP/1.1, a connection each", "1.1", None),
    "trace": Via("HTTP/2", "2", None),
    "curl1": _curl1(1),
    "curl1x6": _curl1(6),
    "curl1x16": _curl1(16),
    "put": _put(1),
    "put4": _put(4),
    "singles": Via("HTTP/2, single PUTs, h2gate's client", "2", senders.singles),
    "pipe2": Via("HTTP/2, curl from a pipe", "2", senders.curl_unknown),
    "pipe1": Via("HTTP/1.1, curl from a pipe", "1.1", partial(senders.curl_unknown, http="1.1")),
    "rclone": Via("rclone copy, 16 transfers", "2", senders.rclone),
    **{f"h2load{streams}": _h2load(streams) for streams in (1, 16, 64, 100, 256)},
}
"""`h2load` sends one body to every name; `h2gate put` sends small files in bundles."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """`name` is `server/sender`."""

    name: str

    @property
    def kind(self) -> Kind:
        return kind(self.name.partition("/")[0])

    @property
    def via(self) -> Via:
        return VIAS[self.name.partition("/")[2]]

    @property
    def label(self) -> str:
        return f"{self.kind.name}: {self.via.label}"

    def sender(self, peer: Peer, wrap: Wrap) -> Sender:
        assert self.via.make is not None
        return self.via.make(peer, wrap)
