"""The commands about who may how much: tickets, made by a gateway or with its key, and what tenants have used."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from h2gate import config, options
from h2gate.errors import ConfigError

_FILE = click.Path(path_type=Path, dir_okay=False)


def _bytes(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    try:
        return config.parse_bytes(value) if value is not None else None
    except ConfigError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def _limited(command: Callable[..., int]) -> Callable[..., int]:
    """What a ticket allows."""
    found = [
        click.option("--name", "names", multiple=True, metavar="PATTERN",
                     help="Only files called so, directly in the folder; * ? [ ] as in a shell. Repeatable."),
        click.option("--max-bytes", callback=_bytes, metavar="BYTES", help="In all, as 500M."),
        click.option("--max-files", type=click.IntRange(0), metavar="N", help="In all."),
        click.option("--max-file-bytes", callback=_bytes, metavar="BYTES", help="Of one file."),
        click.option("--once", is_flag=True, help="For one file."),
        click.option("--seconds", type=float, metavar="SECONDS", help="For how long.  [default: a day]"),
    ]  # fmt: skip
    for option in reversed(found):
        command = option(command)
    return command


@click.command()
@click.argument("where", metavar="URL|FOLDER")
@_limited
@click.option("--auth", type=_FILE, metavar="FILE", help="Make it here, with the key that this policy names.")
@click.option("--tenant", default="", show_default=False, help="Of FOLDER, with --auth.")
@click.option("--revoke", metavar="ID", help="End a ticket of the gateway of URL.")
@options.remote
def ticket(
    where: str, names: tuple[str, ...], auth: Path | None, tenant: str, revoke: str | None, once: bool, **given: Any
) -> int:
    """Make a ticket: whoever has it may put files into the folder of URL, and nothing else. It is printed once.

    The gateway makes it, for who may put files there themselves; or this does, with --auth, for a FOLDER as relative to
    the folder of its tenant.

    \b
    h2gate ticket --once --name 'run-*.h5' https://host:8443/files/lab/inbox/
    h2gate ticket --auth auth.toml --tenant lab --max-bytes 10G --seconds 86400 inbox
    h2gate ticket --revoke 0f3c… https://host:8443/
    """
    limits = {name: given.pop(name) for name in ("max_bytes", "max_files", "max_file_bytes", "seconds")}
    claims = {
        "names": list(names),
        "once": once,
        **{name: value for name, value in limits.items() if value is not None},
    }
    if auth is not None:
        _tell(_made_here(auth, tenant, where, claims), as_json=given["as_json"])
        return 0
    from h2gate.client import commands  # noqa: PLC0415 - a server does not need what a client needs

    if revoke is not None:
        commands.revoke(where, given, revoke)
    else:
        _tell(commands.ticket(where, given, claims), as_json=given["as_json"])
    return 0


def _made_here(auth: Path, tenant: str, folder: str, claims: Mapping[str, Any]) -> dict[str, Any]:
    from h2gate.auth import policy, ticket  # noqa: PLC0415

    found = policy.load(auth)
    if found.tickets is None:
        raise ConfigError(f"{auth}: [tickets] key: is missing")
    if tenant and tenant not in found.tenants:
        raise ConfigError(f"{auth}: there is no [tenants.{tenant}]")
    wanted = {"folder": folder.strip("/"), **claims}
    made = ticket.wanted(wanted, tenant=tenant, issuer="", max_seconds=found.tickets.max_seconds)
    text = found.tickets.keys.sign(made)
    root = found.tenants[tenant].root if tenant else ""
    path = "/".join(filter(None, [root, made.folder]))
    return {"id": made.id, "ticket": text, "url": ticket.url(path, text)}


def _tell(made: Mapping[str, Any], *, as_json: bool) -> None:
    """What is a secret goes to standard output alone."""
    if as_json:
        click.echo(json.dumps(made))
        return
    click.echo(f"ticket {made['id']}, as a bearer token and as a URL, which are not shown again:", err=True)
    click.echo(f"{made['ticket']}\n{made['url']}")


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=Path("data"), help="The data folder.")
@click.option("--auth", type=_FILE, required=True, metavar="FILE", help="The policy.")
@click.option("--recount", is_flag=True, help="Count everything anew; the gateway must not run.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each tenant.")
def usage(data: Path, auth: Path, recount: bool, as_json: bool) -> int:
    """Show what every tenant has stored and may store.

    The gateway counts what it stores. Files that came into a tenant's folder some other way are counted when it starts,
    or with --recount.
    """
    from h2gate import gateway  # noqa: PLC0415

    if not (data / "ledger.sqlite").exists():
        raise ConfigError(f"--data {data}: there is no ledger")
    for each in gateway.usage(config.load({"data": data, "auth": auth}, environment={}), recount=recount):
        click.echo(json.dumps(each) if as_json else _row(each))
    return 0


def _row(each: Mapping[str, Any]) -> str:
    of_bytes, of_files = (
        f" of {each[name]:,}" if each[name] is not None else "" for name in ("max_bytes", "max_files")
    )
    held = f", {each['held_bytes']:,} bytes of unfinished uploads" if each["held_bytes"] else ""
    return f"{each['tenant']}  {each['bytes']:,}{of_bytes} bytes, {each['files']:,}{of_files} files{held}"
