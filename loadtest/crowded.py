"""The gateway beside many, beside foes, and for a long time."""

from __future__ import annotations

import time
from typing import Any

import click

from h2gate.config import MIB
from loadtest import attacks, crowds, peers, rounds, soak, workloads
from loadtest.asked import Asked, Size, shared


def _attacks(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    chosen = tuple(filter(None, value.split(",")))
    if unknown := set(chosen) - {each.name for each in attacks.ATTACKS}:
        raise click.BadParameter(f"no such attack: {', '.join(sorted(unknown))}")
    return chosen


@click.command("attacks")
@click.option("--size", type=Size(), default="256M", show_default=True, help="Bytes of the honest file.")
@click.option("--attacks", "names", default="", callback=_attacks, help="Names of the catalogue.  [default: all]")
@shared
def attacks_(size: int, names: tuple[str, ...], **asked: Any) -> None:
    """An honest upload alone, and beside each attack from another address."""
    run = Asked(**asked)
    with run.workplace() as (place, _):
        source = workloads.make_source(place / "source", size)
        sieges = [attacks.Siege(each, place) for each in attacks.ATTACKS if not names or each.name in names]
        samples = rounds.measure(sieges, run.rounds, lambda siege: attacks.once(siege, source), warm_up=False)
        what = f"One file of {size / MIB:g} MiB over loopback, alone and beside attacks, each several times at once"
        run.conclude(what, place, {"size": size, "attacks": list(names)}, samples, "")


@click.command()
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


@click.command()
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


@click.command("soak")
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
