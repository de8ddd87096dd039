"""One thing, measured beside nginx or other senders: a large file, many small ones, a path with delay, a folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from h2gate.config import KIB, MIB
from loadtest import rounds, workloads
from loadtest.asked import Asked, Size, shared
from loadtest.rounds import Candidate
from loadtest.wan import Link
from loadtest.workloads import make_folder


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


@click.command()
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


@click.command()
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


@click.command()
@click.option("--requests", type=click.IntRange(100), default=5000, show_default=True, help="Files in each round.")
@shared
def auth(requests: int, **asked: Any) -> None:
    """What it costs to ask who sends: files of 10 KiB, as `small`, by nobody, with a key, a token, an audit log."""
    run = Asked(**asked)
    with run.workplace() as (place, stack):
        source = workloads.make_source(place / "source", workloads.SMALL_BYTES)
        candidates = [Candidate(peer, "2") for peer in rounds.start_guarded(place, stack)]
        rounds.forget_deleted(place)
        samples = rounds.measure(
            candidates, run.rounds, lambda candidate: rounds.small_once(candidate, source, requests, place / "urls")
        )
        what = f"{requests} files of 10 KiB, one connection, 100 streams, by how the gateway knows who sends"
        run.conclude(what, place, {"requests": requests}, samples, candidates[0].label)


@click.command()
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


@click.command("files")
@click.option("--count", type=click.IntRange(1), default=10_000, show_default=True, help="Files.")
@click.option("--size", type=Size(), default="10K", show_default=True, help="Bytes of each.")
@click.option("--senders", default="ours,curl,rclone,tar", callback=_senders, show_default=True, help="In this order.")
@click.option("--option", "options", multiple=True, help="For `h2gate put`, repeatable: e.g. --option=--streams=8.")
@click.option("--rtt", type=float, default=0.0, show_default=True, help="Round trip in ms; 0 is loopback, else root.")
@click.option("--mbit", type=float, default=1000.0, show_default=True, help="Rate of such a link in Mbit/s.")
@shared
def files(
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
