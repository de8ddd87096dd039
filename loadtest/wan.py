"""A wide-area link on one machine: real TCP over a chosen round trip, rate, queue and loss. Needs root.

The near end is this machine, the far end a host of its own (a network namespace) behind `loadtest.relay`. Without
loss, packets are of 1500 bytes and the kernel leaves runs of them uncut, as for a network card that cuts them itself,
which is what lets Python carry 1 Gbit/s; with loss, each packet is dropped by itself, and they are of 9000 bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from loadtest.processes import end

SMALLEST_QUEUE = 256 * 1024


class LinkUnavailable(RuntimeError):
    """This machine or this user cannot make a link; the message is one line that says why."""


def why_not() -> str | None:
    """What keeps a link from being made here, or None."""
    if not sys.platform.startswith("linux"):
        return "a wide-area link needs Linux (TUN devices, network namespaces)"
    if os.geteuid() != 0:
        return "a wide-area link needs root: it makes TUN devices and a network namespace"
    if not Path("/dev/net/tun").exists():
        return "a wide-area link needs /dev/net/tun"
    return None


class Link:
    """A link that is up inside `with`. Lasts `seconds` at most; raises `LinkUnavailable` where there can be none.

    `near_address` is this machine's, `far_address` the far host's. `queue_bytes` is the bottleneck's buffer, by default
    one round trip's worth. `congestion` is the far host's TCP congestion control; where the kernel does not let it have
    what was asked for, it is reno or this machine's default, and named here once the link is up.
    """

    def __init__(
        self,
        *,
        rtt_ms: float,
        mbit: float,
        loss_percent: float = 0.0,
        queue_bytes: int | None = None,
        mtu: int | None = None,
        seconds: float = 600.0,
        congestion: str | None = None,
    ) -> None:
        self.rtt_ms, self.mbit, self.loss_percent = rtt_ms, mbit, loss_percent
        self.mtu = mtu or (9000 if loss_percent else 1500)
        self.seconds = seconds
        rate = mbit * 125_000
        self.queue_bytes = queue_bytes or max(SMALLEST_QUEUE, int(rate * rtt_ms / 1000))
        self._shape = {
            "one_way_seconds": rtt_ms / 2000,
            "bytes_per_second": rate,
            "loss": loss_percent / 100,
            "queue_bytes": self.queue_bytes,
        }
        self._relay: subprocess.Popen[str] | None = None
        self._started: list[subprocess.Popen[Any]] = []
        self.near_address = self.far_address = ""
        self.congestion = congestion or ""
        self.counts: dict[str, float] = {}
        """Packets carried, lost, overflowed, refused, and how late the latest came; known once the link is down."""

    def __enter__(self) -> Link:
        if reason := why_not():
            raise LinkUnavailable(reason)
        asked = {
            "shape": self._shape,
            "mtu": self.mtu,
            "offload": not self.loss_percent,
            "congestion": self.congestion,
            "seconds": self.seconds,
        }
        script = Path(__file__).with_name("relay.py")
        self._relay = subprocess.Popen(
            [sys.executable, "-I", str(script), json.dumps(asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._relay.stdout is not None
        try:
            line = self._relay.stdout.readline()
            if not line:
                complaint = self._relay.communicate(timeout=10)[1].strip().splitlines()
                raise LinkUnavailable(complaint[-1] if complaint else "the link did not come up")
            addresses = json.loads(line)
        except BaseException:
            self.close()
            raise
        self.near_address, self.far_address = addresses["near"], addresses["far"]
        self.congestion = addresses["congestion"]
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what `popen_far` and `popen_near` started, then the link. May be called twice."""
        for process in self._started:
            end(process)
        self._started.clear()
        relay, self._relay = self._relay, None
        if relay is None:
            return
        try:
            said, _ = relay.communicate(timeout=10)
            with suppress(ValueError, IndexError):
                self.counts = json.loads(said.splitlines()[-1])
        except subprocess.TimeoutExpired:
            relay.kill()
            relay.communicate()

    def far(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` on the far host."""
        if self._relay is None:
            raise LinkUnavailable("the link is down")
        return ["nsenter", f"--net=/proc/{self._relay.pid}/ns/net", "--", *command]

    def run_far(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """`subprocess.run` on the far host."""
        return subprocess.run(self.far(command), **options)  # noqa: PLW1510 - the caller says

    def popen_far(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """`subprocess.Popen` on the far host; ended with the link."""
        return self.popen_near(self.far(command), **options)

    def popen_near(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """`subprocess.Popen` on this machine; ended with the link."""
        self._started.append(subprocess.Popen(command, **options))
        return self._started[-1]


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--rtt", type=float, default=50.0, show_default=True, help="Round trip in ms.")
@click.option("--mbit", type=float, default=1000.0, show_default=True, help="Rate in Mbit/s, in each direction.")
@click.option("--loss", type=float, default=0.0, show_default=True, help="Packets lost, in per cent.")
@click.option("--queue", type=int, help="Bottleneck buffer in bytes.  [default: one round trip's worth]")
@click.option("--mtu", type=int, help="Largest packet.  [default: 1500, or 9000 with loss]")
@click.option("--seconds", type=float, default=600.0, show_default=True, help="How long the link lasts at most.")
@click.option("--self-check", is_flag=True, help="Measure round trip and rate (or loss); exit 1 if 5 % off.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def main(
    rtt: float,
    mbit: float,
    loss: float,
    queue: int | None,
    mtu: int | None,
    seconds: float,
    self_check: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND on the far host; LINK_NEAR and LINK_FAR in its environment are the two addresses."""
    if bool(command) == self_check:
        raise click.UsageError("give --self-check, or -- and a command to run on the far host")
    link = Link(rtt_ms=rtt, mbit=mbit, loss_percent=loss, queue_bytes=queue, mtu=mtu, seconds=seconds)
    try:
        with link:
            code = _report_check(link) if self_check else _run(link, command)
    except LinkUnavailable as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"packets: {link.counts}", err=True)
    raise SystemExit(code)


def _run(link: Link, command: tuple[str, ...]) -> int:
    environment = os.environ | {"LINK_NEAR": link.near_address, "LINK_FAR": link.far_address}
    try:
        return link.popen_far(command, env=environment).wait(timeout=link.seconds)
    except subprocess.TimeoutExpired:
        raise click.ClickException(f"the command was still running after {link.seconds:g} s") from None


def _report_check(link: Link) -> int:
    from loadtest.selfcheck import check  # noqa: PLC0415 - it measures a Link

    findings = check(link)
    for finding in findings:
        click.echo(str(finding))
    return 0 if all(finding.within(0.05) for finding in findings) else 1


if __name__ == "__main__":
    main()
