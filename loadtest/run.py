"""`python -m loadtest.run upload | small | wan | files | attacks`: the same bytes in turn, round after round.

Every upload goes to a fresh name, is compared with its source and deleted outside the measurement; a byte lost voids
the run. Ctrl-C, SIGTERM or `--minutes` ends it and leaves neither process nor file behind.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from h2gate.config import KIB, MIB, parse_bytes
from h2gate.errors import ConfigError
from loadtest import attacks, clients, crowds, peers, report, rounds, soak, workloads
from loadtest.rounds import Candidate
from loadtest.senders import make_folder
from loadtest.wan import Link, LinkUnavailable

BASELINE = "nginx HTTP/2"
VOID = (LinkUnavailable, peers.PeerFailed, clients.SendFailed, workloads.BytesLost, subprocess.SubprocessError)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that every command has."""

    rounds: int
    folder: Path | None
    json_file: Path | None
    minutes: float
    servers: tuple[str, ...] = ()

    @contextmanager
    def workplace(self) -> Iterator[tuple[Path, ExitStack]]:
        """A folder that is deleted and a stack that is unwound, whatever happens."""
        try:
            with (
                bounded(self.minutes),
                tempfile.TemporaryDirectory(prefix="h2gate-loadtest-", dir=self.folder) as place,
                ExitStack() as stack,
            ):
                yield Path(place), stack
        except VOID as failure:
            raise click.ClickException(f"the run is void: {failure}") from None

    def conclude(
        self,
        what: str,
        place: Path,
        settings: dict[str, Any],
        samples: list[report.Sample],
        baseline: str = BASELINE,
    ) -> None:
        settings = {"rounds": self.rounds, "servers": list(self.servers), **settings}
        saved = report.document(what, settings, samples, baseline, place)
        report.show(saved)
        if self.json_file is not None:
            self.json_file.parent.mkdir(parents=True, exist_ok=True)
            self.json_file.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def bounded(minutes: float) -> Iterator[None]:
    """Ends the run, cleanly, when its time is up or somebody sends SIGTERM."""

    def give_up(number: int, _: object) -> None:
        raise click.ClickException(f"stopped by {signal.Signals(number).name}; nothing is reported")

    before = {number: signal.signal(number, give_up) for number in (signal.SIGALRM, signal.SIGTERM)}
    signal.setitimer(signal.ITIMER_REAL, minutes * 60)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


