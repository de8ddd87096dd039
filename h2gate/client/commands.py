"""What the command line asks of the client: a transfer, shown while it runs, on the fastest loop there is."""

from __future__ import annotations

import gc
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from h2gate import heap
from h2gate.client import login, names
from h2gate.client.asking import Entry
from h2gate.client.blocking import runner
from h2gate.client.claiming import chosen
from h2gate.client.display import Display, display
from h2gate.client.journal import state_folder
from h2gate.client.login import Wanted
from h2gate.client.logins import Login, Store, Stored
from h2gate.client.provider import Device
from h2gate.client.session import Client
from h2gate.client.tokens import TokenSource
from h2gate.errors import GateError

T = TypeVar("T")


def transfer(verb: str, url: str, options: dict[str, Any], *args: Any, **kwargs: Any) -> tuple[list[GateError], int]:
    """`Client.verb(*args, **kwargs)`; the errors, and how many files there were. Raises `GateError`."""
    shown = display(verb, as_json=options["as_json"], quiet=options["quiet"])
    return on_loop(_transfer(shown, url, options, *args, **kwargs))


async def _transfer(
    shown: Display, url: str, options: dict[str, Any], *args: Any, **kwargs: Any
) -> tuple[list[GateError], int]:
    more = _meant(url, options, "streams", "connections", "digest", "retries") | {"journal": state_folder()}
    more |= {"compress": options["compress"]} if "compress" in options else {}
    more |= {"limit_rate": options.get("limit_rate"), "receipts": options.get("receipts")}
    shown.dry_run = bool(kwargs.get("dry_run"))
    with shown:
        async with Client(url, listener=shown, **more) as gate:
            shown.at_work = gate.at_work
            await getattr(gate, shown.verb)(*args, **kwargs)
    return shown.errors, len(shown.outcomes)


def listing(url: str, options: dict[str, Any]) -> list[Entry]:
    """`Client.ls`. Raises `GateError`."""

    async def ask() -> list[Entry]:
        async with Client(url, **_meant(url, options)) as gate:
            return await gate.ls()

    return on_loop(ask())


def uploads(url: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """One's own uploads at a gateway. Raises `GateError`."""

    async def ask() -> list[dict[str, Any]]:
        async with Client(url, **_meant(url, options)) as gate:
            return await gate.uploads()

    return on_loop(ask())


def ticket(url: str, options: dict[str, Any], claims: dict[str, Any]) -> dict[str, Any]:
    """`Client.ticket`. Raises `GateError`."""

    async def ask() -> dict[str, Any]:
        async with Client(url, **_meant(url, options)) as gate:
            return await gate.ticket(**claims)

    return on_loop(ask())


def revoke(url: str, options: dict[str, Any], ticket_id: str) -> None:
    """`Client.revoke`. Raises `GateError`."""

    async def ask() -> None:
        async with Client(url, **_meant(url, options)) as gate:
            await gate.revoke(ticket_id)

    on_loop(ask())


def log_in(wanted: Wanted) -> Login:
    """See `login.log_in`: the person is told on standard error where to go. Raises `GateError`."""
    return on_loop(login.log_in(wanted, _show, Store()))


def log_out(url: str, **options: Any) -> tuple[Login | None, GateError | None]:
    """See `login.log_out`."""
    return on_loop(login.log_out(url, Store(), **options))


def _show(device: Device) -> None:
    print(f"to log in, open {device.url} and enter {device.user_code}", file=sys.stderr)
    if device.whole_url:
        print(f"or open {device.whole_url} and see that it shows {device.user_code}", file=sys.stderr)
    print(f"waiting for that, {device.expires_seconds / 60:.0f} minutes at most", file=sys.stderr, flush=True)


def _meant(url: str, options: dict[str, Any], *more: str) -> dict[str, Any]:
    trust = {name: options[name] for name in ("ca", "insecure", "http")}
    url = names.parse_url(url)

    def stored() -> TokenSource | None:
        store = Store()
        return Stored(url, store, **trust) if store.file(url).exists() else None

    source = chosen(url, stored, file=options["token_file"], command=options["token_command"])
    chain = {"cert": options["client_cert"], "key": options["client_key"]}
    return {**trust, **chain, "token": source, **{name: options[name] for name in more}}


def on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end."""
    heap.tune()
    gc.freeze()  # what was imported stays
    with runner() as running:
        return running.run(work)
