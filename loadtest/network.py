"""The network that a run has to itself, and what went over it: bytes on the wire and connections.

As root the whole run (servers, near end of a link, senders over loopback) lives in a network namespace of its own, so
that the kernel's counters count this run alone and its settings are nobody else's. Otherwise it is on the machine's
loopback, and what went over the wire is not known.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNET, CLONE_NEWNS = 0x40000000, 0x00020000
LARGEST_BUFFER = 64 << 20


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the network is there: bytes both ways with IP's headers, and connections that were accepted."""

    wire_bytes: int
    connections: int

    def since(self, before: Counters) -> Counters:
        return Counters(self.wire_bytes - before.wire_bytes, self.connections - before.connections)


def enter_own() -> str | None:
    """From here on this process and what it starts see a network of their own. Returns why not, or None.

    What they mount is theirs, too: a disk that a case makes is gone with the run, however that ends. Only while the
    process has one thread: others would stay where they are.
    """
    if os.geteuid() != 0:
        return "not root: on the machine's own loopback, bytes on the wire and connections are not counted"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET | CLONE_NEWNS):
        return f"no network namespace can be made ({os.strerror(ctypes.get_errno())}): nothing on the wire is counted"
    subprocess.run(["mount", "--make-rprivate", "/"], check=True, timeout=10)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
    tune()
    return None


def tune() -> None:
    """What a host on a long path has: buffers for it, and nothing remembered of earlier connections."""
    folder = Path("/proc/sys/net/ipv4")
    (folder / "tcp_wmem").write_text(f"4096 65536 {LARGEST_BUFFER}")
    (folder / "tcp_rmem").write_text(f"4096 131072 {LARGEST_BUFFER}")
    (folder / "tcp_no_metrics_save").write_text("1")


def read(device: str, *, proc: Path = Path("/proc/self/net")) -> Counters:
    """Of the devices whose names begin with `device`; what loopback carries is counted once."""
    total = 0
    for line in (proc / "dev").read_text().splitlines()[2:]:
        name, _, numbers = line.partition(":")
        fields = numbers.split()
        if name.strip() == device == "lo":
            total += int(fields[0])
        elif name.strip().startswith(device):
            total += int(fields[0]) + int(fields[8])
    heads, values = (line.split() for line in (proc / "snmp").read_text().splitlines() if line.startswith("Tcp:"))
    return Counters(total, int(values[heads.index("PassiveOpens")]))
