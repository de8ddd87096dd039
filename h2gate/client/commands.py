"""What the command line asks of the client: a transfer, shown while it runs, on the fastest loop there is."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from h2gate.client.asking import Entry
from h2gate.client.blocking import runner
from h2gate.client.display import Display, display
from h2gate.client.journal import state_folder
from h2gate.client.session import Client
from h2gate.errors import GateError

T = TypeVar("T")


def transfer(verb: str, url: str, options: dict[str, Any], *args: Any, **kwargs: Any) -> tuple[list[GateError], int]:
    """`Client.verb(*args, **kwargs)`; the errors, and how many files there were. Raises `GateError`."""
    shown = display(verb, as_json=options["as_json"], quiet=options["quiet"])
    return on_loop(_transfer(shown, url, options, *args, **kwargs))


async def _transfer(
    shown: Display, url: str, options: dict[str, Any], *args: Any, **kwargs: Any
) -> tuple[list[GateError], int]:
    more = _meant(options, "streams", "connections", "digest", "retries") | {"journal": state_folder()}
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
        async with Client(url, **_meant(options)) as gate:
            return await gate.ls()

    return on_loop(ask())


def uploads(url: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """One's own uploads at a gateway. Raises `GateError`."""

    async def ask() -> list[dict[str, Any]]:
        async with Client(url, **_meant(options)) as gate:
            return await gate.uploads()

    return on_loop(ask())


def _meant(options: dict[str, Any], *more: str) -> dict[str, Any]:
    return {name: options[name] for name in ("ca", "insecure", "http", *more)}


def on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end."""
    with runner() as running:
        return running.run(work)