class Size(click.ParamType[int]):
    """64M, 1G, or plain bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_bytes(str(value))
        except ConfigError as error:
            self.fail(str(error), param, ctx)


def _servers(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    chosen = tuple(value.split(","))
    if unknown := set(chosen) - set(rounds.SERVERS):
        raise click.BadParameter(f"no such server: {', '.join(sorted(unknown))}")
    return chosen


def compared(command: Callable[..., None]) -> Callable[..., None]:
    """The options of `Asked`, with the servers that are compared."""
    servers = click.option(
        "--servers",
        default=",".join(rounds.SERVERS),
        callback=_servers,
        show_default=True,
        help="In this order; `bare`: h2gate without digest and fsync, as nginx; `tuned`: nginx, larger buffers.",
    )
    return servers(shared(command))


def _senders(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    chosen = tuple(value.split(","))
    if unknown := set(chosen) - set(rounds.SENDERS):
        raise click.BadParameter(f"no such sender: {', '.join(sorted(unknown))}")
    return chosen


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """The options of `Asked`."""
    path = click.Path(path_type=Path)
    for option in (
        click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Rounds that count."),
        click.option("--folder", type=path, help="Where to store.  [default: the folder for temporary files]"),
        click.option("--json", "json_file", type=path, help="Save every sample and the summary there."),
        click.option("--minutes", type=float, default=30.0, show_default=True, help="Give up after this time."),
    ):
        command = option(command)
    return command


@click.group()
def main() -> None:
    """Measure h2gate against nginx."""


@main.command()
@click.option("--size", type=Size(), default="1G", show_default=True, help="Bytes of the file.")
@click.option(
    "--memory",
    type=click.Choice(rounds.MEMORY),
    default="asis",
    show_default=True,
    help="Before each upload: nothing, fill and free as much (warm), or let a virtual machine's host take it (cold).",
)
@compared
def upload(size: int, memory: str, **asked: Any) -> None:
    """One large file over loopback, with curl on HTTP/2 and HTTP/1.1."""
    run = Asked(**asked)
    with run.workplace() as (place, stack):
        source = workloads.make_source(place / "source", size)
        servers = rounds.start_servers(run.servers, place, stack)
        candidates = [Candidate(peer, http) for peer in servers for http in ("2", "1.1")]
        samples = rounds.measure(candidates, run.rounds, lambda each: rounds.put_once(each, source, memory=memory))
        what = f"One file of {size / MIB:g} MiB over loopback{'' if memory == 'asis' else f', memory {memory}'}"
        run.conclude(what, place, {"size": size, "memory": memory}, samples)


@main.command()
@click.option("--requests", type=click.IntRange(100), default=5000, show_default=True, help="Files in each round.")
@compared
def small(requests: int, **asked: Any) -> None:
    """Many files of 10 KiB over loopback: h2load, one connection, 100 streams, a path for each."""
    run = Asked(**asked)
    with run.workplace() as (place, stack):
        source = workloads.make_source(place / "source", workloads.SMALL_BYTES)
        candidates = [Candidate(peer, "2") for peer in rounds.start_servers(run.servers, place, stack)]
        rounds.forget_deleted(place)
        samples = rounds.measure(
            candidates, run.rounds, lambda candidate: rounds.small_once(candidate, source, requests, place / "urls")
        )
        what = f"{requests} files of 10 KiB, one connection, 100 streams"
        run.conclude(what, place, {"requests": requests}, samples)


@main.command()
@click.option("--size", type=Size(), default="256M", show_default=True, help="Bytes of the file.")
@click.option("--rtt", type=float, default=50.0, show_default=True, help="Round trip in ms.")
@click.option("--mbit", type=float, default=1000.0, show_default=True, help="Rate of the link in Mbit/s.")
@click.option("--loss", type=float, default=0.0, show_default=True, help="Packets lost, in per cent.")
@compared
def wan(size: int, rtt: float, mbit: float, loss: float, **asked: Any) -> None:
    """One large file over a wide-area link (needs root), with curl on HTTP/2 and HTTP/1.1."""
    run = Asked(**asked)
    with run.workplace() as (place, stack):
        link = stack.enter_context(Link(rtt_ms=rtt, mbit=mbit, loss_percent=loss, seconds=run.minutes * 60))
        source = workloads.make_source(place / "source", size)
        servers = rounds.start_servers(run.servers, place, stack, link.near_address)
        candidates = [Candidate(peer, http) for peer in servers for http in ("2", "1.1")]
        samples = rounds.measure(candidates, run.rounds, lambda each: rounds.put_once(each, source, link.far))
        link.close()
        settings: dict[str, Any] = {"size": size, "rtt_ms": rtt, "mbit": mbit, "loss_percent": loss, "mtu": link.mtu}
        settings |= {"queue_bytes": link.queue_bytes, "congestion": link.congestion, "packets": link.counts}
        what = f"One file of {size / MIB:g} MiB at {rtt:g} ms, {mbit:g} Mbit/s, {loss:g} % loss"
        run.conclude(what, place, settings, samples)


def _attacks(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    chosen = tuple(filter(None, value.split(",")))
    if unknown := set(chosen) - {each.name for each in attacks.ATTACKS}:
        raise click.BadParameter(f"no such attack: {', '.join(sorted(unknown))}")
    return chosen


@main.command("attacks")
@click.option("--size", type=Size(), default="256M", show_default=True, help="Bytes of the honest file.")
@click.option("--attacks", "names", default="", callback=_attacks, help="Names of the catalogue.  [default: all]")
@shared
def send_attacks(size: int, names: tuple[str, ...], **asked: Any) -> None:
    """An honest upload alone, and beside each attack from another address."""
    run = Asked(**asked)
    with run.workplace() as (place, _):
        source = workloads.make_source(place / "source", size)
        sieges = [attacks.Siege(each, place) for each in attacks.ATTACKS if not names or each.name in names]
        samples = rounds.measure(sieges, run.rounds, lambda siege: attacks.once(siege, source), warm_up=False)
        what = f"One file of {size / MIB:g} MiB over loopback, alone and beside attacks, each several times at once"
        run.conclude(what, place, {"size": size, "attacks": list(names)}, samples, "")


@main.command("files")
@click.option("--count", type=click.IntRange(1), default=10_000, show_default=True, help="Files.")
@click.option("--size", type=Size(), default="10K", show_default=True, help="Bytes of each.")
@click.option("--senders", default="ours,curl,rclone,tar", callback=_senders, show_default=True, help="In this order.")
@click.option("--option", "options", multiple=True, help="For `h2gate put`, repeatable: e.g. --option=--streams=8.")
@click.option("--rtt", type=float, default=0.0, show_default=True, help="Round trip in ms; 0 is loopback, else root.")
@click.option("--mbit", type=float, default=1000.0, show_default=True, help="Rate of such a link in Mbit/s.")
@shared
def send_files(
    count: int, size: int, senders: tuple[str, ...], options: tuple[str, ...], rtt: float, mbit: float, **asked: Any
) -> None:
    """A folder of files: `h2gate put` and curl to h2gate, rclone to rclone, tar as a copy."""
    run = Asked(**asked)
    with run.workplace() as (place, stack):
        link = stack.enter_context(Link(rtt_ms=rtt, mbit=mbit, seconds=run.minutes * 60)) if rtt else None
        folder = make_folder(place / "source", count, size)
        begun = rounds.start_senders(senders, options, place, stack, link)
        forgotten = rounds.forget_deleted(folder.path)
        samples = rounds.measure(begun, run.rounds, lambda sender: rounds.send_once(sender, folder))
        where = f"at {rtt:g} ms, {mbit:g} Mbit/s" if rtt else "over loopback"
        settings = {"count": count, "size": size, "rtt_ms": rtt, "mbit": mbit, "senders": list(senders)}
        settings["deleted_forgotten"] = forgotten
        each = f"{size / MIB:g} MiB" if size >= MIB else f"{size / KIB:g} KiB"
        what = f"{count} file{'s' * (count > 1)} of {each} {where}"
        run.conclude(what, place, settings, samples, begun[0].label)


@main.command()
@click.option("--many", type=click.IntRange(2), default=63, show_default=True, help="Uploads of the second address.")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="Of each round.")
@click.option("--connections/--one-connection", default=False, help="Each of the many on a connection of its own.")
@shared
def shares(many: int, seconds: float, connections: bool, **asked: Any) -> None:
    """One upload of one address against many of another: who gets how many bytes."""
    run = Asked(**asked)
    with run.workplace() as (place, stack):
        (gateway,) = rounds.start_servers(("h2gate",), place, stack)
        source = crowds.endless(place / "endless")
        for number in range(run.rounds):
            crowd = crowds.Crowd(gateway, source, crowds.SECOND, many, seconds, connections=connections)
            one = crowds.Crowd(gateway, source, crowds.FIRST, 1, seconds)
            theirs, its = crowd.sent_bytes(), one.sent_bytes()
            pace = (its + theirs) / MIB / seconds
            share = its / (its + theirs)
            click.echo(f"round {number + 1}: the one got {share:.1%} of {pace:.0f} MiB/s beside {many}")


@main.command()
@click.option("--uploads", type=click.IntRange(0), default=64, show_default=True, help="Large uploads beside it.")
@click.option("--seconds", type=float, default=60.0, show_default=True, help="How long.")
@click.option("--connections/--one-connection", default=False, help="Each upload on a connection of its own.")
@shared
def health(uploads: int, seconds: float, connections: bool, **asked: Any) -> None:
    """GET /healthz on a connection of its own while large uploads run."""
    run = Asked(**asked)
    with run.workplace() as (place, stack):
        (gateway,) = rounds.start_servers(("h2gate",), place, stack)
        source = crowds.endless(place / "endless")
        crowd = crowds.Crowd(gateway, source, crowds.SECOND, uploads, seconds + 3, connections=connections)
        found = crowds.health_waits(gateway, seconds)
        pace = crowd.sent_bytes() / MIB / (seconds + 3)
        waits = f"median {found.median * 1000:.1f}, p99 {found.p99 * 1000:.1f}, most {found.most * 1000:.1f} ms"
        click.echo(f"{found.count} requests beside {uploads} uploads ({pace:.0f} MiB/s): {waits}")


@main.command("soak")
@click.option("--load-minutes", type=float, default=20.0, show_default=True, help="How long, pauses included.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of what is done when.")
@shared
def soak_(load_minutes: float, seed: int, **asked: Any) -> None:
    """Mixed load with cuts, resets and killed clients; what is held in the end is what was held at minute 2."""
    run = Asked(**asked)
    with run.workplace() as (place, stack):
        certificates = peers.make_certificates(place)
        options = ("--upload-seconds", "60", "--upkeep-seconds", "10")
        (place / "gateway").mkdir()
        gateway = stack.enter_context(peers.h2gate(place / "gateway", certificates, options=options))
        load = soak.Soak(gateway, place, seed)
        began = time.monotonic()
        pauses: list[soak.Held] = []
        while time.monotonic() - began < load_minutes * 60 - soak.LOAD_SECONDS or not pauses:
            load.load(soak.LOAD_SECONDS)
            pauses.append(load.held(began))
            click.echo(str(pauses[-1]))
        click.echo(", ".join(f"{count} {name}" for name, count in sorted(load.counts.items())))
        first = next((each for each in pauses if each.minute >= 2), pauses[-1])
        if found := soak.differences(first, pauses[-1], 0.05):
            raise click.ClickException(f"not as at minute {first.minute}: {'; '.join(found)}")
        click.echo(f"as at minute {first.minute}, within 5 %")


if __name__ == "__main__":
    sys.exit(main())
