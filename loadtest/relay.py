"""The loop behind `loadtest.wan`: packets cross from one TUN device to another late, paced, and with loss.

A process of its own, standard library only. The far device lives in this process's own unnamed network namespace, so
that whatever ends the process, even SIGKILL, takes devices, addresses and namespace along. It ends when its standard
input does, or when its time is up.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
OFFLOAD_CSUM, OFFLOAD_TSO4, OFFLOAD_TSO6 = 1, 2, 4
CLONE_NEWNET = 0x40000000
PR_SET_TIMERSLACK = 29

VNET_HEADER = 10
"""Bytes the kernel puts before each packet: how to cut it up (struct virtio_net_hdr)."""
LARGEST_READ = VNET_HEADER + 65535
BATCH = 16
"""Packets read from one device before the other one is looked at."""
BLOCK = IPv4Address("198.18.0.0")
"""Addresses set aside for measuring networks (RFC 2544); every link takes four of them, by its device's number."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the link does to packets, in each direction. `queue_bytes` is the buffer of the bottleneck."""

    one_way_seconds: float
    bytes_per_second: float
    loss: float
    queue_bytes: int


class Direction:
    """One way across: `take` reads packets and says when each is due, `deliver` hands over those that are."""

    def __init__(self, source: int, target: int, shape: Shape) -> None:
        self.source, self.target, self.shape = source, target, shape
        self.due: deque[tuple[float, bytes]] = deque()
        self.free_at = 0.0
        """When the bottleneck has sent everything it was given."""
        self.carried = self.lost = self.overflowed = self.refused = 0
        self.worst_late = 0.0

    def take(self) -> None:
        shape = self.shape
        for _ in range(BATCH):
            try:
                packet = os.read(self.source, LARGEST_READ)
            except BlockingIOError:
                return
            if shape.loss and random.random() < shape.loss:  # noqa: S311 - a lossy link is no secret
                self.lost += 1
                continue
            now = time.monotonic()
            start = max(self.free_at, now)
            if (start - now) * shape.bytes_per_second > shape.queue_bytes:
                self.overflowed += 1
                continue
            self.free_at = start + bytes_on_the_wire(packet) / shape.bytes_per_second
            self.due.append((self.free_at + shape.one_way_seconds, packet))

    def deliver(self) -> None:
        due = self.due
        while due and due[0][0] <= (now := time.monotonic()):
            at, packet = due.popleft()
            self.worst_late = max(self.worst_late, now - at)
            try:
                os.write(self.target, packet)
                self.carried += 1
            except OSError:  # the device's own queue is full or it is going down: a link drops, TCP sends again
                self.refused += 1


def bytes_on_the_wire(packet: bytes) -> int:
    """Length of an IP packet; of a TCP packet the kernel left uncut, with the headers that cutting it will add."""
    _, kind, _, segment, checksum_start, _ = struct.unpack_from("=BBHHHH", packet)
    length = len(packet) - VNET_HEADER
    if not kind or not segment:
        return length
    headers = int(checksum_start) + (packet[VNET_HEADER + checksum_start + 12] >> 4) * 4
    return int(length + ((length - headers - 1) // segment) * headers)


def carry(near: int, far: int, shape: Shape, seconds: float) -> dict[str, float]:
    """Run the link until standard input ends or `seconds` are over; returns what it did with the packets."""
    stop = sys.stdin.fileno()
    ways = {near: Direction(near, far, shape), far: Direction(far, near, shape)}
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        first = min([end, *(way.due[0][0] for way in ways.values() if way.due)])
        for ready in select.select([near, far, stop], [], [], max(0.0, first - now))[0]:
            if ready == stop:
                return _counts(ways)
            ways[ready].take()
        for way in ways.values():
            way.deliver()
    return _counts(ways)


def _counts(ways: dict[int, Direction]) -> dict[str, float]:
    each = ways.values()
    names = ("carried", "lost", "overflowed", "refused")
    counts: dict[str, float] = {name: sum(getattr(way, name) for way in each) for name in names}
    return counts | {"worst_late_ms": round(max(way.worst_late for way in each) * 1000, 3)}


def open_device(*, offload: bool) -> tuple[int, str]:
    """A new TUN device in this process's namespace; it is gone when its descriptor is closed."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    asked = struct.pack("16sH22x", b"h2wan%d", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
    name = fcntl.ioctl(device, TUNSETIFF, asked)[:16].rstrip(b"\0").decode()
    fcntl.ioctl(device, TUNSETOFFLOAD, OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6 if offload else 0)
    return device, name


def bring_up(name: str, address: IPv4Address, mtu: int) -> None:
    subprocess.run(["ip", "address", "add", f"{address}/30", "dev", name], check=True)
    subprocess.run(["ip", "link", "set", name, "mtu", str(mtu), "txqueuelen", "10000", "up"], check=True)


def leave_for_own_namespace() -> None:
    """From here on this process sees a network of its own; descriptors opened before stay where they were."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network namespace can be made")
    libc.prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0)


def tune_far_host(congestion: str) -> str:
    """The far host is ours alone, so it gets what a host on a long path has: large buffers, nothing remembered.

    Returns its congestion control: what is asked for, or (a kernel may keep that for itself) the next best.
    """
    folder = Path("/proc/sys/net/ipv4")
    (folder / "tcp_wmem").write_text(f"4096 65536 {64 << 20}")
    (folder / "tcp_rmem").write_text(f"4096 131072 {64 << 20}")
    (folder / "tcp_no_metrics_save").write_text("1")
    chosen = folder / "tcp_congestion_control"
    for each in (congestion, "reno") if congestion else ():
        with suppress(OSError):
            chosen.write_text(each)
            break
    return chosen.read_text().strip()


def main() -> None:
    asked = json.loads(sys.argv[1])
    shape = Shape(**asked["shape"])
    near, near_name = open_device(offload=asked["offload"])
    base = BLOCK + 4 * int(near_name.removeprefix("h2wan"))
    bring_up(near_name, base + 1, asked["mtu"])
    leave_for_own_namespace()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    far, far_name = open_device(offload=asked["offload"])
    bring_up(far_name, base + 2, asked["mtu"])
    congestion = tune_far_host(asked["congestion"])
    os.nice(-10)
    gc.disable()
    sys.stdout.write(json.dumps({"near": str(base + 1), "far": str(base + 2), "congestion": congestion}) + "\n")
    sys.stdout.flush()
    sys.stdout.write(json.dumps(carry(near, far, shape, asked["seconds"])) + "\n")


if __name__ == "__main__":
    try:
        main()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"no link: {error}")
